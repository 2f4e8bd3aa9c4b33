"""`edgeseq convert`: from a model to bundles that travel to a device, or to a bare .tflite file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from edgeseq.cli.console import JsonOption, out, print_json, print_note, progress_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseq.formats.bundle import BundleManifest


class _Choices(NamedTuple):
    recipes: tuple[str, ...]
    lowerings: tuple[str, ...]
    length: int | None
    runtime: str | None
    max_drop: float | None


FOREIGN = "Models from elsewhere"
BARE = "Bare .tflite files"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="Trained-model folder (`edgeseq train`), Keras file or SavedModel, PyTorch "
            "weights or exported module, Hugging Face folder or hub id (docs/guides/sources.md)."
        ),
    ],
    *,
    out_path: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The bundle; with several recipes or lowerings, the folder of the bundles; a "
            "name that ends in .tflite makes a bare file without data.",
        ),
    ],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="float32, float16, dynamic_wi8_afp32 (default), weight_only_wi8_afp32, "
            "static_wi8_ai8, static_wi8_ai16 (LSTM), dynamic_wi4_afp32 or dynamic_wi4_ei4_afp32 "
            "(matrices, or matrices and words, in 4 bits); may be given several times. auto: "
            "the smallest that loses no more than --max-drop.",
        ),
    ] = None,
    lowering: Annotated[
        list[str] | None,
        typer.Option(
            "--lowering",
            help="LSTM: loop (default), projected (a larger table, fewer products), unrolled or "
            "fused; BERT: encoder; may be given several times. auto: a bundle of each, for "
            "`edgeseq bench` to choose from on the device.",
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option("--length", min=1, help="Tokens of an unrolled model; longer texts are cut."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime", help="An older runtime that must load it, as in tflite-runtime==2.14."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            min=0,
            help="Points of the metric that may be lost on the development texts (with --recipe "
            "auto by default 1 % of the float model's score).",
        ),
    ] = None,
    trim_vocab: Annotated[
        bool,
        typer.Option("--trim-vocab", help="Drop the tokens that the training texts never use."),
    ] = False,
    min_piece_count: Annotated[
        int | None,
        typer.Option(
            "--min-piece-count",
            min=1,
            help="With --trim-vocab: drop tokens that they use fewer times than this, too; the "
            "texts that have them are spelled out in smaller pieces.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Data set; default: the one the model was trained on."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="EDGESEQ_DATA", help="Folder with local copies of data."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The model's name.", rich_help_panel=FOREIGN)
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", help="Its tokenizer.json.", rich_help_panel=FOREIGN),
    ] = None,
    description: Annotated[
        Path | None,
        typer.Option(
            "--description", help="The layers of PyTorch weights.", rich_help_panel=FOREIGN
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", min=1, help="The longest text it takes.", rich_help_panel=FOREIGN
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            "--ids",
            help="Token ids to compare and calibrate on: a JSON list a line.",
            rich_help_panel=BARE,
        ),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            "--head",
            help="Head of a Hugging Face checkpoint: sequence_classification, "
            "token_classification, masked_lm or feature_extraction; auto: the saved one.",
            rich_help_panel=BARE,
        ),
    ] = "auto",
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Add a signature with states in and out, for token by token.",
            rich_help_panel=BARE,
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite the output if it exists.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Convert a model to TFLite, check it against the float model, write a bundle.

    Example: edgeseq convert models/lstm --out bundles/lstm --recipe dynamic_wi8_afp32
    """
    from edgeseq.errors import InputError

    choices = _Choices(tuple(recipe or ()), tuple(lowering or ()), length, runtime, max_drop)
    if out_path.suffix == ".tflite":
        for option, given in {
            "--max-drop": max_drop,
            "--trim-vocab": trim_vocab or None,
            "--min-piece-count": min_piece_count,
            "--data": data,
            "--name": name,
            "--tokenizer": tokenizer,
            "--max-tokens": max_tokens,
        }.items():
            if given is not None:
                raise InputError(
                    f"{option} is for bundles",
                    found=str(out_path),
                    fix="leave it out, or name a folder with --out",
                )
        _bare(
            source,
            out_path,
            choices,
            description,
            ids,
            head=head,
            streaming=streaming,
            overwrite=overwrite,
            json=json,
        )
        return
    if streaming or ids is not None or head != "auto":
        raise InputError(
            "--streaming, --ids and --head are for bare files",
            found=str(out_path),
            fix="end --out in .tflite, or leave them out",
        )
    if min_piece_count is not None and not trim_vocab:
        raise InputError(
            "--min-piece-count goes with --trim-vocab", found=min_piece_count, fix="add it"
        )
    from edgeseq.datasets.registry import load_dataset
    from edgeseq_converters.convert.convert_many import Choices, convert_many
    from edgeseq_converters.convert.prepare import Wanted, prepared

    wanted = Wanted(name, tokenizer, description, max_tokens, trim_vocab, min_piece_count or 1)
    with progress_bars() as report:
        task, trained_on = _trained_on(source) if data is None else (_task_of(source), data)
        dataset = load_dataset(trained_on, task=task, data_dir=data_dir, progress=report)
        with prepared(source, dataset, wanted, progress=report) as model:
            made = convert_many(
                model,
                out_path,
                Choices(*choices),
                dataset=dataset,
                progress=report,
                overwrite=overwrite,
            )
    if json:
        print_json([manifest for _, manifest in made.bundles])
        return
    for refused, reason in made.refused.items():
        print_note(f"refused {refused}: {reason}")
    if model.rows_after < model.rows_before:
        print_note(
            f"vocabulary trimmed from {model.rows_before} to {model.rows_after} tokens; of "
            f"{len(dataset.dev)} development texts {model.split_otherwise} are split otherwise"
        )
    _print_table(made.bundles)


