"""Steps on a cluster that runs already: inputs and outputs through a store, states, refusals."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

import edgeseq
from edgeseq.errors import ClusterError, DataError, InputError, StepError, StoreError
from edgeseq.formats.linear_baseline import read_linear_baseline
from edgeseq.formats.storage import write_text
from edgeseq.model_search.candidates import Candidate
from edgeseq.model_search.step_runner import StepRunner
from edgeseq.model_search.steps_workbench import SearchJob, plan_candidates
from edgeseq.progress import ProgressUpdate, no_progress
from edgeseq.suite.cluster import Cluster, connect
from edgeseq.suite.elsewhere import Elsewhere
from edgeseq.suite.engine import SuiteOptions, run_suite
from edgeseq.suite.outputs import list_output
from edgeseq.suite.plan import BASELINE_FILE, SuiteData, data_step
from edgeseq.suite.scheduler import run_steps
from edgeseq.suite.schema import DataSection
from edgeseq.suite.steps import Kind, Step, StepRecord
from edgeseq.suite.store import Store, StoredRecord
from edgeseq.suite.teacher_outputs import StoredTeacherOutputs
from edgeseq.suite.workers import check_version

from ...conftest import invented_rows, write_csv
from ...small_disks import mounted_disk

# Reads what the step before it wrote, and goes on with its state where there is one.
CHILD = """
import os, sys, time
from pathlib import Path
from edgeseq.model_search.candidates import Candidate
from edgeseq.model_search.step_runner import StepRunner
from edgeseq.model_search.steps_workbench import SearchJob, plan_candidates
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.job_processes import JobChannel, JobFailure, JobMessage
side = JobChannel()
arguments = side.job.arguments
if side.job.name == "fail":
    side.send(JobMessage(failure=JobFailure("DataError", "no such data set", where="sst3")))
    sys.exit()
if side.job.name == "wait":
    Path(arguments["pid"]).write_text(str(os.getpid()))
    side.report(ProgressUpdate("wait", 1, 2))
    time.sleep(60)
out = Path(side.job.output)
out.mkdir(parents=True)
text = "".join(Path(path).read_text() for path in arguments.get("reads", ()))
if "data" in arguments:
    text += Path(arguments["data"]["data"]["train"]).read_text()
text += arguments.get("teacher_outputs", "")
state = out.with_name(out.name + ".training.safetensors")
if side.job.name == "train":
    text += state.read_text() if state.exists() else "began "
    state.write_text(text)
    state.unlink()
(out / "text").write_text(text + arguments["step"])
side.report(ProgressUpdate(arguments["step"], 1, 1))
side.send(JobMessage(answer={}))
"""
COMMAND = (sys.executable, "-c", CHILD)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers behind TCP, in threads of this process, which is much faster to start."""
    with (
        LocalCluster(
            processes=False,
            protocol="tcp://",
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            local_directory=str(tmp_path_factory.mktemp("workers")),
        ) as local,
        connect(local.scheduler_address, no_progress) as connection,
    ):
        yield connection


def _step(
    root: Path,
    name: str,
    *after: Step,
    job: str = "work",
    kind: Kind = "other",
    **arguments: object,
) -> Step:
    reads = [f"{step.output.relative_to(root)}/text" for step in after]
    return Step(
        name=name,
        title=name,
        job=job,
        arguments={"step": name, "reads": reads, **arguments},
        output=root / "models" / name,
        after=after,
        kind=kind,
    )


def _run(
    steps: list[Step], root: Path, cluster: Cluster | None, store: Store
) -> tuple[dict[str, StepRecord], list[str], list[ProgressUpdate]]:
    root.mkdir(exist_ok=True)
    ran: dict[str, StepRecord] = {}
    fetched: list[str] = []
    heard: list[ProgressUpdate] = []
    run_steps(
        steps,
        root,
        finished=(),
        progress=lambda step: heard.append,
        on_finished=lambda step, record: ran.update({step.name: record}),
        on_fetched=lambda step, record: fetched.append(step.name),
        command=COMMAND,
        cluster=cluster,
        store=store,
    )
    return ran, fetched, heard


