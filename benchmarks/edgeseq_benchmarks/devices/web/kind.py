"""`web`: a browser, on this machine or on any that reaches it."""

from __future__ import annotations

import re
from typing import NoReturn

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.address import DeviceAddress, DeviceKind


def _open(_: DeviceAddress) -> NoReturn:
    raise DeviceError(
        "cannot be connected to: it opens a page by itself",
        where="web",
        fix="run `edgeseq bench BUNDLE --on web` and open the address that it prints",
    )


KIND = DeviceKind(re.compile("web"), "web", _open, "a page")
