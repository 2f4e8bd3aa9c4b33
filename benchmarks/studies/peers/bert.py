"""Measures our BERT files against other tools' files of the same weights, interleaved.

    python benchmarks/studies/peers/bert.py --out RESULT.json
    python benchmarks/studies/peers/bert.py --from RESULT.json     prints a result again

Needs the extras `convert` and `peers`, torch, litert-torch and ai-edge-quantizer; a tool that is
missing is a line of the table. `--write` puts the table into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

import edgeseq
from edgeseq.datasets.registry import load_dataset
from edgeseq.errors import DeviceError, EdgeseqError, ResultError
from edgeseq.formats.storage import read_json, write_json, write_text
from edgeseq_benchmarks.bench.probes.machine_state import device_info
from studies.peers import bert_table
from studies.peers.bert_files import LENGTHS, TorchBertReference, make_contenders, write_checkpoint
from studies.peers.bert_head import HEAD_TEXTS, fit_head
from studies.peers.bert_table import BertPeersResult, FileSizes, ThreadsResult
from studies.peers.contenders import BuildFailure, Contender
from studies.peers.inputs import REAL, Ids, workloads_of
from studies.peers.limit import measure_machine
from studies.peers.page import processor_kind, put_part
from studies.peers.result import PeerRow
from studies.peers.rounds import Agreement, PeerProcess, check_answers, time_rounds

README = Path(__file__).parents[2] / "README.md"
CHECKPOINT = "all-MiniLM-L6-v2"
PACKAGES = (
    "ai-edge-litert", "onnxruntime", "torch", "transformers", "litert-torch", "ai-edge-quantizer",
)  # fmt: skip
THREADS = (1, 2)
ROUNDS, QUICK_ROUNDS = 20, 3
MAX_PEER_ERROR, MIN_PEER_LABELS = 0.6, 0.8
REAL_TEXTS, TEXTS_PER_LENGTH = 24, 4


def measure(work: Path, *, quick: bool, data_dir: Path | None) -> BertPeersResult:
    """Makes, checks and times everything; files of other tools already in `work` are kept."""
    checkpoint = work / "checkpoint"
    write_checkpoint(CHECKPOINT, checkpoint)
    data = load_dataset("customer-feedback", data_dir=data_dir)
    encode = _encoder(checkpoint)
    workloads = workloads_of(
        data, encode, LENGTHS, real_texts=REAL_TEXTS, texts_per_length=TEXTS_PER_LENGTH
    )
    _print_progress("fit the classifier")
    learnt = data.train[:HEAD_TEXTS]
    right = fit_head(
        checkpoint,
        [encode(example.text) for example in learnt],
        [data.labels.index(example.label) for example in learnt],
    )
    _print_progress(f"the classifier has {right:.0%} of its {HEAD_TEXTS} texts right")
    built = make_contenders(checkpoint, work, workloads.calibration, log=_print_progress)
    rounds = QUICK_ROUNDS if quick else ROUNDS
    reference = TorchBertReference(checkpoint)
    runs = tuple(
        _measure_threads(threads, built, reference, workloads.texts, rounds)
        for threads in THREADS
        if threads <= (os.cpu_count() or 1)
    )
    config = msgspec.json.decode((checkpoint / "config.json").read_bytes())
    return BertPeersResult(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseq_version=edgeseq.__version__,
        device=device_info(),
        versions=_versions(),
        checkpoint=CHECKPOINT,
        sizes=FileSizes(
            config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"]
        ),
        texts=workloads.source,
        real_tokens=tuple(len(ids) for ids in workloads.texts[REAL]),
        rounds=rounds,
        quick=quick,
        machine=measure_machine(work),
        runs=runs,
    )


def _encoder(checkpoint: Path) -> Callable[[str], Ids]:
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: list(tokenizer.encode(text).ids)


def _measure_threads(
    threads: int,
    built: tuple[list[Contender], list[BuildFailure]],
    reference: TorchBertReference,
    texts: dict[str, list[Ids]],
    rounds: int,
) -> ThreadsResult:
    contenders, not_made = built
    failures = list(not_made)
    rows: list[PeerRow] = []
    with ExitStack() as running:
        children: list[PeerProcess] = []
        for contender in contenders:
            _print_progress(f"{threads} threads: check {contender.name}")
            try:
                child = running.enter_context(PeerProcess(contender, texts, threads=threads))
                agreement = check_answers(child, reference, texts)
            except DeviceError as error:
                failures.append(BuildFailure(contender.name, f"{error.what}: {error.found}"))
                continue
            if wrong := _wrong(contender, agreement):
                failures.append(BuildFailure(contender.name, f"wrong answers: {wrong}"))
                continue
            children.append(child)
            rows.append(_row(contender, agreement))
        timings = time_rounds(
            children, texts, rounds=rounds, wall=threads > 1,
            log=lambda what: _print_progress(f"{threads} threads: {what}"),
        )  # fmt: skip
    rows = [msgspec.structs.replace(row, timings=timings[row.name]) for row in rows]
    return ThreadsResult(threads, tuple(rows), tuple(failures))


def _wrong(contender: Contender, agreement: Agreement) -> str | None:
    """What is wrong with the answers; None when they are those of the same network.

    Tools differ in how finely they quantize (one scale a matrix, or one a row), and a classifier
    at random weighs that heavily. So only a broken file is left out; the table says how many
    labels are those of the float model.
    """
    if contender.precision == "float32" or contender.peer == "edgeseq":
        return agreement.wrong(contender)
    if agreement.relative_error <= MAX_PEER_ERROR and agreement.equal_labels >= MIN_PEER_LABELS:
        return None
    return (
        f"{agreement.equal_labels:.0%} equal labels, logits differ by "
        f"{agreement.relative_error:.0%} (allowed: {MIN_PEER_LABELS:.0%} and {MAX_PEER_ERROR:.0%})"
    )


def _row(contender: Contender, agreement: Agreement) -> PeerRow:
    return PeerRow(
        name=contender.name,
        peer=contender.peer,
        precision=contender.precision,
        feeding=contender.feeding,
        recipe=contender.recipe,
        lowering="encoder" if contender.peer == "edgeseq" else "",
        size_bytes=contender.size_bytes,
        agreement=agreement,
        timings={},
    )


def _versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _print_progress(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def main(arguments: list[str]) -> int:
    """The command; its exit codes are those of `edgeseq`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
            result = read_json(options.source, BertPeersResult, error=ResultError)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                work = (options.work or Path(temporary)).resolve()
                work.mkdir(parents=True, exist_ok=True)
                result = measure(work, quick=options.quick, data_dir=options.data_dir)
            write_json(options.out, result)
        text = "\n".join(bert_table.lines(result)) + "\n"
        if options.write:
            page = README.read_text(encoding="utf-8")
            kind = processor_kind(result.device)
            write_text(README, put_part(page, text, bert_table.MARKERS, kind))
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
