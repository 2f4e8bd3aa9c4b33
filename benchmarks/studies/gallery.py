"""Writes docs/gallery.md and its pictures from a stored result, as `edgeseq report` draws them.

    edgeseq demo --out edgeseq-demo
    python benchmarks/studies/gallery.py edgeseq-demo/result.json

The result is not kept in the repository: it has ten megabytes of samples. pngquant (Debian: apt
install pngquant) makes the pictures small.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import edgeseq as es
from edgeseq.errors import EdgeseqError, InputError, OutputError
from edgeseq.formats.result import ResultRecord, read_result
from edgeseq.formats.storage import write_bytes, write_text
from edgeseq.reporting.deployment_report import PICTURES

ROOT = Path(__file__).resolve().parents[2]
BUDGET = "memory=16MB p95=20ms"
SHOWN = ("winners", "memory-cliff", "latency-lengths")
LIMIT_BYTES = 100_000
HEAD = """<!-- Written by benchmarks/studies/gallery.py from a result of the demo; do not edit. -->

# Gallery

A real report: the [demo](quickstart.md#the-demo) trained an LSTM and a MiniLM on customer
feedback, and measured them. The page opens with the verdict, its budget as sliders, and every
model with the reason against it:

![The report: verdict, budget as sliders, table of models](report.png)
"""


def small_png(path: Path) -> bytes:
    """The picture in at most 64 colours; raises `OutputError` where it stays too large."""
    command = ["pngquant", "--strip", "--speed", "1", "64", "-o", "-", str(path)]
    try:
        content = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    except FileNotFoundError as error:
        fix = "apt install pngquant"
        raise InputError("is not installed", where="pngquant", fix=fix) from error
    if len(content) > LIMIT_BYTES:
        raise OutputError(
            "is too large for the repository",
            where=path.name,
            found=f"{len(content)} bytes",
            expected=f"<= {LIMIT_BYTES}",
        )
    return content


def page(result: ResultRecord, report: es.Report) -> str:
    """The page, Markdown."""
    figures = {figure.name: figure for section in report.sections[0] for figure in section.figures}
    view = report.views[0]
    parts = [HEAD, f"**{view.headline}.** {view.reason} {view.boundary}"]
    for name in SHOWN:
        title, caption = figures[name].title, figures[name].caption
        parts.append(f"## {title}\n\n![{title}](gallery/{name}.png)\n\n{caption}")
    device, runtime = result.device, result.runtime
    parts.append(
        "## How these were made\n\n"
        f"Measured {result.created_utc[:10]} on {device.cpu_model} ({device.machine}) with "
        f"{runtime.package} {runtime.version}. {view.validity}\n\n"
        "<!-- needs: training -->\n```\nedgeseq demo --out edgeseq-demo\n"
        f'edgeseq report edgeseq-demo/result.json --out report --budget "{BUDGET}"\n```'
    )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def main(arguments: list[str], *, root: Path = ROOT) -> int:
    """Writes the page."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        path = Path(arguments[0])
        result = read_result(path)
        report = es.report([path], budget=BUDGET)
        with TemporaryDirectory() as folder:
            report.save(Path(folder) / "report")
            pictures = Path(folder) / "report" / PICTURES
            contents = {name: small_png(pictures / f"{name}.png") for name in SHOWN}
        for name, content in contents.items():
            write_bytes(root / "docs" / "gallery" / f"{name}.png", content)
        write_text(root / "docs" / "gallery.md", page(result, report))
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
