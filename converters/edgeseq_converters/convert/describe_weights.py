"""Describes weights without layers, and compares on data what the weights do not tell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from edgeseq.errors import CheckpointError, EdgeseqError, InputError, OutputError
from edgeseq.formats.storage import new_file, write_bytes
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.examples import AnyDataset, TextExample
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.convert.development_score import development_score, development_texts
from edgeseq_converters.convert.fit_model import fit_to_dataset
from edgeseq_converters.convert.import_model import ImportedModel, ImportOptions
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.describe.candidates import agreed, candidates, with_values
from edgeseq_converters.models.describe.read import DraftedWeights, draft_weights
from edgeseq_converters.models.describe.text import description_text

_MOST_SHOWN = 12


class Candidate(msgspec.Struct, frozen=True):
    """Possible values of what weights do not tell, and the score of the network with them (the
    task's metric in 0..1), or why it cannot be one."""

    values: dict[str, str]
    score: float | None = None
    refused: str | None = None


class DescribedWeights(msgspec.Struct, frozen=True):
    """A description of weights.

    `text` is the `network.toml`, in which `unknown` values are "?"; `candidates` are what was
    compared on `n_examples` development texts, best first, and `proposed` the values of the best
    that the text has. `commonest` is the score of always answering the commonest label.
    """

    text: str
    unknown: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
    proposed: dict[str, str] = {}
    n_examples: int = 0
    commonest: float = 0.0


def describe_weights(
    source: Path,
    dataset: AnyDataset | None = None,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - frozen
    conversion: ConversionOptions = ConversionOptions(),  # noqa: B008 - frozen
    *,
    progress: ProgressCallback = no_progress,
) -> DescribedWeights:
    """Tells the layers of the weights at `source` by their names and shapes.

    With `dataset` every combination of what they do not tell is scored on development texts, with
    the padding of `conversion`. The values that all of the best have are proposed in the text,
    unless always answering the commonest label is as good as the best.

    Raises `CheckpointError` for weights whose layers cannot be told, or that no combination fits
    to the data, `InputError` when the data needs a tokenizer, and `DataError` when it has no texts
    with labels for the whole.
    """
    drafted = draft_weights(source)
    unknown = drafted.labels
    if dataset is None or not unknown:
        return DescribedWeights(description_text(drafted.draft), unknown)
    examples = development_texts(dataset)
    if options.tokenizer is None:
        raise InputError(
            "comparing on data needs the model's tokenizer",
            where=source,
            fix="name it with --tokenizer, or leave --data out",
        )
    counts = Counter(example.label for example in examples if isinstance(example, TextExample))
    commonest = max(counts.values(), default=0) / len(examples)
    tried = _try(drafted, source, dataset, (options, conversion), progress)
    scored = [candidate for candidate in tried if candidate.score is not None]
    if not scored:
        raise CheckpointError(
            "fits the data with none of the possible layers",
            where=source,
            found=tried[0].refused,
            fix="name the data that the model was trained on with --data",
        )
    rank = metric_of(dataset.task).rank
    scored.sort(key=lambda candidate: rank(candidate.score or 0.0), reverse=True)
    best = [candidate.values for candidate in scored if candidate.score == scored[0].score]
    is_better = (scored[0].score or 0.0) > commonest
    proposed = agreed(best) if is_better else {}
    described = DescribedWeights(
        "",
        tuple(label for label in unknown if label not in proposed),
        (*scored, *(candidate for candidate in tried if candidate.score is None)),
        proposed,
        len(examples),
        commonest,
    )
    text = description_text(with_values(drafted.draft, proposed), _remarks(described, dataset))
    return msgspec.structs.replace(described, text=text)


def write_description(described: DescribedWeights, out: Path, *, overwrite: bool) -> None:
    """Writes the description; raises `OutputError` when `out` exists or cannot be written."""
    if out.exists() and not overwrite:
        raise OutputError("already exists", where=out, fix="choose another file or --overwrite")
    with new_file(out) as draft:
        write_bytes(draft, described.text.encode())


def _try(
    drafted: DraftedWeights,
    source: Path,
    dataset: AnyDataset,
    options: tuple[ImportOptions, ConversionOptions],
    progress: ProgressCallback,
) -> list[Candidate]:
    examples = development_texts(dataset)
    possible = candidates(drafted.draft)
    tried = []
    for number, (values, description) in enumerate(possible):
        progress(ProgressUpdate("compare possible layers", number, len(possible)))
        try:
            network = drafted.network(description)
            imported = ImportedModel(source, network, options[0])
            model = fit_to_dataset(imported, dataset, options[1]).model
            score = development_score(model, examples, dataset)
            tried.append(Candidate(dict(values), score))
        except InputError:
            raise
        except EdgeseqError as refusal:
            tried.append(Candidate(dict(values), refused=str(refusal)))
    progress(ProgressUpdate("compare possible layers", len(possible), len(possible)))
    return tried


def _remarks(described: DescribedWeights, dataset: AnyDataset) -> tuple[str, ...]:
    """What was compared, as remarks at the beginning of the description."""
    title = metric_of(dataset.task).title
    lines = [f"{title} on {described.n_examples} development texts of {dataset.name}:"]
    for candidate in described.candidates[:_MOST_SHOWN]:
        shown = "refused" if candidate.score is None else f"{candidate.score:.4f}"
        lines.append(f"  {shown}  {_shown(candidate.values)}")
    if described.proposed:
        lines.append(
            f"Proposed below, to be checked with the model's code: {_shown(described.proposed)}."
        )
    else:
        lines.append(
            f"Nothing is proposed: the commonest label alone has {described.commonest:.4f}, or "
            "the best differ in every value."
        )
    return tuple(lines)


def _shown(values: dict[str, str]) -> str:
    return ", ".join(f"{label} = {value}" for label, value in values.items())
