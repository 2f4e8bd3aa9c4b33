"""The search for the best model within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgeseq.api.bundle import Bundle, converted_bundle
from edgeseq.api.model import Model, resolve_model
from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.api.result import Result, load_result
from edgeseq.datasets.registry import default_name
from edgeseq.formats.search_record import SearchTrial
from edgeseq.model_search.search import SearchOptions, SearchRun, run_search
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.deployment_report import Report, make_report
from edgeseq.suite.plan import RESULT_FILE
from edgeseq.suite.schema import DataSection
from edgeseq.units import parse_duration_s

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SearchKeywords(TypedDict, total=False):
    """Options of `search`."""

    trials: int
    timeout: str | None
    families: Sequence[str]
    teacher: Model | str | Path | None
    checkpoint: str | Path | None
    epochs: int | None
    runner: str
    storage: str | None
    seed: int
    quick: bool
    dev: str | Path
    test: str | Path
    text_column: str | int
    label_column: str | int
    data_dir: str | Path | None
    scheduler: str | None
    store: str | None
    on_trial: Callable[[SearchTrial], None]
    progress: ProgressOption


@dataclass(frozen=True)
class SearchOutput:
    """What a search wrote.

    Attributes:
        root: The folder of models, bundles, the study and the report.
        run: The search's record, and the answer of its report.
    """

    root: Path
    run: SearchRun

    @property
    def trials(self) -> tuple[SearchTrial, ...]:
        """All candidates in their order: settings, costs, scores, and what became of each."""
        return self.run.record.trials

    @property
    def winner(self) -> Bundle | None:
        """The bundle to ship; None when none of the finalists fits the budget in the end."""
        return None if self.run.winner is None else converted_bundle(self.run.winner)

    @property
    def result(self) -> Result:
        """The full measurement of the finalists."""
        return load_result(self.root / RESULT_FILE)

    @cached_property
    def report(self) -> Report:
        """What to ship, and why."""
        budget = parse_budget(self.run.record.budget)
        return make_report([self.root / RESULT_FILE], budget=budget, search=self.run.record)


def search(
    task: str,
    data: str | Path | None = None,
    *,
    budget: str,
    out: str | Path = "edgeseq-search",
    **options: Unpack[SearchKeywords],
) -> SearchOutput:
    """Search for the best model of a data set within a budget; the same call resumes.

    A candidate's latency, memory and size are measured before it is trained, and only what fits is
    trained; of those trainings the weaker half is ended after 1, 2 and 4 epochs. The test split is
    used once, for the best few.

    Args:
        task: `text-classification`, `multilabel-classification` or `token-classification` of your
            data; `sentiment`, `pos`, `ner` or `coref`.
        data: A name or a file, as for `load_dataset`; by default the task's first data set.
        budget: Limits like "memory=16MB p95=5ms size=1MB", as for `report`.
        out: The folder to write, or to resume.
        trials: How many candidates to try, those of earlier calls included.
        timeout: End the trials after this time, such as "30min" or "2h".
        families: Some of `bag`, `lstm` and `bert`; by default the first two, and `bert` with a
            teacher or a checkpoint.
        teacher: A fine-tuned BERT to distil candidates from.
        checkpoint: What BERTs and tokenizers start from: a folder or hub id.
        epochs: Passes over the train split of a training that is not ended early.
        runner: The program that is measured, "native" or "python".
        storage: An address of a database for Optuna, such as "sqlite:///study.db"; by default a
            file in `out`.
        seed: Of the sampler.
        quick: A data subset, few epochs and a quick benchmark: minutes.
        dev: The validation split's file.
        test: The test split's file.
        text_column: Column of the text, a name or a number from 1.
        label_column: Column of the label, a name or a number from 1.
        data_dir: Folder of local copies of data.
        scheduler: The address of a Dask scheduler, whose workers run the steps, each a trial.
        store: The URL of a store of what steps made, which all machines reach.
        on_trial: Called with each candidate when it is finished.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        InputError: The budget or an option has an error, or `out` or `storage` holds another
            search.
        RefusedError: No candidate fits the budget; the message names the nearest.
        StoreError: The store is full or cannot be reached; the same call resumes.
        ClusterError: The scheduler or its workers cannot be used, or were lost.
        OutputError: `out` holds other files, or cannot be written.

    Examples:
        >>> found = es.search("sentiment", "reviews.csv", budget="memory=16MB p95=5ms size=1MB")
        >>> found.report.verdict.winner
    """
    check_options(options, SearchKeywords)
    section = _data_section(task, data, options)
    with progress_of(options.get("progress", "auto"), still=True) as callback:
        run = run_search(
            task,
            section,
            budget,
            Path(out),
            _search_options(options),
            progress=callback,
            on_trial=options.get("on_trial", lambda _: None),
        )
    return SearchOutput(Path(out), run)


def _search_options(options: SearchKeywords) -> SearchOptions:
    teacher, timeout = options.get("teacher"), options.get("timeout")
    checkpoint, data_dir = options.get("checkpoint"), options.get("data_dir")
    return SearchOptions(
        trials=options.get("trials", 50),
        timeout_s=None if timeout is None else parse_duration_s(timeout, where="timeout"),
        families=tuple(options.get("families", ())),
        teacher=None if teacher is None else resolve_model(teacher).source,
        checkpoint=None if checkpoint is None else str(checkpoint),
        epochs=options.get("epochs"),
        runner=options.get("runner", "native"),
        storage=options.get("storage"),
        seed=options.get("seed", 0),
        quick=options.get("quick", False),
        data_dir=None if data_dir is None else Path(data_dir),
        scheduler=options.get("scheduler"),
        store=options.get("store"),
    )


def _data_section(task: str, data: str | Path | None, options: SearchKeywords) -> DataSection:
    name = default_name(task) if data is None else str(data)
    is_file = Path(name).suffix != "" and not name.startswith("hf:")
    dev, test = options.get("dev"), options.get("test")
    return DataSection(
        name=None if is_file else name,
        train=name if is_file else None,
        dev=None if dev is None else str(dev),
        test=None if test is None else str(test),
        text_column=options.get("text_column", "text"),
        label_column=options.get("label_column", "label"),
    )
