"""What `edgeseq convert` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from edgeseq.cli.console import out, print_line, print_note
from edgeseq.formats.padding import TEXT_ALONE, describe_scores
from edgeseq.tasks.multilabel_classification import describe_thresholds
from edgeseq.tasks.registry import task_of

if TYPE_CHECKING:
    from edgeseq.api.bundle import Bundle
    from edgeseq.api.convert import ConversionResult
    from edgeseq.formats.bundle_manifest import BundleManifest
    from edgeseq.tasks.metric import Metric
    from edgeseq_converters.convert.bare_file import BareFile
    from edgeseq_converters.convert.describe_weights import DescribedWeights


def print_file(file: BareFile, ids: Path | None) -> None:
    """What a bare file is, and on what it was compared: the texts of `ids`, or random ones."""
    out.print(
        f"{file.path}: {file.size_bytes / 1e6:.2f} MB, {file.input} to {file.output} "
        f"{list(file.shape)}, {file.max_abs_error:.2g} at most from the float model",
        markup=False,
        soft_wrap=True,
    )
    if file.tried_runtime is not None:
        print_note(file.tried_runtime)
    print_note(
        f"compared on {file.n_examples} "
        + ("inputs of --ids" if ids else "random inputs; name real ones with --ids")
    )


def print_description(described: DescribedWeights, path: Path) -> None:
    """The description, the scores of what was compared, and what is still to be chosen."""
    out.print(described.text, markup=False, soft_wrap=True)
    if described.candidates:
        table = Table(box=box.SIMPLE_HEAD)
        for heading in (*described.candidates[0].values, "score"):
            table.add_column(heading)
        for candidate in described.candidates:
            score = "refused" if candidate.score is None else f"{100 * candidate.score:.2f} %"
            table.add_row(*candidate.values.values(), score)
        out.print(table)
        print_note(
            f"on {described.n_examples} development texts; always answering the commonest label "
            f"scores {100 * described.commonest:.2f} %"
        )
    for label, value in described.proposed.items():
        print_note(f"proposed: {label} = {value}; check it with the model's code")
    for label in described.unknown:
        print_note(f'still to be chosen ("?"): {label}')
    print_line(f"written to {path}; complete it and convert with --description {path}")


def print_result(result: ConversionResult) -> None:
    """The bundles as a table, and notes on refused recipes and the trimmed vocabulary."""
    for refused, reason in result.refused.items():
        print_note(f"refused {refused}: {reason}")
    rows_before, rows_after = result.vocabulary_size
    if rows_after < rows_before:
        print_note(
            f"vocabulary trimmed from {rows_before} to {rows_after} tokens; "
            f"{result.n_retokenized} of {result.n_dev} development texts are tokenized differently"
        )
    manifest = result.bundles[0].manifest
    if manifest.thresholds:
        labels = result.bundles[0].labels
        print_note(f"thresholds of labels: {describe_thresholds(labels, manifest.thresholds)}")
    if manifest.padding != TEXT_ALONE:
        print_note(f"padding {manifest.padding.describe(manifest.max_tokens)}")
    if scores := manifest.provenance.padding_scores:
        chosen = f"padding chosen by the score on development texts: {describe_scores(scores)}"
        print_note(chosen)
    _print_table(result.bundles)


def print_error_rise(manifest: BundleManifest, metric: Metric) -> None:
    """Says where predicted numbers are off by over a percent more than the float model's, and where
    products were computed in float32 because of that."""
    measured = manifest.fidelity
    name = f"{manifest.recipe} {manifest.lowering}"
    if manifest.provenance.float_products:
        print_note(
            f"{name}: products are computed in float32, integers would raise its {metric.title}"
        )
    if task_of(manifest.task).head != "sequence-regression":
        return
    if measured.score is not None and measured.float_score and measured.score > 0:
        rise = measured.score / measured.float_score - 1
        if rise > 0.01:
            print_note(
                f"{name}: {metric.title} is {rise:.1%} above the float model's on "
                f"{measured.n_examples} development sequences: a finer --recipe keeps it"
            )


def _print_table(bundles: Sequence[Bundle]) -> None:
    # Loads NumPy, which `edgeseq convert` must find unloaded.
    from edgeseq.tasks.scoring import metric_of  # noqa: PLC0415 - see above

    # Eight columns within 80 characters: no lines between them.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("recipe", "lowering"):
        table.add_column(title, no_wrap=True)
    for title in ("MB", "same label", "error", "float", "dev", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    for bundle in bundles:
        manifest = bundle.manifest
        measured, show = manifest.fidelity, metric_of(manifest.task).show
        table.add_row(
            manifest.recipe,
            manifest.lowering,
            f"{manifest.files['model.tflite'].size_bytes / 1e6:.2f}",
            "-" if measured.label_agreement is None else f"{measured.label_agreement:.1%}",
            f"{measured.max_abs_error:.2g}",
            "-" if measured.float_score is None else show(measured.float_score),
            "-" if measured.score is None else show(measured.score),
            f"{manifest.provenance.conversion_seconds or 0:.1f}",
        )
    out.print(table)
    for bundle in bundles:
        print_line(str(bundle.path))
    for bundle in bundles:
        print_error_rise(bundle.manifest, metric_of(bundle.manifest.task))
    notes = (bundle.manifest.provenance.tried_runtime for bundle in bundles)
    for note in filter(None, dict.fromkeys(notes)):
        print_note(note)
    n_examples = bundles[0].manifest.fidelity.n_examples
    print_note(
        f"compared with the float model on {n_examples} development examples; "
        f"next: edgeseq bench {bundles[0].path} --out result.json"
    )
