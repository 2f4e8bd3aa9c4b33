"""Numbers and strings as C."""

from __future__ import annotations

from collections.abc import Iterable

_LINE_WIDTH = 98


def c_string(text: str) -> str:
    """A string literal; what is not printable ASCII is written by its bytes, in octal."""
    escaped = ""
    for byte in text.encode():
        plain = 0x20 <= byte < 0x7F and chr(byte) not in '"\\?'
        escaped += chr(byte) if plain else f"\\{byte:03o}"
    return f'"{escaped}"'


def c_float(value: float) -> str:
    """A float literal that is read as the same float32."""
    return f"{float(value).hex()}f" if value else "0.0f"


def array(type_: str, name: str, numbers: Iterable[object]) -> str:
    """The definition of an array, in lines of at most 100 characters."""
    lines, line = [], "   "
    for number in numbers:
        text = f" {number},"
        if len(line) + len(text) > _LINE_WIDTH:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join((f"{type_} {name}[] = {{", *lines, line, "};", ""))
