"""Footprints on a microcontroller: what `bench` refuses instead of leaving it out."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeseq as es
from edgeseq.api.bench import BenchOptions
from edgeseq.errors import InputError


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (BenchOptions(memory_limits=["64MB"]), "--memory"),
        (BenchOptions(energy=True), "--energy"),
        (BenchOptions(threads=2), "--threads"),
    ],
)
def test_a_measurement_of_a_process_is_refused(
    tmp_path: Path, options: BenchOptions, option: str
) -> None:
    with pytest.raises(InputError, match=f"{option}: is not possible for a microcontroller"):
        es.bench([tmp_path / "no-bundle"], device="micro", **options)
