"""What an address of a device is made of, and what a kind of device declares about itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from edgeseq.formats.devices import DEFAULT_PYTHON
from edgeseq_benchmarks.devices.base import Device


class DeviceAddress(NamedTuple):
    """A device's address in its parts; `text` is the address as results show it.

    `target` is the host (an IPv6 address without its brackets), the serial number or the board;
    `python` the interpreter on the device that measures.
    """

    kind: str
    text: str
    target: str = ""
    user: str | None = None
    port: int | None = None
    python: str = DEFAULT_PYTHON


class DeviceKind(NamedTuple):
    """One kind of device, declared by its module and listed in `registry.KINDS`.

    `pattern` matches a whole address; its groups `target`, `user` and `port` are the parts.
    `example` shows the address in messages. `measured_by` is what measures: this process, the
    device's own Python (`remote`), TFLite's native tool (`android`), a page (`web`), or MediaPipe.
    """

    pattern: re.Pattern[str]
    example: str
    open: Callable[[DeviceAddress], Device]
    measured_by: Literal["this process", "its Python", "benchmark_model", "a page", "MediaPipe"] = (
        "its Python"
    )
