"""Measures our LSTM files against other tools' files of the same weights, interleaved.

    python benchmarks/studies/peers/lstm.py --out RESULT.json --write
    python benchmarks/studies/peers/lstm.py --from RESULT.json --write     prints a result again

`--write` puts the table into benchmarks/README.md. Needs the extras `convert` and `peers`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import numpy as np

import edgeseq
from edgeseq.errors import DeviceError, EdgeseqError, ResultError
from edgeseq.formats.storage import read_json, write_json, write_text
from edgeseq_benchmarks.bench.probes.machine_state import device_info
from studies.peers import table
from studies.peers.contenders import BuildFailure, Contender, peer_contenders, peer_jobs
from studies.peers.inputs import (
    REAL,
    SHAPES,
    FloatReference,
    Shape,
    Workloads,
    make_weights,
    make_workloads,
)
from studies.peers.limit import measure_machine
from studies.peers.makers import make_files
from studies.peers.ours import our_models
from studies.peers.page import processor_kind, put_part
from studies.peers.result import PeerRow, PeersResult, ShapeResult
from studies.peers.rounds import Agreement, PeerProcess, check_answers, time_rounds

README = Path(__file__).parents[2] / "README.md"
PACKAGES = ("ai-edge-litert", "tensorflow", "tf_keras", "keras", "onnxruntime")
ROUNDS, QUICK_ROUNDS = 40, 10
REAL_TEXTS = 24


def measure(work: Path, *, quick: bool, data_dir: Path | None) -> PeersResult:
    """Makes, checks and times everything; files of other tools already in `work` are kept."""
    workloads = make_workloads(data_dir, real_texts=REAL_TEXTS)
    rounds = QUICK_ROUNDS if quick else ROUNDS
    shapes = tuple(_measure_shape(shape, work, workloads, rounds) for shape in SHAPES)
    return PeersResult(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseq_version=edgeseq.__version__,
        device=device_info(),
        versions=dict(_versions()),
        texts=workloads.source,
        real_tokens=tuple(len(ids) for ids in workloads.texts[REAL]),
        rounds=rounds,
        quick=quick,
        machine=measure_machine(work),
        shapes=shapes,
    )


def _measure_shape(shape: Shape, work: Path, workloads: Workloads, rounds: int) -> ShapeResult:
    log = _logger_of(shape.title)
    folder = work / f"{shape.embedding}-{shape.hidden}"
    folder.mkdir(parents=True, exist_ok=True)
    weights = make_weights(shape)
    weights_path = folder / "weights.npz"
    np.savez(weights_path, **weights)  # type: ignore[arg-type]
    files, causes = make_files(peer_jobs(), weights_path, folder, workloads.calibration, log=log)
    ours = our_models(weights, folder, workloads.calibration)
    failures = [BuildFailure(job.filename, cause) for job, cause in causes.items()]
    failures += ours.failures
    contenders = (*ours.contenders, *peer_contenders(files))
    rows: list[PeerRow] = []
    reference = FloatReference(weights)
    with ExitStack() as running:
        children: list[PeerProcess] = []
        for contender in contenders:
            log(f"check {contender.name}")
            try:
                child = running.enter_context(PeerProcess(contender, workloads.texts))
                agreement = check_answers(child, reference, workloads.texts)
            except DeviceError as error:
                failures.append(BuildFailure(contender.name, f"{error.what}: {error.found}"))
                continue
            if wrong := agreement.wrong(contender):
                failures.append(BuildFailure(contender.name, f"wrong answers: {wrong}"))
                continue
            children.append(child)
            rows.append(_row(contender, agreement))
        timings = time_rounds(children, workloads.texts, rounds=rounds, log=log)
    rows = [msgspec.structs.replace(row, timings=timings[row.name]) for row in rows]
    return ShapeResult(shape, tuple(rows), tuple(failures))


def _row(contender: Contender, agreement: Agreement) -> PeerRow:
    return PeerRow(
        name=contender.name,
        peer=contender.peer,
        precision=contender.precision,
        feeding=contender.feeding,
        recipe=contender.recipe,
        lowering=contender.lowering,
        size_bytes=contender.size_bytes,
        agreement=agreement,
        timings={},
    )


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _logger_of(title: str) -> Callable[[str], None]:
    def log(what: str) -> None:
        sys.stderr.write(f"{title}: {what}\n")

    return log


def main(arguments: list[str]) -> int:
    """The command; its exit codes are those of `edgeseq`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_HELP)
    parser.add_argument("--out", type=Path, help="the result file to write")
    parser.add_argument("--from", type=Path, dest="source", help="show a result measured before")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--work", type=Path, help="a folder that keeps the files made")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("EDGESEQ_DATA"))
    options = parser.parse_args(arguments)
    if (options.out is None) == (options.source is None):
        parser.error("give either --out or --from")
    try:
        if options.source is not None:
            result = read_json(options.source, PeersResult, error=ResultError)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                work = options.work or Path(temporary)
                result = measure(work, quick=options.quick, data_dir=options.data_dir)
            write_json(options.out, result)
        text = "\n".join(table.lines(result)) + "\n"
        if options.write:
            page = README.read_text(encoding="utf-8")
            kind = processor_kind(result.device)
            write_text(README, put_part(page, text, table.MARKERS, kind))
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


_HELP = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