def test_outputs_arrive_through_the_store_and_nothing_is_run_twice(
    cluster: Cluster, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "store"))

    def steps(root: Path) -> list[Step]:
        a = _step(root, "a")
        b, c = _step(root, "b", a), _step(root, "c", a, kind="measure")
        return [a, b, c, _step(root, "d", b, c)]

    root = tmp_path / "one"
    ran, fetched, heard = _run(steps(root), root, cluster, store)
    assert set(ran) == {"a", "b", "c", "d"}
    assert not fetched
    assert (root / "models/d/text").read_text() == "abacd"
    assert sorted(update.stage for update in heard) == ["a", "b", "c", "d"]
    for step in steps(root):
        assert step.finished(root) == ran[step.name]

    for other in (cluster, None):  # another folder, with the cluster or without
        root = tmp_path / f"with-{other is not None}"
        ran, fetched, _ = _run(steps(root), root, other, store)
        assert not ran
        assert fetched == ["a", "b", "c", "d"]
        assert (root / "models/d/text").read_text() == "abacd"
    assert not any((tmp_path / "one").glob("models/*/inputs"))


def test_a_run_on_this_machine_fills_the_store_for_others(cluster: Cluster, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    here, there = tmp_path / "here", tmp_path / "there"
    _run([_step(here, "a")], here, None, store)
    a = _step(there, "a")
    ran, fetched, _ = _run([a, _step(there, "b", a)], there, cluster, store)
    assert fetched == ["a"]
    assert list(ran) == ["b"]
    assert (there / "models/b/text").read_text() == "ab"


def test_the_users_files_reach_the_worker_and_their_place_is_no_identity(
    cluster: Cluster, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "store"))
    fingerprints = set()
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.csv").write_text("mine ")
        section = {
            "name": "n",
            "train": str(tmp_path / folder / "t.csv"),
            "dev": None,
            "test": None,
        }
        root = tmp_path / f"out-{folder}"
        step = _step(root, "a", data={"data": section, "data_dir": "/nowhere"})
        step = Step(**{**_fields(step), "identity": {"data": {"train": "t.csv"}}})
        fingerprints.add(step.fingerprint)
        _run([step], root, cluster, store)
        assert (root / "models/a/text").read_text() == "mine a"
    assert len(fingerprints) == 1


def _fields(step: Step) -> dict[str, object]:
    return {name: getattr(step, name) for name in step.__struct_fields__}


