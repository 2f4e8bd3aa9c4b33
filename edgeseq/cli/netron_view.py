"""The graph of a model in Netron, a viewer in the browser, where it is installed."""

from __future__ import annotations

from pathlib import Path

from edgeseq.cli.console import print_line, print_note
from edgeseq.errors import InputError
from edgeseq.installation import import_extra


def open_in_netron(model_path: Path) -> None:
    """Serves a model's graph on loopback, opens the browser, and returns after Ctrl-C.

    Raises `InputError` where Netron is missing.
    """
    netron = import_extra("netron")
    if not model_path.is_file() or model_path.suffix.lower() == ".zip":
        raise InputError(
            "only a file in a folder can be opened", where=model_path, fix="unpack the bundle first"
        )
    host, port = netron.start(str(model_path), ("127.0.0.1", 0), browse=True)
    print_line(f"http://{host}:{port}")
    print_note("Ctrl-C ends it")
    netron.wait()
