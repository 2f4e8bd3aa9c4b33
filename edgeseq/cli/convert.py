"""`edgeseq convert`: from a model to bundles for a device, or to a bare .tflite file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

import edgeseq as es
from edgeseq.cli.console import JsonOption, print_json, progress_bars
from edgeseq.cli.convert_table import print_description, print_file, print_result
from edgeseq.errors import InputError

FOREIGN = "Models from elsewhere"
BARE = "Bare .tflite files"
SEQUENCES = "Numeric sequences"


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="Trained-model folder (`edgeseq train`), Keras file or SavedModel, PyTorch "
            "weights or exported module, ONNX file, Hugging Face folder or hub id "
            "(docs/guides/sources.md)."
        ),
    ],
    *,
    out_path: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The bundle, named like its folder; with several recipes or lowerings, the folder "
            "of the bundles; a name that ends in .tflite makes a bare file without data.",
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="float32, float16, dynamic_wi8_afp32 (default), weight_only_wi8_afp32, "
            "static_wi8_ai8, dynamic_wi4_afp32 or "
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
            help="Fixed number of tokens, for runtimes and accelerators without open shapes; "
            "longer texts are truncated, shorter ones filled up with -1.",
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
    thresholds: Annotated[
        str | None,
        typer.Option(
            "--thresholds",
            help="Of a model with any number of labels per text: per-label (default) or shared, "
            "chosen on the dev split, or one probability for all labels, such as 0.5.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Data set; default: the one that the model was trained on. Of numeric sequences "
            "an .npz with x [N, steps, features] and y, a folder with x.npy and y.npy, or a .csv.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="What a file of --data is for; default: what its content tells."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="EDGESEQ_DATA",
            help="Folder with local copies of data sets and weights.",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            min=1,
            help="Rows of one sequence in a table of time steps (.csv).",
            rich_help_panel=SEQUENCES,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Column to predict: its number in the row behind a window, or its word in the "
            "window's last row.",
            rich_help_panel=SEQUENCES,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model.", rich_help_panel=FOREIGN)
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            "--tokenizer",
            help="The model's tokenizer.json, or Keras' own vocabulary: the JSON of a Tokenizer, "
            "its word_index, or a TextVectorization layer.",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    description: Annotated[
        Path | None,
        typer.Option(
            "--description",
            help="The layers of PyTorch or Keras weights: a description (TOML or JSON), or the "
            "JSON of Keras' model.to_json().",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    describe: Annotated[
        Path | None,
        typer.Option(
            "--describe",
            help="Instead of converting, write what names and shapes of PyTorch or Keras weights "
            "tell of the layers, for --description; with --data the rest is compared and "
            "proposed.",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    same_inputs: Annotated[
        bool,
        typer.Option(
            "--same-inputs",
            help="Give the same to all inputs of a Keras model that has several.",
            rich_help_panel=FOREIGN,
        ),
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", min=1, help="Longest input in tokens.", rich_help_panel=FOREIGN
        ),
    ] = None,
    padding: Annotated[
        str | None,
        typer.Option(
            "--padding",
            help="Where the model was trained to fill a text up to its longest input, which it "
            "reads without a mask: pre, post or none; auto: the best on the dev split.",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    truncation: Annotated[
        str | None,
        typer.Option(
            "--truncation",
            help="Which end of a longer text is cut: pre (its beginning; default with --padding, "
            "as in Keras) or post.",
            rich_help_panel=FOREIGN,
        ),
    ] = None,
    pad_id: Annotated[
        int | None,
        typer.Option(
            "--pad-id", min=0, help="Token id of padding; default 0.", rich_help_panel=FOREIGN
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            "--ids",
            help="What to compare and calibrate on: token ids, one JSON list per line, or for "
            "a network over numbers arrays (.npz, .npy, .csv).",
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
    # Read when NumPy is imported. OpenBLAS's threads spin while they wait: with a second conversion
    # at the same time, two of them were 6 times slower than one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if describe is not None:
        converting: dict[str, Any] = {
            "out": out_path,
            "recipe": recipe,
            "lowering": lowering,
            "length": length,
            "runtime": runtime,
            "max_drop": max_drop,
            "trim_vocab": trim_vocab,
            "min_piece_count": min_piece_count,
            "thresholds": thresholds,
            "task": task,
            "window": window,
            "target": target,
            "description": description,
            "same_inputs": same_inputs,
            "ids": ids,
            "head": None if head == "auto" else head,
            "streaming": streaming,
        }
        _refuse(converting, "converting", "convert", describe)
        options = {"padding": padding, "truncation": truncation, "pad_id": pad_id}
        model = es.load_model(source, name=name, tokenizer=tokenizer, max_tokens=max_tokens)
        with progress_bars() as progress:
            described = es.describe_weights(
                *(model, data),
                out=describe,
                **options,  # type: ignore[arg-type]
                data_dir=data_dir,
                overwrite=overwrite,
                progress=progress,
            )
        print_json(described) if json else print_description(described, describe)
        return
    if out_path is None:
        raise InputError("--out is missing", fix="name a folder, or a file that ends in .tflite")
    is_bare = out_path.suffix == ".tflite"
    bundle_options: dict[str, Any] = {
        "max_drop": max_drop,
        "trim_vocab": trim_vocab,
        "min_piece_count": min_piece_count,
        "padding": padding,
        "truncation": truncation,
        "pad_id": pad_id,
        "thresholds": thresholds,
        "task": task,
        "data_dir": data_dir,
        "window": window,
        "target": target,
    }
    file_options: dict[str, Any] = {"streaming": streaming, "ids": ids, "head": head}
    model_options: dict[str, Any] = {"name": name, "tokenizer": tokenizer, "max_tokens": max_tokens}
    if is_bare:
        bundle_only = {**bundle_options, **model_options, "data": data, "data_dir": None}
        _refuse(bundle_only, "bundles", "name a folder with --out", out_path)
    else:
        file_only = {**file_options, "head": None if head == "auto" else head}
        _refuse(file_only, "bare files", "end --out in .tflite", out_path)
    recipes, lowerings = tuple(recipe or ()), tuple(lowering or ())
    if is_bare and max(len(recipes), len(lowerings)) > 1:
        raise InputError(
            "a bare file has one recipe and one lowering",
            found=", ".join((*recipes, *lowerings)),
            fix="name one of each, or convert to bundles",
        )
    common: dict[str, Any] = {"length": length, "runtime": runtime, "overwrite": overwrite}
    with progress_bars() as progress:
        model = es.load_model(
            source, description=description, same_inputs=same_inputs, **model_options
        )
        if is_bare:
            named = {"recipe": recipes, "lowering": lowerings}
            single: dict[str, Any] = {option: names[0] for option, names in named.items() if names}
            file = es.convert_to_tflite(
                model, out_path, **single, **common, **file_options, progress=progress
            )
        else:
            choices: dict[str, Any] = {"recipes": recipes, "lowerings": lowerings, "out": out_path}
            result = es.convert_all(
                model, data, **choices, **common, **bundle_options, progress=progress
            )
    if json:
        print_json(file if is_bare else [bundle.manifest for bundle in result.bundles])
    elif is_bare:
        print_file(file, ids)
    else:
        print_result(result)


def _refuse(options: dict[str, Any], kind: str, fix: str, out_path: Path) -> None:
    """Raises `InputError` for the first option that is set: it is for another kind of output."""
    for option, value in options.items():
        if value is not None and value is not False:
            raise InputError(
                f"--{option.replace('_', '-')} is for {kind}",
                found=str(out_path),
                fix=f"remove it, or {fix}",
            )
