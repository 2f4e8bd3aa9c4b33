"""Hostile bundles: refused, in a process that may die without taking the run along."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import RUNNER_FILE, Golden, GoldenExample
from edgeseq.formats.bundle_zip import pack_bundle
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.result import Run, Settings
from edgeseq.formats.storage import write_json
from edgeseq_benchmarks.bench.bundle_checks import check_runner_file
from edgeseq_benchmarks.bench.context import Timeouts
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, run_limited
from edgeseq_benchmarks.bench.limits.page_cache import private_files
from edgeseq_benchmarks.bench.predictor import predict
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.bench.verify import verify

MakeBundle = Callable[..., Path]
FUZZ = Path(__file__).with_name("fuzz_child.py")


def reasons(run: Run) -> list[str]:
    return [finding.message for finding in run.findings if finding.code == "process-lost"]


def fuzz(model: Path, first: int, last: int, folder: Path) -> tuple[Counter[str], list[int]]:
    """How many mutations were refused, failed, answered or died; and which died."""
    done = subprocess.run(
        [sys.executable, str(FUZZ), str(model), str(first), str(last), str(folder)],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    for line in lines:
        # An exception of Python that is no refusal would end the child with 1.
        assert line[0] != "died" or int(line[2]) < 0, line
    died = [int(line[1]) for line in lines if line[0] == "died"]
    return Counter(line[0] for line in lines), died


def test_thousands_of_mutated_models_are_refused_or_die_alone(
    make_bundle: MakeBundle, models: Path, brief: Settings, tmp_path: Path
) -> None:
    sys.path.insert(0, str(FUZZ.parent))
    try:
        from fuzz_child import mutated
    finally:
        sys.path.pop(0)
    for name, first, last in (("bag", 0, 1500), ("counting", 3000, 4000), ("wide", 0, 500)):
        sound = models / f"{name}.tflite"
        counts, died = fuzz(sound, first, last, tmp_path)
        ended = counts["refused"] + counts["failed"] + counts["answered"] + counts["died"]
        assert ended == counts["try"] == last - first
        assert counts["refused"] > (last - first) / 3
        for number in died[:1]:
            # The real thing, in a run with a sound bundle beside it.
            path = make_bundle(f"dies-{name}", content=mutated(sound.read_bytes(), number))
            others = make_bundle(f"sound-{name}")
            fast = Timeouts(load_s=5.0, answer_s=5.0)
            dead, alive = bench([path, others], settings=brief, timeouts=fast).runs
            assert len(reasons(dead)) == 1
            assert "check" in reasons(dead)[0]
            assert alive.predictions is not None


@contextlib.contextmanager
def killing_the_first_worker() -> Iterator[None]:
    """Kills the first measured process that appears, as a crash of native code would."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")

    def kill() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):
                    if (
                        b"edgeseq_benchmarks.bench.worker"
                        in Path(f"/proc/{pid}/cmdline").read_bytes()
                    ):
                        os.kill(int(pid), signal.SIGSEGV)
                        return
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()


def test_a_check_that_dies_is_a_row_with_the_reason(
    make_bundle: MakeBundle, brief: Settings
) -> None:
    paths = [make_bundle("dies"), make_bundle("sound")]
    with killing_the_first_worker():
        dead, sound = bench(paths, settings=brief).runs
    assert "check" in reasons(dead)[0]
    assert "SIGSEGV" in reasons(dead)[0]
    assert dead.queries.total_ns == ()
    assert dead.memory == ()
    assert sound.predictions is not None
    assert reasons(sound) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: (p / "model.tflite").write_bytes(bytes(3608)), "have the (size|SHA-256)"),
        (lambda p: _flip(p / "model.tflite"), "does not have the SHA-256"),
        (lambda p: _flip(p / "tokenizer.json"), "does not have the SHA-256"),
        (lambda p: _flip(p / "eval.jsonl"), "does not have the SHA-256|is not an example"),
    ],
)
def test_altered_files_are_found_in_the_check_and_cost_only_their_bundle(
    make_bundle: MakeBundle, brief: Settings, spoil: Callable[[Path], object], said: str
) -> None:
    path = make_bundle("altered")
    spoil(path)
    with pytest.raises(BundleError, match=said):
        bench([path], settings=brief)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_vocabulary_larger_than_the_table_is_found_before_a_text_meets_it(
    make_bundle: MakeBundle,
) -> None:
    path = make_bundle("claims", vocabulary_size=65)
    with pytest.raises(BundleError, match="no row for the largest token id") as caught:
        verify(read_bundle(path))
    assert "64" in str(caught.value)


