"""`baseline.json`: what a linear model reaches on a data set, as a reference that does not ship.

Version history: 1, the first.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.result_checks import check_baseline
from edgeseq.formats.storage import read_json
from edgeseq.tasks.predictions import Predictions

SCHEMA_VERSION = 1


class LinearBaseline(msgspec.Struct, frozen=True):
    """A linear model's predictions for the test split, all examples in their order.

    - `method` is what it is, in words; `settings` were chosen by `dev_score`, a value of the task's
      metric, and `parameters` is the number of its weights.
    - `data_sha256` is the data set's hash, as bundles and results have it, and `labels` are in the
      order of their class numbers.
    """

    method: str
    task: str
    data_name: str
    data_sha256: str
    labels: tuple[str, ...]
    predictions: Predictions
    dev_score: float
    settings: dict[str, float]
    parameters: int
    seconds: float
    tool_versions: dict[str, str] = {}
    schema_version: int = SCHEMA_VERSION


def read_linear_baseline(path: Path) -> LinearBaseline:
    """Reads the file; raises `ResultError` naming the place that does not fit."""
    baseline = read_json(path, LinearBaseline, error=ResultError, schema_version=SCHEMA_VERSION)
    check_baseline(path, baseline)
    return baseline
