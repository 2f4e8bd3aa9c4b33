"""`edgeseq device emulate`: build a 64-bit ARM board for QEMU once, and try it."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from edgeseq.cli.console import JsonOption, out, print_json, print_note, progress_bars
from edgeseq_benchmarks.devices.emulated import EmulatedDevice
from edgeseq_benchmarks.devices.emulator.board_image import build_image
from edgeseq_benchmarks.devices.remote.requirements import check

_START_TIMEOUT_S = 300.0
_POLL_S = 1.0


def emulate(
    board: Annotated[str, typer.Argument(help="pi-zero-2w, pi3, pi4 or pi5.")] = "pi4",
    *,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the image, instead of the user's cache folder."),
    ] = None,
    keep_running: Annotated[
        bool,
        typer.Option(
            "--hold", help="Keep it running until Ctrl-C, and print the ssh command to connect."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Build an emulated board, once, and start it as a test.

    Afterwards `--on emulated:BOARD` measures on it: predictions, memory, loading; not latency.

    Example: sudo edgeseq device emulate pi4
    """
    device = EmulatedDevice(board, cache=cache_dir)
    with progress_bars() as report:
        image = build_image(cache_dir, progress=report)
    try:
        device.connect(timeout_s=_START_TIMEOUT_S)
        python = check(device, "python3", timeout_s=_START_TIMEOUT_S)
        answer = {
            "device": device.name,
            "image": str(image.folder),
            "disk_bytes": image.disk.stat().st_blocks * 512,
            "release": image.release,
            "python": ".".join(map(str, python.version)),
            "machine": python.machine,
            "packages": list(image.wheels),
        }
        if json:
            print_json(answer)
        else:
            words = f"Debian {image.release}, Python {answer['python']} on {python.machine}"
            out.print(f"{device.name} works: {words}", markup=False)
            print_note(f"saved in {image.folder}; next: edgeseq bench BUNDLE --on {device.name} …")
        if keep_running and device.board is not None:
            print_note(f"connect with: {shlex.join(device.board.ssh_command())}")
            while device.board.running:
                time.sleep(_POLL_S)
    finally:
        device.close()
