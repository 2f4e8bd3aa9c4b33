"""How this installation of edgeseq was made, and the command that adds an extra to it."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import shlex
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgeseq.errors import InputError

EXTRA_MODULES = {
    "convert": (
        *("tensorflow", "keras", "h5py", "transformers", "safetensors"),
        *("dask", "distributed", "fsspec"),
    ),
    "report": ("altair", "vl_convert", "jinja2"),
    "parquet": ("pyarrow",),
    "mlflow": ("mlflow",),
    "netron": ("netron",),
    "device": ("ai_edge_litert", "tflite_runtime"),
    "hub": ("huggingface_hub",),
    "search": ("optuna", "sqlalchemy"),
}
"""The modules that are there only with an extra of this distribution."""

_EXTRA_OF = {name: extra for extra, modules in EXTRA_MODULES.items() for name in modules}
_PROGRAM = "edgeseq"
_SOURCE_RECORD = f"{_PROGRAM}-*.dist-info/direct_url.json"
# What an environment that is made anew has to ask for again, if it has it now.
_KEPT_EXTRAS = ("convert", "report", "search")


def command_with_extras(extras: Collection[str]) -> str:
    """The shell command that gives this installation `extras`, by the tool that made it.

    `pip`, `pipx install` and `uv tool install` install; for an environment that `uvx` or
    `pipx run` made for one command it is that command, with the arguments of this process.
    edgeseq is named by its file or folder where it was installed from one (PEP 610).
    """
    prefix = Path(sys.prefix)
    kept = [*extras, *(one for one in _KEPT_EXTRAS if one not in extras and _is_installed(one))]
    option, requirement = _requirement(kept)
    is_program = Path(sys.argv[0]).name == _PROGRAM
    program = shlex.join([_PROGRAM, *sys.argv[1:]])
    if (prefix / "pipx_metadata.json").is_file():
        if prefix.parent.name == "venvs":
            return f"pipx install --force {requirement}"
        return f"pipx run --spec {requirement} {program}"
    if (prefix / "uv-receipt.toml").is_file():
        return f"uv tool install {option}{requirement}"
    if is_program and _is_in_cache_of_uv(prefix):
        return f"uvx --from {requirement} {program}"
    option, requirement = _requirement(extras)
    return f"pip install {option}{requirement}"


def _is_installed(extra: str) -> bool:
    return all(importlib.util.find_spec(module) for module in EXTRA_MODULES[extra])


def _is_in_cache_of_uv(prefix: Path) -> bool:
    """uv marks its cache as backup tools expect it (Cache Directory Tagging Specification)."""
    configuration = prefix / "pyvenv.cfg"
    return (
        any((folder / "CACHEDIR.TAG").is_file() for folder in prefix.parents)
        and configuration.is_file()
        and "\nuv = " in configuration.read_text("utf-8")
    )


def _requirement(extras: Collection[str]) -> tuple[str, str]:
    """pip's option (`-e ` or nothing) and the quoted requirement of edgeseq with these extras."""
    source, is_editable = _source()
    return "-e " if is_editable else "", shlex.quote(f"{source}[{','.join(extras)}]")


def _source() -> tuple[str, bool]:
    """What this edgeseq was installed from: a path, else its name; and whether it is editable."""
    records = (Path(folder).glob(_SOURCE_RECORD) for folder in sys.path)
    path = next(itertools.chain.from_iterable(records), None)
    record = json.loads(path.read_text("utf-8")) if path else {}
    url = urlsplit(record.get("url", ""))
    if url.scheme != "file":
        return _PROGRAM, False
    return unquote(url.path), record.get("dir_info", {}).get("editable", False)


def missing_extra(error: ModuleNotFoundError) -> InputError | None:
    """What to install for a module that only an extra brings; None for any other module."""
    module = (error.name or "").split(".")[0]
    if module not in _EXTRA_OF:
        return None
    extra = _EXTRA_OF[module]
    return InputError(
        f"this needs {module}, which is not installed",
        fix=f"run: {command_with_extras([extra])}",
    )


def import_extra(module: str) -> Any:
    """A library that only an extra brings, imported at its first use.

    Raises `InputError` naming the extra where it is missing, and `ModuleNotFoundError` for a
    library that no extra brings.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from error
