"""`edgeseq push` and `edgeseq pull`: bundles on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeseq as es
from edgeseq.cli.console import JsonOption, print_json, print_line, print_note
from edgeseq.formats.storage import write_text


def push(
    bundle: Annotated[Path, typer.Argument(help="Bundle: a folder or .zip.")],
    repository: Annotated[str, typer.Argument(help="Repository on the hub: owner/name.")],
    *,
    results: Annotated[
        list[Path] | None,
        typer.Option("--result", help="Result of this bundle, for the card's figures. Repeatable."),
    ] = None,
    exports: Annotated[
        list[Path] | None,
        typer.Option(
            "--export", help="Export folder of this bundle, uploaded as well. Repeatable."
        ),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--licence", help="The model's licence, as the hub names it: apache-2.0, other, …."
        ),
    ] = "unknown",
    public: Annotated[
        bool,
        typer.Option("--public", help="For everyone to see, the bundle's test texts as well."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Upload nothing; write the card to --card.")
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Write the model card here too; dry run: model-card.md."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Upload a bundle with a model card to the Hugging Face hub.

    The repository is private without --public. Log in with `hf auth login`, or set HF_TOKEN.

    Example: edgeseq push bundles/lstm me/reviews --result lstm.json --licence apache-2.0
    """
    upload = es.push(
        bundle,
        repository,
        results=results or (),
        exports=exports or (),
        licence=licence,
        public=public,
        dry_run=dry_run,
    )
    if card is None and dry_run:
        card = Path("model-card.md")
    if card is not None:
        write_text(card, upload.card)
    if json:
        print_json(upload)
        return
    for name in (*upload.files, "README.md"):
        print_line(name)
    for name in upload.removed:
        print_line(f"removed: {name}")
    if card is not None:
        print_note(f"model card: {card}")
    if licence == "unknown":
        print_note("no --licence was given: the card says that it is unknown")
    if upload.commit is None:
        print_note("nothing was uploaded")
    else:
        print_note(f"commit {upload.commit} of {repository}: {upload.url}")


def pull(
    source: Annotated[str, typer.Argument(help="owner/name, or owner/name@revision.")],
    *,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; default: the name.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite the output if it is a bundle.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Download a bundle from the Hugging Face hub and check it.

    Example: edgeseq pull me/reviews@main --out bundles/reviews
    """
    name = source.split("@")[0].split("/")[-1]
    bundle = es.pull(source, out=out_dir or Path(name), overwrite=overwrite)
    if json:
        print_json({"path": str(bundle.path), "name": bundle.name, "task": bundle.manifest.task})
    else:
        print_line(f"{bundle.name}: {bundle.manifest.task}, {bundle.recipe}, in {bundle.path}")
