"""Writes the generated pages: `formats.md`, `cli.md`, `architecture.svg`, `llms.txt`, the index of
decisions, and the JSON Schemas of the formats in `schemas/`, which the wheel holds as
`edgeseq/schemas/`.

python docs/generate.py            writes all of them
python docs/generate.py --check    exits 1 if one is out of date (a test does this)
"""

from __future__ import annotations

import html
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import llms
import msgspec
import rooms
import typer.main

import edgeseq.formats.bundle_manifest
import edgeseq.formats.devices
import edgeseq.formats.export_folder
import edgeseq.formats.linear_baseline
import edgeseq.formats.listed_files
import edgeseq.formats.result
import edgeseq.formats.runner_file
import edgeseq.formats.search_record
import edgeseq.formats.train_logits
import edgeseq.formats.trained_model
import edgeseq.reporting.budget_file
import edgeseq.reporting.summary
import edgeseq.suite.schema
import edgeseq.tasks.examples
import edgeseq.tasks.predictions
from edgeseq.cli.app import app

HERE = Path(__file__).parent
HEAD = "<!-- Written by docs/generate.py; change the docstrings instead. -->\n"
RELATIONS = {
    "supersedes": "superseded-by",
    "superseded-by": "supersedes",
    "amends": "amended-by",
    "amended-by": "amends",
}
FORMATS = (
    ("Suite file", edgeseq.suite.schema),
    ("Trained-model folder", edgeseq.formats.trained_model),
    ("Training logits", edgeseq.formats.train_logits),
    ("Examples", edgeseq.tasks.examples),
    ("Listed files", edgeseq.formats.listed_files),
    ("Bundle", edgeseq.formats.bundle_manifest),
    ("Runner file", edgeseq.formats.runner_file),
    ("Export folder", edgeseq.formats.export_folder),
    ("Result file", edgeseq.formats.result),
    ("Predictions", edgeseq.tasks.predictions),
    ("Search record", edgeseq.formats.search_record),
    ("Devices file", edgeseq.formats.devices),
)


def formats() -> str:
    """Every file format: the module's docstring, then its structs with their fields."""
    links = ", ".join(f"[{name}](schemas/{name}.schema.json)" for name in SCHEMAS)
    parts = [HEAD, "# File formats\n", SCHEMAS_NOTE.format(links=links)]
    for title, module in FORMATS:
        parts.append(f"## {title}\n\n{_prose(module.__doc__)}\n")
        for name, struct in vars(module).items():
            own = inspect.isclass(struct) and struct.__module__ == module.__name__
            if own and issubclass(struct, msgspec.Struct):
                parts.append(f"### `{name}`\n\n{_prose(struct.__doc__)}\n\n{_fields(struct)}")
    return "\n".join(parts)


SCHEMAS_NOTE = """JSON Schemas, also in the installed package (`edgeseq/schemas/`): {links}.
What a schema cannot say, such as columns of equal length, edgeseq checks when it reads a file.
"""
SCHEMAS: dict[str, typing.Any] = {
    "suite": edgeseq.suite.schema.Suite,
    "trained-model": edgeseq.formats.trained_model.ModelManifest,
    "example": edgeseq.tasks.examples.AnyExample,
    "bundle": edgeseq.formats.bundle_manifest.BundleManifest,
    "golden": edgeseq.formats.bundle_manifest.Golden,
    "export": edgeseq.formats.export_folder.ExportManifest,
    "result": edgeseq.formats.result.ResultRecord,
    "baseline": edgeseq.formats.linear_baseline.LinearBaseline,
    "summary": edgeseq.reporting.summary.ReportSummary,
    "devices": edgeseq.formats.devices.DevicesFile,
    "budget": edgeseq.reporting.budget_file.BudgetFile,
}


def schemas() -> dict[str, str]:
    """The JSON Schema (2020-12) of each format by file name, as msgspec derives it."""
    return {f"{name}.schema.json": _schema(type_, name) for name, type_ in SCHEMAS.items()}


def _schema(type_: typing.Any, name: str) -> str:
    # Examples are of several kinds, one per task.
    kinds = typing.get_args(type_) or (type_,)
    references, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"edgeseq {name}",
        "anyOf": references,
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=1).decode() + "\n"


def _prose(doc: str | None) -> str:
    """A docstring as Markdown: dedented; four-space blocks stay code."""
    return inspect.cleandoc(doc or "").replace("\n\n\n", "\n\n")


