"""The connection to a board is cut at each call of a run, which ends as if it had not been."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from edgeseq.formats.result import Settings
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.devices.remote.remote_bench import RemoteOptions, bench_on
from edgeseq_benchmarks.devices.ssh import SshDevice
from studies.reliability import record

from .ssh_server import Sshd

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SEED = int(os.environ.get("EDGESEQ_FAULTS_SEED", "17"))
MOST_CALLS = 60
MakeBundle = Callable[..., Path]


class CutDevice:
    """A device that loses its connection at the call numbered `cut_at`: before it, or while it
    runs, so that it may have been carried out and its answer is lost."""

    def __init__(self, device: SshDevice, sshd: Sshd, cut_at: int, delay_s: float | None) -> None:
        self._device = device
        self._sshd = sshd
        self._cut_at = cut_at
        self._delay_s = delay_s
        self.calls: list[str] = []
        self.dropped = 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._device, name)
        return self._cutting(name, attribute) if name in ("run", "put", "get") else attribute

    def _cutting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def cut(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) != self._cut_at:
                return call(*arguments, **options)
            if self._delay_s is None:
                self._drop()
                return call(*arguments, **options)
            timer = threading.Timer(self._delay_s, self._drop)
            timer.start()
            try:
                return call(*arguments, **options)
            finally:
                timer.join()

        return cut

    def _drop(self) -> None:
        self.dropped += self._sshd.drop()


def test_a_connection_that_is_cut_at_any_call_costs_nothing(
    sshd: Sshd, board_python: str, place: PurePosixPath, make_bundle: MakeBundle, brief: Settings
) -> None:
    bundle = make_bundle("plain")
    expected = [run.predictions for run in bench([bundle], settings=brief).runs]
    options = RemoteOptions(board_python, place, reconnect_s=30, grace_s=60, follow_s=1)
    rng = random.Random(SEED)  # noqa: S311 - moments, not a secret
    for cut_at in range(1, MOST_CALLS):
        delay_s = rng.choice((None, rng.uniform(0, 0.1)))
        device = CutDevice(sshd.device(), sshd, cut_at, delay_s)
        result = bench_on(device, [bundle], settings=brief, options=options)  # type: ignore[arg-type]
        assert [run.predictions for run in result.runs] == expected, (cut_at, delay_s)
        assert not list(Path(place).iterdir()), (cut_at, delay_s)
        if len(device.calls) < cut_at:
            assert cut_at > 5
            record("calls to a board that were cut", cut_at - 1)
            return
        assert device.dropped, (cut_at, delay_s)
    pytest.fail("the run never ended")