def test_a_training_goes_on_with_the_state_in_the_store(cluster: Cluster, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    root, state = tmp_path / "out", tmp_path / "state"
    step = _step(root, "a", job="train", kind="train")
    write_text(state / "models/a.training.safetensors", "step 60 ")
    store.put("states", step.fingerprint, StoredRecord(list_output(state, state, {})), state)
    _run([step], root, cluster, store)
    assert (root / "models/a/text").read_text() == "step 60 a"
    assert store.read_record("states", step.fingerprint) is None


def test_what_a_teacher_said_is_in_the_store_of_the_run(cluster: Cluster, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    store = Store(url)
    for name, where in (("there", cluster), ("here", None)):
        root = tmp_path / name
        step = _step(root, f"student-{name}", job="teacher_outputs", teacher_outputs="teachers")
        _run([step], root, where, store)
        assert (root / f"models/student-{name}/text").read_text() == url + step.name
    outputs = StoredTeacherOutputs(url)
    assert outputs.read("key") is None
    outputs.write("key", b"rows")
    assert outputs.read("key") == b"rows"
    [entry] = (tmp_path / "store/teachers").iterdir()
    entry.write_bytes(b"damaged")
    assert outputs.read("key") is None
    assert StoredTeacherOutputs("/dev/null/full").read("key") is None


def test_a_store_that_is_no_folder_keeps_whole_entries(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/text").write_text("mine")
    store = Store("memory://edgeseq-tests")
    record = StoredRecord(list_output(tmp_path / "made", tmp_path, {}), answer={"score": 1})
    store.put("steps", "key", record, tmp_path)
    assert store.fetch("steps", "key", tmp_path / "there") == record
    assert (tmp_path / "there/made/text").read_text() == "mine"
    assert store.fetch("steps", "other", tmp_path) is None
    store.remove("steps", "key")
    assert store.read_record("steps", "key") is None
    with pytest.raises(StoreError, match=r"^nope://x: .*Protocol not known"):
        Store("nope://x")


def test_a_search_runs_its_steps_on_the_workers(cluster: Cluster, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    assert StepRunner(tmp_path, Elsewhere(cluster.machine, cluster, store)).num_workers == 2
    table = write_csv(tmp_path / "texts.csv", invented_rows(90, seed=0))
    section = DataSection(train=str(table))
    step = data_step(section, task="sentiment", suite_path=Path("search"), data_dir=None)
    read = StepRunner(tmp_path, Elsewhere({})).run(step)
    job = SearchJob(
        root=tmp_path,
        task="sentiment",
        data=SuiteData(step, str(read.answer["sha256"])),
        budget="memory=16MB",
        runner="native",
        quick=True,
        identity=cluster.machine,
    )
    candidate = Candidate("bag", "float32", "pooled", {"epochs": 1})
    steps = plan_candidates(job, [candidate])
    [baseline] = [step for step in steps if step.job == "linear_baseline"]
    runner = StepRunner(tmp_path, Elsewhere(cluster.machine, cluster, store))
    runner.run(baseline)
    assert read_linear_baseline(tmp_path / BASELINE_FILE).dev_score > 0.5
    runner.expire(baseline)
    runner.stop()
    with pytest.raises(StepError, match="the search was stopped"):
        runner.run(baseline)


def test_a_failure_names_the_worker(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "out"
    with pytest.raises(DataError, match=r"^worker tcp://.*: sst3: no such data set$"):
        _run([_step(root, "a", job="fail")], root, cluster, Store(str(tmp_path / "store")))


def test_an_interrupt_here_ends_the_steps_on_the_workers(cluster: Cluster, tmp_path: Path) -> None:
    def interrupt(_: ProgressUpdate) -> None:
        raise KeyboardInterrupt

    root, pid = tmp_path / "out", tmp_path / "pid"
    root.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_steps(
            [_step(root, "a", job="wait", pid=str(pid))],
            root,
            finished=(),
            progress=lambda _: interrupt,
            on_finished=lambda *_: None,
            command=COMMAND,
            cluster=cluster,
            store=Store(str(tmp_path / "store")),
        )
    deadline = time.monotonic() + 20  # it would sleep for a minute
    while Path(f"/proc/{pid.read_text()}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_store_that_is_gone_or_damaged_ends_with_exit_code_4(
    cluster: Cluster, tmp_path: Path
) -> None:
    root, folder = tmp_path / "out", tmp_path / "store"
    store = Store(str(folder))
    a = _step(root, "a")
    _run([a], root, cluster, store)
    [entry] = (folder / "steps").iterdir()
    content = entry.read_bytes()
    entry.write_bytes(content.replace(b"a\0\0\0", b"X\0\0\0"))
    with pytest.raises(StoreError, match="damaged") as caught:
        _run([a], tmp_path / "other", cluster, store)
    assert caught.value.exit_code == 4
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    folder.write_text("a file where the folder was")
    with pytest.raises(StoreError, match="the store cannot be used") as caught:
        _run([_step(root, "b")], root, cluster, store)
    assert caught.value.exit_code == 4
    folder.unlink()
    ran, _, _ = _run([_step(root, "b")], root, cluster, Store(str(folder)))
    assert list(ran) == ["b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    with mounted_disk(tmp_path / "disk", "size=64k") as folder:
        yield folder


def test_a_full_store_ends_with_exit_code_4_and_the_same_run_resumes(
    cluster: Cluster, tmp_path: Path, small_disk: Path
) -> None:
    root, store = tmp_path / "out", Store(str(small_disk / "store"))
    a = _step(root, "a")
    steps = [a, _step(root, "b" * 100_000, a)]
    steps[1] = Step(**{**_fields(steps[1]), "name": "b", "output": root / "models/b"})
    with pytest.raises(StoreError, match="the disk is full") as caught:
        _run(steps, root, cluster, store)
    assert caught.value.exit_code == 4
    entries = [path for path in small_disk.rglob("*") if path.is_file()]
    assert [entry.stem for entry in entries] == [a.fingerprint]
    remount = ["mount", "-o", "remount,size=4m", str(small_disk)]
    subprocess.run(remount, check=True)
    ran, fetched, _ = _run(steps, root, cluster, store)
    assert fetched == ["a"]
    assert list(ran) == ["b"]
    assert (root / "models/b/text").read_text() == "a" + "b" * 100_000


def test_clusters_that_cannot_be_used_are_refused_in_a_line(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseq.suite.cluster.CONNECT_S", 0.5)
    with (
        pytest.raises(ClusterError, match="does not answer"),
        connect("tcp://127.0.0.1:9", no_progress),
    ):
        pass
    with pytest.raises(ClusterError, match=r"kitchen: no worker reaches this device"):
        cluster.check_boards(["kitchen"])
    with pytest.raises(ClusterError, match=r"^w: runs another version of edgeseq: found 0\.0\.1"):
        check_version(edgeseq.__version__, of="w", found="0.0.1")
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'schema_version = 1\nname = "a"\ntask = "sentiment"\n'
        'data = { name = "customer-feedback" }\n'
        '[[model]]\nname = "a"\narch = "lstm"\n'
    )
    with pytest.raises(InputError, match="needs a store"):
        run_suite(suite, tmp_path / "out", SuiteOptions(scheduler="tcp://127.0.0.1:9"))