def _fields(struct: type[msgspec.Struct]) -> str:
    hints = typing.get_type_hints(struct)
    lines = ["| field | type | default |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        default = "" if field.required else f"`{_default(field)}`"
        # A bar ends a table's cell, and no escape of it works both on GitHub and in the site.
        kind = html.escape(_type_name(hints[field.name]), quote=False).replace("|", "&#124;")
        lines.append(f"| `{field.encode_name}` | <code>{kind}</code> | {default} |")
    return "\n".join(lines) + "\n"


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return f"{type(value).__name__}()"
    return repr(value)


def _type_name(hint: object) -> str:
    name = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return re.sub(r"\b(?:typing|edgeseq(?:\.\w+)*|pathlib)\.", "", name)


def commands() -> str:
    """Every command's own help: what it does, its arguments and options."""
    group = typer.main.get_command(app)
    parts = [HEAD, "# Command line\n"]
    for path, command in _walk("edgeseq", group):
        text = inspect.cleandoc(command.help or "")
        parts.append(f"## `{path}`\n\n{text}\n")
        rows = [row for row in map(_parameter, command.params) if row]
        if rows:
            parts.append("\n".join(["| parameter | meaning | default |", "|---|---|---|", *rows]))
            parts.append("")
    return "\n".join(parts)


def _walk(path: str, command: typing.Any) -> Iterator[tuple[str, typing.Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(f"{path} {name}", child)


def _parameter(parameter: typing.Any) -> str | None:
    if parameter.name == "help" or getattr(parameter, "hidden", False):
        return None
    names = ", ".join(f"`{name}`" for name in parameter.opts) or parameter.name
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    default = parameter.default
    shown = "" if default in (None, False) or callable(default) else f"`{default}`"
    meaning = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| {names} | {meaning} | {shown} |"


def decisions() -> str:
    """The index of decisions, from the front matter of each; refuses broken relations and
    numbers that two decisions have."""
    headers = {path: _front_matter(path) for path in sorted((HERE / "decisions").glob("0*.md"))}
    names = {path.name[:4]: path.name for path in headers}
    for path in headers:
        if path.name != names[path.name[:4]]:
            raise SystemExit(f"{path.name}: its number is also that of {names[path.name[:4]]}")
    lines = [
        HEAD.replace("docstrings", "front matter of the decisions"),
        "# Decisions\n",
        "Why things are as they are, newest last. A decision is changed by a new entry that",
        "supersedes or amends it. Each file's front matter has its title, date and status.\n",
        "| number | decision | date | status |",
        "|---|---|---|---|",
    ]
    for path, header in headers.items():
        number = path.name[:4]
        status = header["status"]
        if status != ("superseded" if "superseded-by" in header else "accepted"):
            raise SystemExit(f"{path.name}: expected accepted, or superseded with superseded-by")
        for relation, inverse in RELATIONS.items():
            for related in re.findall(r"\d{4}", header.get(relation, "")):
                reverse = _front_matter(HERE / "decisions" / names[related]).get(inverse, "")
                if number not in reverse:
                    raise SystemExit(f"{names[related]}: expected `{inverse}: {number}`")
                if relation in ("superseded-by", "amended-by"):
                    verb = relation.replace("superseded-", "").replace("-", " ")
                    status += f" ({verb} [{related}]({names[related]}))"
        title = header["title"].strip('"').replace("|", "\\|")
        lines.append(f"| {number} | [{title}]({path.name}) | {header['date']} | {status} |")
    return "\n".join(lines) + "\n"


def _front_matter(path: Path) -> dict[str, str]:
    """The keys and values between the two `---` lines at a page's top."""
    block = path.read_text(encoding="utf-8").split("---\n")[1]
    return dict(line.split(": ", 1) for line in block.splitlines())


def main() -> int:
    """Writes the pages, or with `--check` says which is out of date."""
    pages = {
        HERE / "formats.md": formats(),
        HERE / "cli.md": commands(),
        HERE / "decisions" / "index.md": decisions(),
        HERE / "architecture.svg": rooms.picture(),
        HERE / "llms.txt": llms.index(),
        **{HERE / "schemas" / name: schema for name, schema in schemas().items()},
    }
    if "--check" in sys.argv[1:]:
        stale = [
            path.name
            for path, page in pages.items()
            if not path.is_file() or path.read_text(encoding="utf-8") != page
        ]
        if stale:
            sys.stderr.write(f"{', '.join(stale)}: run `python docs/generate.py`\n")
        return bool(stale)
    (HERE / "schemas").mkdir(exist_ok=True)
    for path, page in pages.items():
        path.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
