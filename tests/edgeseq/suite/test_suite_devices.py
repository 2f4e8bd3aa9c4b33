"""A suite measured on other devices: what is kept, what is lost, and what is done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.result import read_result
from edgeseq.progress import no_progress
from edgeseq.suite.devices import suite_targets
from edgeseq.suite.jobs import bench as bench_job
from edgeseq.suite.plan import SuiteData, data_step, plan
from edgeseq.suite.schema import read_suite
from edgeseq_benchmarks.devices.measure import BenchRequest, DeviceOutcome, DeviceTarget

from ...fake_results import Fake, make_result

KITCHEN, CELLAR = "ssh://pi@kitchen", "ssh://pi@cellar:2222"
Measured = list[tuple[str, ...]]


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], Measured]:
    """Devices that answer at once, but for those in the first set; and which were measured."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(name)
    lost: set[str] = set()
    measured: Measured = []

    def measure_on_all(
        targets: Sequence[DeviceTarget],
        task: BenchRequest,
        *,
        progress: object,
        ended: Callable[[DeviceOutcome], None],
    ) -> tuple[DeviceOutcome, ...]:
        measured.append(tuple(target.name for target in targets))
        outcomes = tuple(
            DeviceOutcome(target, error=DeviceError("is away", where=target.name))
            if target.name in lost
            else DeviceOutcome(target, result=make_result(Fake(n_examples=50)))
            for target in targets
        )
        for outcome in outcomes:
            ended(outcome)
        return outcomes

    monkeypatch.setattr(bench_job, "measure_on_all", measure_on_all)
    return lost, measured


def bench_there(**changes: Any) -> dict[str, Any]:
    given = {
        "bundles": ["one", "two"],
        "quick": True,
        "threads": 1,
        "memory_limits": [],
        "memory_curve": [],
        "working_memory": False,
        "on": [KITCHEN, CELLAR],
        "python": None,
        "identity": {},
    }
    return bench_job.run(given | changes, no_progress)


def results() -> list[str]:
    return sorted(path.name for path in Path("measured").glob("*.json"))


def test_a_lost_device_is_measured_later_and_the_others_are_kept(
    devices: tuple[set[str], Measured],
) -> None:
    lost, measured = devices
    lost.add(CELLAR)
    answer = bench_there()
    assert answer["lost"] == [f"{CELLAR}: is away"]
    assert answer["note"] == "2 models on 1 of 2 devices"
    assert results() == ["pi@kitchen.json"]
    assert read_result(Path("measured/pi@kitchen.json")).runs
    lost.clear()
    assert bench_there()["lost"] == []
    assert results() == ["pi@cellar-2222.json", "pi@kitchen.json"]
    assert bench_there()["note"] == "2 models on 2 of 2 devices"
    assert measured == [(KITCHEN, CELLAR), (CELLAR,)]


def test_what_was_measured_of_something_else_does_not_stay(
    devices: tuple[set[str], Measured],
) -> None:
    lost, measured = devices
    bench_there()
    (Path("one") / "bundle.json").write_text("changed")
    lost.add(CELLAR)
    assert bench_there()["lost"]
    assert results() == ["pi@kitchen.json"]
    bench_there(quick=False)
    bench_there(quick=False, python="~/env/bin/python")
    assert [len(names) for names in measured] == [2, 2, 2, 2]
    lost.add(KITCHEN)
    with pytest.raises(DeviceError, match="kitchen: is away"):
        bench_there(threads=2)
    assert results() == []


def test_names_are_checked_before_anything_else() -> None:
    assert suite_targets((), None) == ()
    assert suite_targets(("local",), None) == ()
    assert [target.name for target in suite_targets(("local", KITCHEN), None)] == [
        "local",
        KITCHEN,
    ]
    with pytest.raises(InputError, match="is not a device"):
        suite_targets(("ssh://-oProxyCommand=x",), None)
    with pytest.raises(InputError, match="cannot measure on a phone"):
        suite_targets(("adb:emulator-5554",), None)


def test_the_plan_names_devices_and_their_results(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(
        'schema_version = 1\nname = "x"\ntask = "sentiment"\n[data]\nname = "customer-feedback"\n'
        '[[model]]\nname = "lstm"\narch = "lstm"\nrecipes = ["float32"]\n'
    )
    suite = read_suite(path)
    data = data_step(suite.data, task=suite.task, suite_path=path, data_dir=None)

    def planned(*on: str, python: str | None = None) -> tuple[Any, Any]:
        steps = plan(
            suite,
            data=SuiteData(data, "0"),
            root=tmp_path,
            runtime_identity={"node": "here"},
            targets=suite_targets(on, python),
            python=python,
        )
        assert [step.name for step in steps[-4:]] == ["bench", "verdict", "verdict-run", "report"]
        return steps[-4], steps[-1]

    bench, report = planned()
    assert (bench.job, report.arguments["results"]) == ("bench", ["result.json"])
    assert bench.arguments["identity"] == {"node": "here"}
    there, report = planned(KITCHEN, CELLAR)
    assert there.job == "bench"
    assert there.kind == bench.kind == "measure"
    assert report.arguments["results"] == ["results/pi@kitchen.json", "results/pi@cellar-2222.json"]
    fingerprints = {
        step.fingerprint for step in (bench, there, planned(KITCHEN)[0], planned(CELLAR)[0])
    }
    assert len(fingerprints) == 4
    # What the job is called with is what it takes, as JSON too.
    for step in (bench, there):
        content = msgspec.json.encode(step.arguments)
        assert msgspec.json.decode(content, type=bench_job.BenchArguments, strict=True)
