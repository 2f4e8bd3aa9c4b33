"""Vega, Vega-Lite and vega-embed as one script; needs the extra `report`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

import platformdirs
import vl_convert

from edgeseq.errors import OutputError
from edgeseq.formats.storage import write_text


@functools.cache
def vega_bundle(folder: Path | None = None) -> str:
    """The script in its own scope (about 900 kB).

    vl_convert needs a second to bundle it, so it is stored in `folder` (default: the user's cache),
    by release and with its hash; what does not have that hash is bundled again.
    """
    folder = folder or platformdirs.user_cache_path("edgeseq") / "report"
    path = folder / f"vega-{version('vl-convert-python')}.js"
    with contextlib.suppress(OSError, ValueError):
        digest, _, script = path.read_text(encoding="utf-8").partition("\n")
        if digest == _digest(script):
            return script
    # Its type stub forgets that the snippet may be left out.
    script = f"(()=>{{{vl_convert.javascript_bundle()}}})();"  # type: ignore[call-arg]
    with contextlib.suppress(OutputError):
        write_text(path, f"{_digest(script)}\n{script}")
    return script


def _digest(script: str) -> str:
    return f"// {hashlib.sha256(script.encode()).hexdigest()}"
