"""The result file: numbers and names, nothing derived. `targets` and `table` read it."""

from __future__ import annotations

from typing import cast

import msgspec

from edgeseq.formats.result import DeviceInfo
from edgeseq.stats.latency import percentile_interval
from edgeseq.stats.scores import Interval
from studies.peers.contenders import BuildFailure, Feeding, Peer, Precision
from studies.peers.inputs import Shape
from studies.peers.limit import MachineLimits
from studies.peers.rounds import Agreement, RoundTiming


class PeerRow(msgspec.Struct, frozen=True):
    """One contender that answered rightly; `timings` by workload."""

    name: str
    peer: Peer
    precision: Precision
    feeding: Feeding
    recipe: str
    lowering: str
    size_bytes: int
    agreement: Agreement
    timings: dict[str, RoundTiming]


class ShapeResult(msgspec.Struct, frozen=True):
    """All contenders of one shape of network."""

    shape: Shape
    rows: tuple[PeerRow, ...]
    failures: tuple[BuildFailure, ...]


class PeersResult(msgspec.Struct, frozen=True):
    """What one run of the command measured.

    `real_tokens` are the lengths of the texts of the workload `real`; `versions` by package.
    """

    created_utc: str
    edgeseq_version: str
    device: DeviceInfo
    versions: dict[str, str]
    texts: str
    real_tokens: tuple[int, ...]
    rounds: int
    quick: bool
    machine: MachineLimits
    shapes: tuple[ShapeResult, ...]
    schema_version: int = 1


def median_ns(row: PeerRow, workload: str) -> float:
    """ns a query, the median of the rounds."""
    ordered = sorted(row.timings[workload].rounds_ns)
    return ordered[(len(ordered) - 1) // 2]


def paired_ratio(above: PeerRow, below: PeerRow, workload: str) -> Interval:
    """How many times slower `above` is than `below`, with its 95 % interval.

    The median over the rounds of the ratio within a round: what slowed the machine down for a
    while slowed both.
    """
    pairs = zip(above.timings[workload].rounds_ns, below.timings[workload].rounds_ns, strict=True)
    # A median has an interval from one sample on.
    return cast("Interval", percentile_interval([first / second for first, second in pairs]))
