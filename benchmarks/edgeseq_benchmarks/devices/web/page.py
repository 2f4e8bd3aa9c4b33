"""What `bench --on web` needs to know before it opens a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.result import Settings
from edgeseq_benchmarks.devices.option_checks import check_times_alone

LOOPBACK = "127.0.0.1"


class WebPage(msgspec.Struct, frozen=True):
    """What is served: `folder` is the bundle's export for the web, `bind` the address to listen on.

    `on_address` is told the address to open.
    """

    folder: Path
    bind: str = LOOPBACK
    on_address: Callable[[str], None] | None = None


def check_settings(settings: Settings, bundles: Sequence[Path]) -> None:
    """Raises `InputError` for what a page cannot do."""
    if len(bundles) != 1:
        raise InputError(
            "a page measures one bundle at a time",
            where="--on web",
            found=f"{len(bundles)} bundles",
            fix="name one; a report takes the results of several",
        )
    check_times_alone(settings, "is not possible in a browser")
