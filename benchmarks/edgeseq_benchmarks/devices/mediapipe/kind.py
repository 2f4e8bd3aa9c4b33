"""`mediapipe`: MediaPipe's Python package on this machine."""

from __future__ import annotations

import re
from typing import NoReturn

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.address import DeviceAddress, DeviceKind


def _open(_: DeviceAddress) -> NoReturn:
    raise DeviceError(
        "cannot be connected to: MediaPipe runs in Python on this machine",
        where="mediapipe",
        fix="run `edgeseq bench BUNDLE --on mediapipe`",
    )


KIND = DeviceKind(re.compile("mediapipe"), "mediapipe", _open, "MediaPipe")
