"""Keyword options that are described by a typed dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_options(options: Mapping[str, Any], kind: type[Any]) -> None:
    """Raises `TypeError`, as Python does, for a name that the typed dictionary `kind` lacks."""
    for name in options:
        if name not in kind.__annotations__:
            raise TypeError(
                f"unexpected keyword argument {name!r}; expected among "
                + ", ".join(kind.__annotations__)
            )
