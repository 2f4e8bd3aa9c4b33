"""`search.json`: what a search tried, for its report and for scripts.

Version history: 1, the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.formats.storage import read_json
from edgeseq.formats.trained_model import Arch

SCHEMA_VERSION = 1

TrialOutcome = Literal["trained", "ended early", "over budget", "disturbed", "failed"]


class SearchTrial(msgspec.Struct, frozen=True):
    """One candidate. `costs` were measured before training, by the names of a report's row (bytes,
    ms; None: not measured); `dev_scores` are the float model's per epoch, `dev_score` is the
    converted model's, both values of the task's metric on the development split.

    A candidate is `disturbed` where its times exceed the budget, but were measured while other
    programs used the machine; the next run of the search tries it again. `model` names the trained
    model, whose bundle is MODEL-RECIPE[-LOWERING]; `reason` says why a candidate was not trained to
    its end.
    """

    number: int
    outcome: TrialOutcome
    model: str
    arch: Arch
    recipe: RecipeName
    lowering: Lowering
    is_distilled: bool
    settings: dict[str, Any]
    costs: dict[str, float | None]
    dev_scores: tuple[float, ...] = ()
    dev_score: float | None = None
    seconds: float = 0.0
    reason: str = ""


class SearchRecord(msgspec.Struct, frozen=True):
    """All trials of a search in their order.

    `importance` has by objective the share of each setting in the best tenth of the trials
    (PED-ANOVA; the shares add up to 1), where there are enough of them; `finalists` are the bundles
    that were measured on the test split.
    """

    task: str
    data_name: str
    data_sha256: str
    budget: str
    trials: tuple[SearchTrial, ...]
    importance: dict[str, dict[str, float]] = {}
    finalists: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION


def read_search_record(path: Path) -> SearchRecord:
    """Reads the file; raises `ResultError` naming the place that does not fit."""
    return read_json(path, SearchRecord, error=ResultError, schema_version=SCHEMA_VERSION)
