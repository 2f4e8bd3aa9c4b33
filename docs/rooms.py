"""Draws the picture of the rooms from the import law in pyproject.toml (`tool.importlinter`)."""

from __future__ import annotations

import html
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CAPTIONS = {
    "edgeseq.cli": "the command line: one file per verb",
    "edgeseq.api": "the Python API",
    "edgeseq.model_search": "the best model within a budget: space, study, trials",
    "edgeseq.suite": "a whole comparison in one file: schema, plan, engine",
    "edgeseq.reporting": "rows → verdict → page; compare; charts",
    "edgeseq.runtime": "interpreter, stateful interpreter, tokenizer",
    "edgeseq.datasets": "registry, readers, downloads",
    "edgeseq.subprocesses": "child processes",
    "edgeseq.formats": "bundle, trained model, result, suite file: every file format",
    "edgeseq.tasks": "one file per task: examples, encoding, decoding, metric",
    "edgeseq.stats": "intervals, latency percentiles, scores",
    "edgeseq.units": "sizes and durations",
    "edgeseq.errors": "the error tree",
    "edgeseq.progress": "progress callbacks",
    "edgeseq.installation": "commands that add an extra",
    "edgeseq.interrupts": "signals that end a command",
    "edgeseq.html": "tables in notebooks",
    "edgeseq_converters": "workstation half",
    "edgeseq_converters.export": "MediaPipe, web, microcontrollers",
    "edgeseq_converters.convert": "lower, quantize, verify, write",
    "edgeseq_converters.training": "fine-tuning, distillation",
    "edgeseq_converters.models": "Keras, PyTorch, Hugging Face",
    "edgeseq_benchmarks": "device half",
    "edgeseq_benchmarks.devices": "ssh, adb, emulator, doctor",
    "edgeseq_benchmarks.bench": "runner, worker, limits, validity",
    "edgeseq_benchmarks.native": "the native runner",
}
FOLDERS = {"edgeseq_converters": "converters", "edgeseq_benchmarks": "benchmarks"}
WIDTH, MARGIN, GAP, LINE = 920, 24, 10, 54
STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#12302d}.name{font-weight:600;font-size:16px}"
    ".note{font-size:13px;fill:#3d5a56}.box{fill:#e0f2f1;stroke:#00796b}"
    ".half{fill:#f4fbfa;stroke:#00796b;stroke-dasharray:5 3}"
)


def picture() -> str:
    """The rooms as SVG, highest first: a room may import from those below it only."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    laws = {contract["name"]: contract for contract in contracts["contracts"]}
    halves = {law["containers"][0]: law["layers"] for law in laws.values() if law.get("containers")}
    parts: list[str] = []
    top = MARGIN
    for layer in laws["Rooms"]["layers"]:
        rooms = [room for room in _rooms(layer) if _exists(room)]
        if not rooms:
            continue
        inner = {
            room: [
                f"{room}.{name}"
                for line in halves.get(room, ())
                for name in _rooms(line)
                if _exists(f"{room}.{name}")
            ]
            for room in rooms
        }
        most = max(len(names) for names in inner.values())
        height = LINE + most * (LINE + GAP)
        width = (WIDTH - 2 * MARGIN - (len(rooms) - 1) * GAP) / len(rooms)
        for index, room in enumerate(rooms):
            left = MARGIN + index * (width + GAP)
            kind = "half" if inner[room] else "box"
            parts.append(_box(room, (left, top, width, height), kind))
            for number, name in enumerate(inner[room]):
                below = top + LINE + number * (LINE + GAP)
                parts.append(_box(name, (left + GAP, below, width - 2 * GAP, LINE), "box"))
        top += height + GAP
    height = top - GAP + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img"><title>Rooms of edgeseq; imports go '
        f'down only</title><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _rooms(layer: str) -> list[str]:
    """The rooms of one line of the law; parentheses mark one that may be missing."""
    return [name.strip().strip("()") for name in layer.replace(":", "|").split("|")]


def _exists(room: str) -> bool:
    folder, *path = room.split(".")
    base = ROOT / FOLDERS.get(folder, "") / folder
    target = base.joinpath(*path)
    return target.is_dir() or target.with_suffix(".py").is_file()


def _box(room: str, area: tuple[float, float, float, float], kind: str) -> str:
    """A room's rectangle with name and caption; `area` is left, top, width and height."""
    left, top, width, height = area
    caption = html.escape(CAPTIONS[room])
    name = room.removeprefix("edgeseq_converters.").removeprefix("edgeseq_benchmarks.")
    return (
        f'<rect class="{kind}" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" rx="6"/>'
        f'<text class="name" x="{left + 12:.0f}" y="{top + 23:.0f}">{name}</text>'
        f'<text class="note" x="{left + 12:.0f}" y="{top + 42:.0f}">{caption}</text>'
    )
