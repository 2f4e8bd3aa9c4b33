"""Writes a draft as TOML with remarks."""

from __future__ import annotations

import json
from collections.abc import Iterator

from edgeseq_converters.models.describe.chain import Draft
from edgeseq_converters.models.description import UNKNOWN, Part

_HEAD = (
    "# The layers that names and shapes of the weights tell (docs/guides/sources.md).",
    '# "?" is what they do not tell: choose what the code of the model says.',
)


def description_text(draft: Draft, proposals: tuple[str, ...] = ()) -> str:
    """The draft as a `network.toml`; `proposals` are lines of remarks at its beginning."""
    return "\n".join([*_HEAD, *(f"# {line}" for line in proposals), *_lines(draft)]) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    described = draft.description
    if described.name is not None:
        yield f"name = {_value(described.name)}"
    if described.state_dict is not None:
        yield f"state_dict = {_value(described.state_dict)}"
    yield ""
    note = draft.notes.get(-1, "")
    if described.input is not None:
        yield "[input]"
        yield _noted(f"features = {described.input.features}", note)
    elif described.embedding is not None:
        yield "[embedding]"
        yield _noted(f"weight = {_value(described.embedding.weight)}", note)
    for number, part in enumerate(described.layer):
        yield ""
        yield "[[layer]]"
        kind = str(type(part).__struct_config__.tag)
        yield _noted(f"kind = {_value(kind)}", draft.notes.get(number, ""))
        for name, value, default in _fields(part):
            if value != default:
                choices = draft.choices.get((number, name), ())
                remark = f"one of {', '.join(choices)}" if value == UNKNOWN else ""
                yield _noted(f"{name} = {_value(value)}", remark)


def _fields(part: Part) -> Iterator[tuple[str, object, object]]:
    defaults = part.__struct_defaults__
    names = part.__struct_fields__
    without = len(names) - len(defaults)
    for position, name in enumerate(names):
        default = defaults[position - without] if position >= without else object()
        yield name, getattr(part, name), default


def _noted(line: str, remark: str) -> str:
    return f"{line:<34}# {remark}" if remark else line


def _value(value: object) -> str:
    """TOML's own strings, numbers and booleans are written as JSON's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
