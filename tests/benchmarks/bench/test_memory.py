"""The memory ledger: a known amount is reported as that amount."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.codec import decode_json
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import MemoryReading
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command

MakeBundle = Callable[..., Path]


def ledger(path: Path) -> dict[str, MemoryReading]:
    with WorkerClient("child") as child:
        command = load_command(read_bundle(path), child, threads=1, first_text="soup", ledger=True)
        loaded = child.request(command, protocol.ModelLoaded, timeout_s=60)
    return {reading.phase: reading for reading in loaded.memory}


def test_a_model_that_allocates_a_known_amount_is_reported_so(make_bundle: MakeBundle) -> None:
    # Twice: the tensor of 40,000,000 bytes is allocated for the first answer.
    plain, wide = ledger(make_bundle("plain")), ledger(make_bundle("wide", model="wide"))
    last_plain, last_wide = plain["first_answer"], wide["first_answer"]
    assert last_plain.peak_bytes is not None
    assert last_wide.peak_bytes is not None
    assert last_wide.peak_bytes - last_plain.peak_bytes == pytest.approx(40e6, rel=0.05)
    baselines = [book["runtime_imported"].rss_bytes for book in (plain, wide)]
    assert baselines[0] == pytest.approx(baselines[1], rel=0.05)


def test_peaks_belong_to_their_phase() -> None:
    program = (
        "import mmap, sys, msgspec\n"
        "from edgeseq_benchmarks.bench.probes import process_memory as memory\n"
        "def read(): return memory.read_memory('steady', peak_is_of_phase=True)\n"
        "memory.trim(); memory.reset_peak(); readings = [read()]\n"
        "held = mmap.mmap(-1, 30_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "held.write(bytes(30_000_000)); memory.trim(); memory.reset_peak()\n"
        "readings.append(read())\n"
        "freed = mmap.mmap(-1, 50_000_000, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "for start in range(0, 50_000_000, 4096): freed[start] = 1\n"
        "freed.close(); readings.append(read()); memory.reset_peak(); readings.append(read())\n"
        "sys.stdout.buffer.write(msgspec.json.encode(readings))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, timeout=60
    )
    before, holding, after, reset = decode_json(answer.stdout, list[MemoryReading])
    assert holding.anonymous_bytes - before.anonymous_bytes == pytest.approx(30e6, rel=0.05)
    assert after.rss_bytes == pytest.approx(holding.rss_bytes, rel=0.05)
    if after.peak_bytes is None or reset.peak_bytes is None:
        pytest.skip("the kernel does not reset the peak")
    assert after.peak_bytes - holding.rss_bytes == pytest.approx(50e6, rel=0.05)
    assert reset.peak_bytes == pytest.approx(reset.rss_bytes, rel=0.05)
    assert after.minor_faults > holding.minor_faults


def test_a_mapped_file_is_given_back_and_read_again_the_same(tmp_path: Path) -> None:
    size_bytes = 20_000_000
    shared, private = tmp_path / "a model.tflite", tmp_path / "private"
    for path in (shared, private):
        path.write_bytes(bytes(range(250)) * (size_bytes // 250))
    program = (
        "import mmap, sys, msgspec\n"
        "from edgeseq_benchmarks.bench.probes import process_memory as memory\n"
        "def read(): return memory.read_memory('steady', peak_is_of_phase=False)\n"
        "files = [open(path, 'rb') for path in sys.argv[1:]]\n"
        "held = mmap.mmap(files[0].fileno(), 0, prot=mmap.PROT_READ)\n"
        "own = mmap.mmap(files[1].fileno(), 0, mmap.MAP_PRIVATE)\n"
        "own[7] = 99\n"
        "content = held[:]; del content; readings = [read()]\n"
        "given = memory.release_mapping(sys.argv[1]); readings.append(read())\n"
        "assert given >= len(held), given\n"
        "assert memory.release_mapping(sys.argv[2]) == 0\n"
        "assert memory.release_mapping('/no/such/file') == 0\n"
        "assert own[7] == 99\n"
        "assert held[:] == bytes(range(250)) * (len(held) // 250)\n"
        "sys.stdout.buffer.write(msgspec.json.encode(readings))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(shared), str(private)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    before, after = decode_json(answer.stdout, list[MemoryReading])
    assert before.file_bytes - after.file_bytes == pytest.approx(size_bytes, rel=0.05)
