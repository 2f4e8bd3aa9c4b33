"""The workflows on GitHub: what they run exists, actions are pinned, one job may publish."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import edgeseq

ROOT = Path(__file__).parents[2]
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text("utf-8"))
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


def _steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, workflow in WORKFLOWS.items():
        for job in workflow["jobs"].values():
            yield from ((name, step) for step in job["steps"])


def test_actions_are_pinned_to_a_commit() -> None:
    used = [step["uses"] for _, step in _steps() if "uses" in step]
    assert len(used) > 4
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action


def test_workflows_run_targets_of_the_makefile() -> None:
    lines = [line for _, step in _steps() for line in step.get("run", "").splitlines()]
    targets = {line.split()[1] for line in lines if line.startswith("make ")}
    assert targets == {"test", "package"}
    assert targets <= TARGETS


def test_only_the_publishing_job_may_write() -> None:
    writing = set()
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}
        for job_name, job in workflow["jobs"].items():
            if job.get("permissions"):
                writing.add((name, job_name))
                assert job["permissions"] == {"id-token": "write"}
                assert all("run" not in step for step in job["steps"]), "no script has the token"
    assert writing == {("publish.yml", "publish")}


def test_both_kinds_of_processor_are_tested() -> None:
    runners = WORKFLOWS["test.yml"]["jobs"]["test"]["strategy"]["matrix"]["runner"]
    assert [runner.endswith("-arm") for runner in runners] == [False, True]


@pytest.mark.parametrize(
    ("tag", "code"), [(f"v{edgeseq.__version__}", 0), (edgeseq.__version__, 1), ("v0", 1)]
)
def test_a_release_has_the_tag_of_its_version(tag: str, code: int) -> None:
    [script] = [step["run"] for _, step in _steps() if step.get("name") == "Check the tag"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "GITHUB_REF_NAME": tag},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("::error " in done.stdout) == bool(code)
