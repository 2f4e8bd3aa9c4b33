"""`edgeseq convert`: from a model to bundles that travel to a device, or to a bare .tflite file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeseq.cli.console import JsonOption, out, print_json, print_note, progress_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseq.api.bundle import Bundle
    from edgeseq.api.convert import ConversionResult
    from edgeseq_converters.convert.bare_file import BareFile


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
            help="The bundle, named like its folder; with several recipes or lowerings, the folder "
            "of the bundles; a name that ends in .tflite makes a bare file without data.",
        ),
    ],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="float32, float16, dynamic_wi8_afp32 (default), weight_only_wi8_afp32, "
            "static_wi8_ai8, static_wi8_ai16 (LSTM), dynamic_wi4_afp32 or "
            "dynamic_wi4_ei4_afp32 (int4 matrices, or matrices and embedding tables). "
            "Repeatable. auto: the smallest that loses no more than --max-drop.",
        ),
    ] = None,
    lowering: Annotated[
        list[str] | None,
        typer.Option(
            "--lowering",
            help="LSTM: loop (default), projected (a larger table, fewer products), unrolled "
            "or fused; BERT: encoder. Repeatable. auto: a bundle of each, for `edgeseq "
            "bench` to choose from on the device.",
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            min=1,
            help="Number of tokens of an unrolled model; longer texts are truncated.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime", help="Older runtime that must load the file, such as tflite-runtime==2.14."
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            min=0,
            help="Points of the score that may be lost on the dev split (with --recipe auto "
            "by default 1 % of the float model's score).",
        ),
    ] = None,
    trim_vocab: Annotated[
        bool,
        typer.Option("--trim-vocab", help="Drop tokens that the training texts never use."),
    ] = False,
    min_piece_count: Annotated[
        int | None,
        typer.Option(
            "--min-piece-count",
            min=1,
            help="With --trim-vocab: also drop tokens that they use fewer than N times; texts "
            "with them are split into smaller pieces.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Data set; default: the one that the model was trained on."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="EDGESEQ_DATA",
            help="Folder with local copies of data sets and weights.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model.", rich_help_panel=FOREIGN)
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", help="The model's tokenizer.json.", rich_help_panel=FOREIGN),
    ] = None,
    description: Annotated[
        Path | None,
        typer.Option(
            "--description",
            help="Description of the layers of PyTorch weights (TOML or JSON).",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", min=1, help="Longest input in tokens.", rich_help_panel=FOREIGN
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            "--ids",
            help="Token ids to compare and calibrate on: one JSON list per line.",
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
            help="Add a signature with states as inputs and outputs, to run token by token.",
            rich_help_panel=BARE,
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite the output if it exists.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Convert a model to TFLite, compare it with the float model, and write a bundle.

    Example: edgeseq convert models/lstm --out bundles/lstm --recipe dynamic_wi8_afp32
    """
    # One thread: those of OpenBLAS spin while they wait, and a second conversion at the same time
    # made two of them 6 times slower than one. Read when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imported here: NumPy and the converters must stay unloaded for `edgeseq --help`.
    from edgeseq.api.convert import convert_all, convert_to_tflite
    from edgeseq.api.model import load_model
    from edgeseq.errors import InputError

    is_bare = out_path.suffix == ".tflite"
    bundle_options = {
        "--max-drop": max_drop,
        "--trim-vocab": trim_vocab or None,
        "--min-piece-count": min_piece_count,
        "--data": data,
        "--name": name,
        "--tokenizer": tokenizer,
        "--max-tokens": max_tokens,
    }
    file_options = {
        "--streaming": streaming or None,
        "--ids": ids,
        "--head": None if head == "auto" else head,
    }
    _check_options(out_path, bundle_options if is_bare else file_options)
    recipes, lowerings = tuple(recipe or ()), tuple(lowering or ())
    if is_bare and max(len(recipes), len(lowerings)) > 1:
        raise InputError(
            "a bare file has one recipe and one lowering",
            found=", ".join((*recipes, *lowerings)),
            fix="name one of each, or convert to bundles",
        )
    with progress_bars() as progress:
        model = load_model(
            source,
            name=name,
            tokenizer=tokenizer,
            description=description,
            max_tokens=max_tokens,
        )
        if is_bare:
            file = convert_to_tflite(
                model,
                out_path,
                recipe=recipes[0] if recipes else "dynamic_wi8_afp32",
                lowering=lowerings[0] if lowerings else "auto",
                length=length,
                runtime=runtime,
                ids=ids,
                head=head,
                streaming=streaming,
                overwrite=overwrite,
                progress=progress,
            )
        else:
            result = convert_all(
                model,
                data,
                recipes=recipes,
                lowerings=lowerings,
                out=out_path,
                length=length,
                runtime=runtime,
                max_drop=max_drop,
                trim_vocab=trim_vocab,
                min_piece_count=min_piece_count,
                data_dir=data_dir,
                overwrite=overwrite,
                progress=progress,
            )
    if json:
        print_json(file if is_bare else [bundle.manifest for bundle in result.bundles])
    elif is_bare:
        _print_file(file, ids)
    else:
        _print_result(result)


def _check_options(out_path: Path, options: dict[str, Any]) -> None:
    """Raises `InputError` for the first of the options of another kind of output that is set."""
    # Loads NumPy.
    from edgeseq.errors import InputError

    is_bare = out_path.suffix == ".tflite"
    for option, value in options.items():
        if value is not None:
            ending = "name a folder with" if is_bare else "end in .tflite"
            raise InputError(
                f"{option} is for {'bundles' if is_bare else 'bare files'}",
                found=str(out_path),
                fix=f"remove it, or {ending} --out",
            )


def _print_file(file: BareFile, ids: Path | None) -> None:
    out.print(
        f"{file.path}: {file.size_bytes / 1e6:.2f} MB, input_ids to {file.output} "
        f"{list(file.shape)}, {file.max_abs_error:.2g} from the float model at most",
        markup=False,
        soft_wrap=True,
    )
    if file.tried_runtime is not None:
        print_note(file.tried_runtime)
    print_note(
        f"compared on {file.n_examples} "
        + ("texts of --ids" if ids else "random texts: name real ones with --ids")
    )


def _print_result(result: ConversionResult) -> None:
    for refused, reason in result.refused.items():
        print_note(f"refused {refused}: {reason}")
    rows_before, rows_after = result.vocabulary_size
    if rows_after < rows_before:
        print_note(
            f"vocabulary trimmed from {rows_before} to {rows_after} tokens; "
            f"{result.n_retokenized} of {result.n_dev} development texts are tokenized differently"
        )
    _print_table(result.bundles)


def _print_table(bundles: Sequence[Bundle]) -> None:
    from rich import box
    from rich.table import Table

    from edgeseq.tasks.scoring import metric_of

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
            f"{measured.label_agreement:.1%}",
            f"{measured.max_abs_error:.2g}",
            "-" if measured.float_score is None else show(measured.float_score),
            "-" if measured.score is None else show(measured.score),
            f"{manifest.provenance.conversion_seconds or 0:.1f}",
        )
    out.print(table)
    for bundle in bundles:
        out.print(str(bundle.path), markup=False, soft_wrap=True)
    for tried in dict.fromkeys(bundle.manifest.provenance.tried_runtime for bundle in bundles):
        if tried is not None:
            print_note(tried)
    n_examples = bundles[0].manifest.fidelity.n_examples
    print_note(
        f"compared with the float model on {n_examples} development texts; "
        f"next: edgeseq bench {bundles[0].path} --out result.json"
    )
