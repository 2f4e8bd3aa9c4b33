"""A result's place in benchmarks/README.md: one part for each kind of processor.

Which of two files is faster depends on whether the processor multiplies bytes, so a result of one
kind of processor doesn't replace that of another.
"""

from __future__ import annotations

import re

from edgeseq.errors import InputError
from edgeseq.formats.result import DeviceInfo

_BYTE_PRODUCTS = {
    "x86_64": ("VNNI", {"avx512_vnni", "avx_vnni", "amx_int8"}),
    "aarch64": ("dot products", {"asimddp", "i8mm", "svei8mm"}),
}
"""By architecture: what instructions that multiply bytes are called there, and the flags of
/proc/cpuinfo that stand for them."""


def processor_kind(device: DeviceInfo) -> str:
    """The architecture, and how it multiplies bytes: "x86_64 with VNNI", or by tiles: "… AMX"."""
    if device.machine not in _BYTE_PRODUCTS:
        return device.machine
    if "amx_int8" in device.cpu_features:
        return f"{device.machine} with AMX"
    name, flags = _BYTE_PRODUCTS[device.machine]
    return f"{device.machine} {'with' if flags & set(device.cpu_features) else 'without'} {name}"


def put_part(page: str, text: str, markers: tuple[str, str], title: str) -> str:
    """The page with `text` under the heading `title` between the markers: in place of what it had
    there, or behind the other headings' parts.

    Raises `InputError` when the markers are not there.
    """
    first, last = markers
    before, begin, rest = page.partition(first)
    content, end, after = rest.partition(last)
    if not begin or not end:
        raise InputError(
            "has no place for the table", expected=f"{first.strip()} and {last.strip()}"
        )
    _, *pieces = re.split(r"^### (.+)\n", content, flags=re.MULTILINE)
    parts = dict(zip(pieces[::2], pieces[1::2], strict=True)) | {title: text}
    inner = "".join(f"\n### {name}\n\n{part.strip()}\n" for name, part in parts.items())
    return f"{before}{first}{inner}\n{last}{after}"
