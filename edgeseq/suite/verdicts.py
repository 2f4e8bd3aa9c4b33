"""`verdict.json`: what the step `verdict` decided and the step `verdict_run` runs."""

from __future__ import annotations

import msgspec

from edgeseq.formats.result import Runner


class ShippedModel(msgspec.Struct, frozen=True):
    """The winner of one group: the path of its result, the runner that it is about, its bundle."""

    result: str
    runner: Runner
    bundle: str


class SuiteVerdict(msgspec.Struct, frozen=True):
    """The winners within a budget, in its text's form; `memory_bytes` is its limit on memory."""

    budget: str
    memory_bytes: int | None
    shipped: tuple[ShippedModel, ...]
