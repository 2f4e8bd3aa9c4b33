"""`edgeseq compare` in pipelines: the Action's own steps and the guide's, JUnit, annotations."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml

import edgeseq as es
from edgeseq.cli.compare import compare
from edgeseq.errors import InputError
from edgeseq.formats.result import ResultRecord
from edgeseq.formats.storage import write_json
from edgeseq.reporting.budget_file import read_budget_file
from edgeseq.reporting.ci_checks import github_annotations, junit_xml
from edgeseq.reporting.comparison import ThresholdCheck

from ...fake_results import MODELS, Fake, make_result, scale_times

ROOT = Path(__file__).parents[3]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
GUIDE = (ROOT / "docs" / "guides" / "ci.md").read_text("utf-8")
LITTLE = Fake(models=MODELS[3:5], n_queries=1_000, n_examples=500, limited=False, lengths=False)
FIRST = MODELS[3].name
replace = msgspec.structs.replace


def guide_file(name: str) -> str:
    """The block of the guide that is the file `name`."""
    found = re.search(rf"<!-- file: {name} -->\n```\w+\n(.*?)```", GUIDE, re.S)
    assert found, name
    return found[1]


def _tree(content: bytes) -> ET.Element:
    return ET.fromstring(content)  # noqa: S314 - this project wrote it


class StepOutcome(NamedTuple):
    """What a step left behind."""

    code: int
    output: str
    summary: str


class Project:
    """A checkout with a baseline and the guide's budget file, and a runner's temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.temporary = folder / "runner"
        for path in (self.folder, self.temporary):
            path.mkdir()
        budget = guide_file("edgeseq-budget.toml")
        (self.folder / "edgeseq-budget.toml").write_text(budget, "utf-8")
        self.add_result("edgeseq-baseline.json")

    def add_result(self, name: str, *, slower: float = 1.0) -> None:
        result: ResultRecord = make_result(LITTLE)
        runs = tuple(replace(run, queries=scale_times(run.queries, slower)) for run in result.runs)
        write_json(self.folder / name, replace(result, runs=runs))

    def run_script(self, script: str, path: str, variables: Mapping[str, str] = {}) -> StepOutcome:
        """Runs a step as GitHub's runner runs `shell: bash`."""
        summary = self.temporary / "summary.md"
        summary.write_text("an earlier step\n", encoding="utf-8")
        done = subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=self.folder,
            env={
                **os.environ,
                **variables,
                "PATH": path,
                "RUNNER_TEMP": str(self.temporary),
                "GITHUB_PATH": str(self.temporary / "path"),
                "GITHUB_STEP_SUMMARY": str(summary),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        return StepOutcome(done.returncode, done.stdout, summary.read_text("utf-8"))

    def run_step(self, name: str, path: str, **inputs: str) -> StepOutcome:
        """Runs a step of `action.yml` with these inputs, the others by default."""
        [step] = [step for step in ACTION["runs"]["steps"] if step["name"] == name]
        contexts = {"github.action_path": str(ROOT)}
        for key, definition in ACTION["inputs"].items():
            assert key in inputs or not definition.get("required")
            contexts[f"inputs.{key}"] = inputs.get(key, definition.get("default", ""))
        variables = {
            key: re.sub(r"\$\{\{ (\S+) \}\}", lambda match: contexts[match[1]], value)
            for key, value in step["env"].items()
        }
        return self.run_script(step["run"], path, variables)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


INSTALLED = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])


def test_the_action_fails_on_a_regression_with_annotations(project: Project) -> None:
    project.add_result("result.json", slower=1.5)
    failed = project.run_step("Compare", INSTALLED, result="result.json")
    assert failed.code == 3, failed.output
    errors = [line for line in failed.output.splitlines() if line.startswith("::error ")]
    titles = [re.findall(r"title=([^:]*)::", line)[0] for line in errors]
    assert titles == [f"{model.name}%3A p95>10%25" for model in MODELS[3:5]]
    assert all("file=edgeseq-budget.toml," in line for line in errors)
    assert failed.summary.startswith("an earlier step\n## edgeseq compare\n")
    assert f"| ❌ fails | {FIRST} | p95>10% |" in failed.summary
    assert f"| {FIRST} | p95 |" in failed.summary
    root = _tree((project.folder / "edgeseq-junit.xml").read_bytes())
    failures = {
        (case.get("classname"), case.get("name")) for case in root.iter("testcase")
        if case.find("failure") is not None
    }  # fmt: skip
    assert failures == {(model.name, "p95>10%") for model in MODELS[3:5]}
    assert root.get("tests") == str(len(list(root.iter("testcase")))) == str(2 * (4 + 2))


def test_the_action_passes_without_a_regression(project: Project) -> None:
    project.add_result("result.json")
    passed = project.run_step("Compare", INSTALLED, result="result.json", junit="out.xml")
    assert passed.code == 0, passed.output
    assert "::error" not in passed.output
    assert _tree((project.folder / "out.xml").read_bytes()).get("failures") == "0"


@pytest.mark.wheel
def test_the_action_installs_what_it_runs(project: Project) -> None:
    path = os.pathsep.join([str(Path(sys.base_prefix) / "bin"), "/usr/bin", "/bin"])
    installed = project.run_step("Install edgeseq", path, result="result.json")
    assert installed.code == 0, installed.output
    added = (project.temporary / "path").read_text("utf-8").strip()
    project.add_result("result.json", slower=1.5)
    failed = project.run_step("Compare", os.pathsep.join([added, path]), result="result.json")
    assert failed.code == 3, failed.output


