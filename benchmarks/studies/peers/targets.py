"""What the LSTM conversion promises against other tools, and whether a result keeps it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeseq.stats.scores import Interval
from studies.peers.contenders import Precision
from studies.peers.inputs import LENGTHS, REAL
from studies.peers.result import PeerRow, PeersResult, ShapeResult, median_ns, paired_ratio


class SpeedTarget(msgspec.Struct, frozen=True):
    """`ratio` at least: the other's time over ours. `aim` is more than what is promised."""

    title: str
    precision: Precision
    against: str
    ratio: float
    workloads: tuple[str, ...]
    aim: float | None = None


_ALL = tuple(map(str, LENGTHS))
TARGETS = (
    SpeedTarget("dynamic int8, stock tf_keras", "dynamic", "tf_keras dynamic", 3, _ALL),
    SpeedTarget("the same, padded", "dynamic", "tf_keras dynamic padded", 3, (REAL,)),
    SpeedTarget("the same, resized", "dynamic", "tf_keras dynamic resized", 3, (REAL,)),
    SpeedTarget("full integer, stock tf_keras", "integer", "tf_keras integer", 12, _ALL),
    SpeedTarget("the same, padded", "integer", "tf_keras integer padded", 12, (REAL,)),
    SpeedTarget("the same, resized", "integer", "tf_keras integer resized", 12, (REAL,)),
    SpeedTarget("stock Keras 3, padded", "dynamic", "keras3 dynamic padded", 3, (REAL,)),
    SpeedTarget(
        "ONNX Runtime, dynamic int8", "dynamic", "onnxruntime dynamic", 1, ("32", "128"), aim=1.3
    ),
    SpeedTarget("the same against our int4", "int4", "onnxruntime dynamic", 1, ("32", "128", REAL)),
)
LIMIT = 3.0
"""Aim: dynamic int8 takes at most so many times the machine's own limit."""


class TargetVerdict(msgspec.Struct, frozen=True):
    """One target at one shape and workload. `found` is None where either side is missing."""

    target: SpeedTarget
    shape: str
    workload: str
    ours: str | None
    ratio: Interval | None

    @property
    def text(self) -> str:
        """Met, or by how much missed; and whether the interval leaves a doubt."""
        if self.ratio is None:
            return "not measured"
        return judge(self.ratio, self.target.ratio, self.target.aim)


def judge(ratio: Interval, least: float, aim: float | None = None) -> str:
    """The verdict on a ratio that should be `least` or more.

    A miss by 25 % means that 0.75 of the target is reached.
    """
    if ratio.estimate >= least:
        verdict = "met" if ratio.low >= least else "met, within the uncertainty"
        if aim is None:
            return verdict
        return f"{verdict}; aim of {aim:g} " + (
            "met" if ratio.estimate >= aim else f"missed by {1 - ratio.estimate / aim:.0%}"
        )
    verdict = f"**missed** by {1 - ratio.estimate / least:.0%}"
    return verdict + (", within the uncertainty" if ratio.high >= least else "")


def fastest(shape: ShapeResult, precision: Precision, workload: str) -> PeerRow | None:
    """Our fastest file of a precision: what `--lowering auto` would pick on this machine."""
    ours = [
        row
        for row in shape.rows
        if row.peer == "edgeseq" and row.precision == precision and workload in row.timings
    ]
    return min(ours, key=lambda row: median_ns(row, workload), default=None)


def verdicts(result: PeersResult) -> Iterator[TargetVerdict]:
    """Every target at every shape and workload."""
    for target in TARGETS:
        for shape in result.shapes:
            rows = {row.name: row for row in shape.rows}
            for workload in target.workloads:
                ours = fastest(shape, target.precision, workload)
                peer = rows.get(target.against)
                ratio = (
                    paired_ratio(peer, ours, workload)
                    if ours is not None and peer is not None and workload in peer.timings
                    else None
                )
                name = None if ours is None else ours.name
                yield TargetVerdict(target, shape.shape.title, workload, name, ratio)


class Distance(msgspec.Struct, frozen=True):
    """Our time beside the machine's bound, both ns a text."""

    shape: str
    workload: str
    ours: str
    ours_ns: float
    bound_ns: float

    @property
    def times(self) -> float:
        """How many times the bound we take."""
        return self.ours_ns / self.bound_ns

    @property
    def text(self) -> str:
        """Met, or by how much missed."""
        if self.times <= LIMIT:
            return "met"
        return f"**missed** by {self.times / LIMIT - 1:.0%}"


def distances(result: PeersResult) -> Iterator[Distance]:
    """Dynamic int8 against the bound, at every shape and workload."""
    for shape in result.shapes:
        for workload in (*_ALL, REAL):
            ours = fastest(shape, "dynamic", workload)
            if ours is None:
                continue
            lengths = result.real_tokens if workload == REAL else (int(workload),)
            tokens = sum(lengths) / len(lengths)
            yield Distance(
                shape.shape.title,
                workload,
                ours.name,
                median_ns(ours, workload),
                result.machine.bound_ns(shape.shape, tokens),
            )
