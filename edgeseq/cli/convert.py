"""`edgeseq convert`: from a trained model to bundles that travel to a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeseq.cli.console import JsonOption, out, print_json, print_note, progress_bars

if TYPE_CHECKING:
    from edgeseq.bundle import BundleManifest


def convert(
    source: Annotated[Path, typer.Argument(help="Trained-model folder (`edgeseq train`).")],
    *,
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out", help="The bundle; with several recipes, the folder of NAME-RECIPE bundles."
        ),
    ],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            help="float32, float16 or dynamic_wi8_afp32 (default); may be given several times.",
        ),
    ] = None,
    lowering: Annotated[
        str, typer.Option("--lowering", help="auto, or loop (LSTM), encoder (BERT).")
    ] = "auto",
    data: Annotated[
        str | None,
        typer.Option("--data", help="Data set; default: the one the model was trained on."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="EDGESEQ_DATA", help="Folder with local copies of data."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what stands there.")] = False,
    json: JsonOption = False,
) -> None:
    """Convert a trained model to TFLite, check it against the float model, write a bundle.

    Example: edgeseq convert models/lstm --out bundles/lstm --recipe dynamic_wi8_afp32
    """
    from edgeseq_converters.convert import convert as convert_model
    from edgeseq_converters.recipes import DEFAULT, get_recipe
    from edgeseq_converters.sources import read_source

    from edgeseq.data.registry import load_dataset

    recipes = list(dict.fromkeys(recipe or [DEFAULT]))
    for name in recipes:
        get_recipe(name)
    model = read_source(source).manifest
    places = {
        name: out_dir if len(recipes) == 1 else out_dir / f"{model.name}-{name}" for name in recipes
    }
    manifests: list[BundleManifest] = []
    with progress_bars() as report:
        dataset = load_dataset(data or model.training.data_name, data_dir=data_dir, report=report)
        for name, place in places.items():
            manifest = convert_model(
                source,
                place,
                recipe=name,
                dataset=dataset,
                lowering=lowering,
                report=report,
                replace=replace,
            )
            manifests.append(manifest)
    if json:
        print_json(manifests)
        return
    _print_table(list(zip(places.values(), manifests, strict=True)))


def _print_table(bundles: list[tuple[Path, BundleManifest]]) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("recipe", no_wrap=True)
    for title in ("model MB", "same label", "max error", "dev, float", "dev", "seconds"):
        table.add_column(title, justify="right")
    for _, manifest in bundles:
        measured = manifest.fidelity
        table.add_row(
            manifest.recipe,
            f"{manifest.files['model.tflite'].size_bytes / 1e6:.2f}",
            f"{measured.label_agreement:.1%}",
            f"{measured.max_abs_error:.2g}",
            "-" if measured.float_score is None else f"{measured.float_score:.1%}",
            "-" if measured.score is None else f"{measured.score:.1%}",
            f"{manifest.provenance.conversion_seconds or 0:.0f}",
        )
    out.print(table)
    for place, _ in bundles:
        out.print(str(place), markup=False, soft_wrap=True)
    n_examples = bundles[0][1].fidelity.n_examples
    print_note(
        f"compared with the float model on {n_examples} development texts; "
        f"next: edgeseq bench {bundles[0][0]} --out result.json"
    )