def test_the_guides_pipelines_are_of_this_command(project: Project) -> None:
    [job] = yaml.safe_load(guide_file("workflow.yml"))["jobs"].values()
    given = job["steps"][-1]["with"]
    required = {key for key, value in ACTION["inputs"].items() if value.get("required")}
    assert required <= set(given) <= set(ACTION["inputs"])
    gitlab: dict[str, Any] = yaml.safe_load(guide_file("gitlab-ci.yml"))["compare-models"]
    project.add_result("result.json", slower=1.5)
    [compare] = [line for line in gitlab["script"] if "compare" in line]
    assert project.run_script(compare, INSTALLED).code == 3
    assert (project.folder / gitlab["artifacts"]["reports"]["junit"]).is_file()


def test_names_from_a_result_give_no_commands() -> None:
    name = "a\n::set-output name=x::y,file=z"
    checks = [
        ThresholdCheck(name, "p95>10%", "fails", "worse\r\n::error::"),
        ThresholdCheck("b\x1b[2J", "size>1%", "undecided", "<&>"),
        ThresholdCheck("c", "size>1%", "holds", ""),
    ]
    error, warning = github_annotations(checks, file="a,b:c%.json")
    assert error == (
        "::error file=a%2Cb%3Ac%25.json,title=a%0A%3A%3Aset-output name=x%3A%3Ay%2Cfile=z%3A "
        "p95>10%25::fails: worse%0D%0A::error::"
    )
    assert warning.startswith("::warning ")
    cases = list(_tree(junit_xml(checks)).iter("testcase"))
    assert [len(case.findall("skipped")) for case in cases] == [0, 1, 0]
    assert cases[1].get("classname") == r"b\x1b[2J"


def test_tables_are_between_marks_that_no_name_can_end(project: Project) -> None:
    result = make_result(LITTLE)
    run = result.runs[0]
    evil = replace(run, bundle=replace(run.bundle, name="::error::made up"))
    for name in ("edgeseq-baseline.json", "result.json"):
        write_json(project.folder / name, replace(result, runs=(evil,)))
    done = project.run_step("Compare", INSTALLED, result="result.json")
    lines = done.output.splitlines()
    [start] = [i for i, line in enumerate(lines) if line.startswith("::stop-commands::")]
    end = lines.index(f"::{lines[start].rpartition('::')[2]}::")
    assert start < lines.index("::error::made up") < end


def test_limits_hold_for_every_model_of_the_new_result(project: Project) -> None:
    project.add_result("result.json")
    old, new = project.folder / "edgeseq-baseline.json", project.folder / "result.json"
    rows = es.load_result(new).to_rows()
    smallest, largest = sorted(row["size_bytes"] for row in rows)
    checks = es.compare(old, new, budget=f"size={smallest}B p95=9s").check(())
    assert [(check.threshold, check.status) for check in checks].count(("p95≤9s", "holds")) == 2
    sizes = {check.bundle: check for check in checks if check.threshold.startswith("size≤")}
    assert {check.status for check in sizes.values()} == {"holds", "fails"}
    [failed] = [check for check in sizes.values() if check.status == "fails"]
    assert failed in es.compare(old, new, budget=f"size={smallest}B").regressions("p95>10%")
    assert es.compare(old, new, budget=f"size={largest}B").regressions("p95>10%") == ()
    # A model that OLD has not must keep them, too.
    result = make_result(LITTLE)
    added = replace(result.runs[0], bundle=replace(result.runs[0].bundle, name="added"))
    record = es.load_result(old)
    record.record = replace(result, runs=(*result.runs, added))
    record.path = None
    names = {check.bundle for check in es.compare(old, record, budget="size=1B").regressions(())}
    assert "added" in names


def test_a_limit_that_was_not_measured_does_not_pass(tmp_path: Path) -> None:
    result = make_result(Fake(models=MODELS[3:4], peaks=False, limited=False, n_queries=100))
    write_json(tmp_path / "new.json", result)
    checks = es.compare(tmp_path / "new.json", tmp_path / "new.json", budget="memory=1GB").check(())
    assert [check.status for check in checks] == ["unknown"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "limits nothing"),
        ('budget = "drop=1"', "limits nothing"),
        ("budget = 3", "is not a budget file"),
        ("budget", "is not a budget file"),
        ('fail_on = "p95>10"', "has no unit"),
        ('budget = "p95=10"', "p95"),
        ('fail-on = "p95>10%"', "unknown field `fail-on`"),
    ],
)
def test_a_wrong_budget_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "edgeseq-budget.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_budget_file(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)


def test_a_report_of_no_check_is_refused(project: Project) -> None:
    path, junit = project.folder / "edgeseq-baseline.json", project.folder / "x.xml"
    with pytest.raises(InputError, match="there is nothing to check"):
        compare(path, path, junit=junit)
    with pytest.raises(InputError, match="there is nothing to check"):
        compare(path, path, github=True)
    with pytest.raises(InputError, match="both write to stdout"):
        compare(path, path, github=True, json=True, fail_on=["p95>1%"])
    assert not junit.exists()