def test_a_runner_file_that_another_tokenizer_compiles_to_is_refused(
    make_bundle: MakeBundle,
) -> None:
    """The manifest agrees with the file, as somebody hostile would write it."""
    path = make_bundle("other")
    check_runner_file(read_bundle(path))
    content = bytearray((path / RUNNER_FILE).read_bytes())
    content[-1] ^= 1
    (path / RUNNER_FILE).write_bytes(content)
    manifest = read_bundle(path, verify_hashes=False).manifest
    files = manifest.files | {RUNNER_FILE: FileEntry.of(path / RUNNER_FILE)}
    write_json(path / "bundle.json", msgspec.structs.replace(manifest, files=files))
    with pytest.raises(BundleError, match="does not go with tokenizer"):
        check_runner_file(read_bundle(path))
    # Another release of the library may have other Unicode tables.
    older = msgspec.structs.replace(manifest.provenance, tool_versions={"tokenizers": "0.1"})
    changed = msgspec.structs.replace(manifest, files=files, provenance=older)
    write_json(path / "bundle.json", changed)
    check_runner_file(read_bundle(path))


def test_golden_token_ids_out_of_range_are_refused(make_bundle: MakeBundle) -> None:
    for token_ids in ((2, 64), (2, -1), (2, 2**31), ()):
        golden = Golden(
            examples=(GoldenExample(text="soup", token_ids=token_ids, logits=(0.0,) * 3),),
            tolerance=0.01,
        )
        path = make_bundle(f"ids{len(token_ids)}{sum(token_ids)}", golden=golden)
        with pytest.raises(BundleError, match=r"token id|number of tokens"):
            read_bundle(path)


def test_operators_that_the_runtime_lacks_are_named(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseq.formats import tflite_runtimes
    from edgeseq_benchmarks.bench.bundle_checks import check_operators

    bundle = read_bundle(make_bundle("plain"))
    check_operators(bundle, "ai-edge-litert")
    check_operators(bundle, "no-such-runtime")
    table = tflite_runtimes.operator_versions()
    older = {name: dict(versions) for name, versions in table.items()}
    for versions in older.values():
        versions.pop("GATHER")
    monkeypatch.setattr("edgeseq.formats.tflite_runtimes.operator_versions", lambda: older)
    with pytest.raises(BundleError, match=r"needs operators .* GATHER version"):
        check_operators(bundle, "ai-edge-litert")


def test_a_bundle_as_one_zip_is_measured_and_answers(
    make_bundle: MakeBundle, brief: Settings, tmp_path: Path
) -> None:
    pack_bundle(make_bundle("kettle"), tmp_path / "kettle.zip")
    run = bench([tmp_path / "kettle.zip"], settings=brief).runs[0]
    assert run.bundle.name == "kettle"
    assert run.predictions is not None
    assert len(predict(tmp_path / "kettle.zip", ["soup"])) == 1


@pytest.mark.cgroup
def test_paths_with_shell_characters_are_only_paths(
    make_bundle: MakeBundle, hierarchy: Hierarchy, tmp_path: Path
) -> None:
    odd = tmp_path / "a b;$(touch owned)`touch owned`'\"&|\n*"
    path = make_bundle("plain").rename(odd)
    assert verify(read_bundle(path)) == []
    bundle = read_bundle(path)
    texts = [example.text for example in bundle.read_examples()[:3]]
    with private_files(bundle, ()) as files:
        task = LimitedTask(bundle, files, texts, threads=1, duration_s=3.0, load_timeout_s=20.0)
        assert run_limited(hierarchy, task, 250_000_000).status == "answered"
    assert not list(tmp_path.rglob("owned"))
    assert not Path("/owned").exists()


@pytest.mark.parametrize("device", ["$(touch owned)", "ssh://x;touch owned", "a\nb", "../x"])
def test_device_names_with_shell_characters_are_refused(
    make_bundle: MakeBundle, tmp_path: Path, device: str
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeseq", "bench", str(make_bundle("plain"))),
            *("--on", device, "--out", str(tmp_path / "result.json")),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode in (2, 4)
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "owned").exists()


def test_the_check_bounds_its_own_memory() -> None:
    program = (
        "from edgeseq_benchmarks.bench.limits.rlimit import bound_this_process\n"
        "bound_this_process()\n"
        "try: bytearray(1 << 40)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "refused"
