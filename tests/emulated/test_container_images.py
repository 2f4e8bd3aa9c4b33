"""The steps of the Dockerfiles, carried out without Docker in a new root of Debian."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeseq_benchmarks.devices.emulator import debian

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "docker"
# What Docker gives a container of its host: how names are resolved.
OF_THE_HOST = ("/etc/resolv.conf", "/etc/hosts")
# Whom this machine trusts. In the container under another name: Debian's package writes its own.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES_INSIDE = "/etc/ssl/of-the-host.crt"
_TIMEOUT_S = 900


class Step(NamedTuple):
    """An instruction of a Dockerfile."""

    keyword: str
    text: str


def read_steps(path: Path) -> list[Step]:
    """The instructions in their order; only what `Container` carries out is let through."""
    text = re.sub(r"^#.*\n", "", path.read_text("utf-8"), flags=re.M)
    lines = filter(str.strip, text.replace("\\\n", " ").splitlines())
    steps = [Step(*re.fullmatch(r"([A-Z]+) +(.+)", line).groups()) for line in lines]  # type: ignore[union-attr]
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}
    assert {step.keyword for step in steps} <= known
    assert [step.keyword for step in steps].index("FROM") == 0
    return steps


class Container:
    """A root folder in which steps are carried out one after the other, as by `docker build`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self.folder, self.user = "/", "0:0"
        self.entry_point: list[str] = []

    def build(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.keyword == "FROM":
                self._start(step.text)
            elif step.keyword == "COPY":
                self._copy(*step.text.split())
            elif step.keyword == "RUN":
                self.run(["sh", "-c", step.text])
            elif step.keyword == "ENV":
                name, value = step.text.split("=", 1)
                self.environment[name] = value
            elif step.keyword == "WORKDIR":
                self.folder = step.text
            elif step.keyword == "USER":
                self.user = step.text
            elif step.keyword == "ENTRYPOINT":
                self.entry_point = json.loads(step.text)

    def run(self, command: Sequence[str]) -> str:
        """What a command in the container prints to stdout; it must succeed."""
        user, group = self.user.split(":")
        done = subprocess.run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={self.root}"),
                *(f"--wd={self.folder}", "--mount-proc", f"--setuid={user}", f"--setgid={group}"),
                *command,
            ],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, image: str) -> None:
        """`debian:RELEASE-slim`, by mmdebstrap with this machine's sources and settings of apt."""
        release = re.fullmatch(r"debian:(\w+)-slim", image)
        assert release, image
        sources = [str(path) for path in debian.sources_here(release[1])]
        settings = debian._apt_settings()
        subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
                *(f"--aptopt={line}" for line in settings),
                *("--dpkgopt=path-exclude=/usr/share/doc/*", release[1], str(self.root), *sources),
            ],
            check=True,
            timeout=_TIMEOUT_S,
        )
        for name in OF_THE_HOST:
            shutil.copyfile(name, self.root / name.lstrip("/"))
        if CERTIFICATES.is_file():
            target = self.root / CERTIFICATES_INSIDE.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CERTIFICATES, target)
            self.environment["PIP_CERT"] = CERTIFICATES_INSIDE

    def _copy(self, *words: str) -> None:
        """Files into a folder, or a folder's content."""
        *sources, target = words
        for name in sources:
            source, folder = ROOT / name, self.root / target.lstrip("/")
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder, ignore=ignored)
            else:
                assert target.endswith("/"), target
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder)


@pytest.mark.emulated
@pytest.mark.timeout(1800)
def test_the_image_of_the_device_half(lstm_bundles: Sequence[Path], tmp_path: Path) -> None:
    image = Container(tmp_path / "root")
    image.build(read_steps(FOLDER / "device.Dockerfile"))
    bundle = next(path for path in lstm_bundles if path.name.endswith("dynamic_wi8_afp32"))
    work = image.root / "work"
    shutil.copytree(bundle, work / "lstm")

    def edgeseq(*arguments: str) -> str:
        return image.run([*image.entry_point, *arguments])

    assert "edgeseq" in edgeseq("--version")
    packages = json.loads(image.run(["pip", "list", "--format", "json"]))
    names = {package["name"] for package in packages}
    assert "ai-edge-litert" in names
    assert not names & {"tensorflow", "keras", "transformers", "torch"}
    [predicted] = json.loads(edgeseq("predict", "lstm", "The battery died.", "--json"))
    assert predicted["label"] in json.loads((bundle / "labels.json").read_text("utf-8"))
    edgeseq("bench", "lstm", "--quick", "--runner", "both", "--out", "lstm.json")
    result = json.loads((work / "lstm.json").read_text("utf-8"))
    assert {run["runner"] for run in result["runs"]} == {"native", "python"}
    assert all(run["predictions"]["predicted"] for run in result["runs"])
    assert (work / "lstm.json").stat().st_uid == 1000
    # The caches are in the mounted folder: nothing else may be written to.
    assert (work / ".cache" / "edgeseq").is_dir()


def _extras(steps: Sequence[Step]) -> set[str]:
    [extras] = [found for step in steps for found in re.findall(r"'/src\[(.+)\]'", step.text)]
    return set(extras.split(","))


def test_both_images_differ_in_their_extras_alone() -> None:
    steps = {path.stem: read_steps(path) for path in FOLDER.glob("*.Dockerfile")}
    device, workstation = steps["device"], steps["workstation"]
    assert _extras(device) == {"device"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {"convert", "report"} <= _extras(workstation) <= {*project["optional-dependencies"]}

    def without_extras(steps: Sequence[Step]) -> list[Step]:
        return [step._replace(text=re.sub(r"\[\S+\]'", "'", step.text)) for step in steps]

    assert without_extras(device) == without_extras(workstation)
