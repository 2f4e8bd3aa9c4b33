"""A benchmark in native processes on a board: nothing is needed there but a shell.

This machine drives the processes over ssh; their times are taken on the board. What is sent (the
runner, LiteRT's library, the bundles' models and tokenizers) is in a private folder that goes with
the connection, however that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.result import ResultRecord, Settings
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.launcher import MachineLostError, check_runner_file
from edgeseq_benchmarks.bench.runner import bench_opened
from edgeseq_benchmarks.devices.base import DeviceLostError, StreamingDevice, connect_timeout_s
from edgeseq_benchmarks.devices.doctor.board_target import board_target
from edgeseq_benchmarks.devices.doctor.fact_collection import read_system_facts
from edgeseq_benchmarks.devices.native.board_connection import (
    BoardConnection,
    board_folder,
    run_key,
)
from edgeseq_benchmarks.devices.native.board_facts import BoardFacts
from edgeseq_benchmarks.devices.native.board_limits import owner_of
from edgeseq_benchmarks.devices.native.board_machine import TOOL, BoardMachine
from edgeseq_benchmarks.devices.native.native_files import NativeFiles, native_files
from edgeseq_benchmarks.devices.remote.remote_bench import label_result
from edgeseq_benchmarks.native.build import RUNNER
from edgeseq_benchmarks.native.library import LIBRARY

# Beside what is sent: drafts of it, and what the file system itself takes.
_ROOM_FACTOR, _ROOM_BYTES = 1.2, 4_000_000


def bench_native_on(
    device: StreamingDevice,
    bundles: Sequence[Path],
    *,
    settings: Settings,
    base_dir: PurePosixPath | None = None,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
    keep_connection: bool = False,
) -> ResultRecord:
    """Benchmarks the bundles in native processes on `device`, driven from here.

    `base_dir` is the folder on the device for everything that is sent, chosen there when None. With
    `keep_connection` the device is not closed, unless it is lost.
    Raises what `bench` raises, `DeviceError` when the runner does not exist for the device or it
    has no room, and `DeviceLostError`, with the result so far, when it is lost. However the run
    ends, everything that was sent is removed.
    """
    settings = msgspec.structs.replace(settings, runners=("native",))
    with ExitStack() as stack:
        opened = [stack.enter_context(open_bundle(path, verify_hashes=False)) for path in bundles]
        for bundle in opened:
            check_runner_file(bundle)
        device.connect(timeout_s=connect_timeout_s(device))
        if not keep_connection:
            stack.callback(device.close)
        target = board_target(device.name, read_system_facts(device))
        files = native_files(target, progress=progress)
        try:
            machine = stack.enter_context(
                _prepared_machine(device, opened, files, base_dir=base_dir, progress=progress)
            )
            result = bench_opened(opened, machine, settings=settings, progress=progress)
        except MachineLostError as lost:
            device.close()
            error = DeviceLostError(
                f"{lost.what} while native processes were measured",
                where=device.name,
                found=None if lost.found is None else str(lost.found),
                fix=lost.fix,
            )
            if lost.result is not None:
                error.result = label_result(lost.result, device, command)
            raise error from lost
    return label_result(result, device, command)


@contextmanager
def _prepared_machine(
    device: StreamingDevice,
    bundles: Sequence[BundleFiles],
    files: NativeFiles,
    *,
    base_dir: PurePosixPath | None,
    progress: ProgressCallback,
) -> Iterator[BoardMachine]:
    """The board with everything sent to it, for the time of the block."""
    connection = BoardConnection(device)
    sources = [(files.runner, TOOL), (files.runner, RUNNER), (files.library, LIBRARY)]
    for number, bundle in enumerate(bundles):
        for name in filter(None, (MODEL_FILE, bundle.native_input_file)):
            sources.append((bundle.path / name, f"bundles/{number}/{name}"))
    size_bytes = sum(path.stat().st_size for path, _ in sources)
    needed_bytes = round(_ROOM_FACTOR * size_bytes) + _ROOM_BYTES
    key = run_key([path for path, _ in sources])
    with (
        tempfile.TemporaryDirectory(prefix="edgeseq-") as mirror,
        board_folder(connection, key, needed_bytes, base_dir) as (folder, on_disk),
    ):
        _send(connection, sources, folder, progress, format_bytes(size_bytes))
        yield BoardMachine(
            connection,
            BoardFacts(connection, Path(mirror)),
            files,
            folder,
            bundles=bundles,
            owner=owner_of(connection, folder),
            on_disk=on_disk,
        )


def _send(
    connection: BoardConnection,
    sources: Sequence[tuple[Path, str]],
    folder: PurePosixPath,
    progress: ProgressCallback,
    size: str,
) -> None:
    """Copies the files into the folder there, the programs executable."""
    folders = dict.fromkeys(str((folder / name).parent) for _, name in sources)
    connection.run(["mkdir", "-p", "--", *folders])
    for done, (path, name) in enumerate(sources):
        progress(ProgressUpdate("send", done, len(sources), size))
        connection.put(path, folder / name)
    programs = [str(folder / name) for name in (TOOL, RUNNER)]
    # What is not on the disk yet cannot be dropped from the page cache.
    connection.run(["sh", "-c", 'chmod 700 -- "$@" && sync', "sh", *programs])
    progress(ProgressUpdate("send", len(sources), len(sources), size))