def _task_of(source: Path) -> str | None:
    """The task that a trained-model folder names; None for a model from elsewhere."""
    from edgeseq_converters.convert.sources import read_source

    known = (source / "model.json").is_file()
    return read_source(source).manifest.task if known else None


def _trained_on(source: Path) -> tuple[str, str]:
    """Task and data set of a trained-model folder."""
    from edgeseq.errors import InputError
    from edgeseq_converters.convert.sources import read_source

    if not (source / "model.json").is_file():
        raise InputError(
            "a model from elsewhere needs the data that it was made for",
            where=source,
            fix="name it with --data, or convert to a bare file: --out MODEL.tflite",
        )
    manifest = read_source(source).manifest
    return manifest.task, manifest.training.data_name


def _bare(
    source: Path,
    out_path: Path,
    choices: _Choices,
    description: Path | None,
    ids: Path | None,
    *,
    head: str,
    streaming: bool,
    overwrite: bool,
    json: bool,
) -> None:
    from edgeseq.errors import InputError
    from edgeseq_converters.convert.bare import convert_bare
    from edgeseq_converters.convert.bare_encoder import convert_bare_encoder
    from edgeseq_converters.convert.lower.dispatch import Target, choose_lowering, choose_runtime
    from edgeseq_converters.convert.recipes import DEFAULT, get_recipe
    from edgeseq_converters.models.huggingface.checkpoint import names_checkpoint
    from edgeseq_converters.models.huggingface.heads import check_head

    if max(len(choices.recipes), len(choices.lowerings)) > 1 or "auto" in choices.recipes:
        raise InputError(
            "a bare file has one recipe and one lowering",
            found=", ".join((*choices.recipes, *choices.lowerings)),
            fix="name one of each, or make bundles with --data",
        )
    encoder = names_checkpoint(source)
    lowering = choose_lowering(
        "bert" if encoder else "lstm", choices.lowerings[0] if choices.lowerings else "auto"
    )
    target = Target(lowering, choices.length, choose_runtime(choices.runtime))
    chosen = get_recipe(choices.recipes[0] if choices.recipes else DEFAULT)
    if encoder and (streaming or description is not None):
        raise InputError(
            "--streaming and --description are for recurrent networks",
            found=str(source),
            fix="leave them out",
        )
    with progress_bars() as report:
        if encoder:
            made = convert_bare_encoder(
                source.as_posix(),
                out_path,
                chosen,
                target,
                head=check_head(head),
                ids=ids,
                overwrite=overwrite,
                progress=report,
            )
        else:
            made = convert_bare(
                source,
                out_path,
                chosen,
                target,
                description=description,
                ids=ids,
                streaming=streaming,
                overwrite=overwrite,
                progress=report,
            )
    if json:
        print_json(made)
        return
    out.print(
        f"{made.path}: {made.size_bytes / 1e6:.2f} MB, input_ids to {made.output} "
        f"{list(made.shape)}, {made.max_abs_error:.2g} from the float model at most",
        markup=False,
        soft_wrap=True,
    )
    if made.tried_runtime is not None:
        print_note(made.tried_runtime)
    print_note(
        f"compared on {made.n_examples} "
        + ("texts of --ids" if ids else "random texts: name real ones with --ids")
    )


def _print_table(bundles: Sequence[tuple[Path, BundleManifest]]) -> None:
    from rich import box
    from rich.table import Table

    from edgeseq.tasks.scoring import metric_of

    # Eight columns within 80 characters: no lines between them.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("recipe", "lowering"):
        table.add_column(title, no_wrap=True)
    for title in ("MB", "same label", "error", "float", "dev", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    for _, manifest in bundles:
        measured, show = manifest.fidelity, metric_of(manifest.task).show
        table.add_row(
            manifest.recipe,
            manifest.lowering,
            f"{manifest.files['model.tflite'].size_bytes / 1e6:.2f}",
            f"{measured.label_agreement:.1%}",
            f"{measured.max_abs_error:.2g}",
            "-" if measured.float_score is None else show(measured.float_score),
            "-" if measured.score is None else show(measured.score),
            f"{manifest.provenance.conversion_seconds or 0:.1f}",
        )
    out.print(table)
    for place, _ in bundles:
        out.print(str(place), markup=False, soft_wrap=True)
    for tried in dict.fromkeys(manifest.provenance.tried_runtime for _, manifest in bundles):
        if tried is not None:
            print_note(tried)
    n_examples = bundles[0][1].fidelity.n_examples
    print_note(
        f"compared with the float model on {n_examples} development texts; "
        f"next: edgeseq bench {bundles[0][0]} --out result.json"
    )
