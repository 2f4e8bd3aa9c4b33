"""TOML as plain values, for `edgeseq.formats.codec.from_builtins`.

Apart from that module, which also runs in the environment of an older runtime: that one lacks
`tomli`.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def decode_toml(content: bytes) -> dict[str, Any]:
    """`content`, a TOML document in UTF-8, as plain values.

    Raises `msgspec.DecodeError` for anything else.
    """
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise msgspec.DecodeError(str(failure)) from failure
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    except ValueError as failure:  # an integer of thousands of digits
        raise msgspec.DecodeError(str(failure)) from failure
