"""JSON and plain values as the types that describe them, safely from several threads.

The one way in which this project decodes into its types. msgspec keeps what it knows of a struct
on the class and builds it at the first decoding; two threads that both come first, with the
garbage collector running in between, end the process with a segmentation fault (seen with
msgspec 0.22, decision 71). Conversions and boards run side by side here, so each type
is built once, by one thread, before it is used.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

_building = threading.Lock()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


@overload
def json_decoder(type_: type[T]) -> msgspec.json.Decoder[T]: ...
@overload
def json_decoder(type_: Any) -> msgspec.json.Decoder[Any]: ...
def json_decoder(type_: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of `type_`, made once in this process; any number of threads may use it.

    `type_` is anything that msgspec takes (a struct, a union of tagged structs, `list[int]`); its
    `decode` raises `msgspec.DecodeError`. Raises `TypeError` for a type that msgspec does not take.
    """
    known = _decoders.get(type_)
    if known is None:
        with _building:
            known = _decoders.get(type_)
            if known is None:
                known = _decoders[type_] = msgspec.json.Decoder(type_)
    return known


def decode_json(content: bytes | str, type_: type[T]) -> T:
    """`content`, one JSON value, as `type_`.

    Raises `msgspec.DecodeError` for what is not JSON, `msgspec.ValidationError` (one of its kinds)
    naming the place (`$.rows[3].p50_ms`) for what does not fit, `UnicodeDecodeError` for text that
    is not UTF-8.
    """
    try:
        return json_decoder(type_).decode(content)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def from_builtins(value: Any, type_: type[T]) -> T:
    """`value`, made of plain dictionaries, lists, strings and numbers (as TOML gives), as `type_`.

    Raises `msgspec.ValidationError` naming the place that does not fit.
    """
    json_decoder(type_)  # builds the type before any thread needs it
    try:
        return msgspec.convert(value, type_)
    except RecursionError:
        raise msgspec.ValidationError("nested too deeply") from None
