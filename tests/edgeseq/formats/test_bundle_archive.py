"""A bundle as one .zip: read as the folder is, and refused when it is unsafe."""

from __future__ import annotations

import contextlib
import json
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.errors import BundleError, OutputError
from edgeseq.formats.bundle_zip import open_bundle, pack_bundle

from .weather_bundle import FILES, manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "weather"
    path.mkdir()
    for name, content in {**FILES, "bundle.json": manifest(FILES)}.items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of the test: nothing may stay in it."""
    path = tmp_path / "scratch"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def packed(path: Path, members: dict[str, bytes], base: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(base + name, content)
    return path


def test_a_packed_bundle_is_the_same_bundle(folder: Path, tmp_path: Path, scratch: Path) -> None:
    pack_bundle(folder, tmp_path / "one.zip")
    pack_bundle(folder, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with open_bundle(tmp_path / "one.zip") as bundle, open_bundle(folder) as plain:
        assert bundle.manifest == plain.manifest
        assert bundle.model_path.read_bytes() == FILES["model.tflite"]
        assert [example.text for example in bundle.read_examples()] == ["fog"]
        unpacked = bundle.path
    assert not unpacked.exists()
    assert list(scratch.iterdir()) == []


def test_without_room_for_temporary_files_it_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_bundle(folder, tmp_path / "one.zip")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with (
        pytest.raises(OutputError, match="missing: cannot hold temporary files: found No such"),
        open_bundle(tmp_path / "one.zip"),
    ):
        pass
    with pytest.raises(OutputError, match="missing: cannot be written: found No such"):
        pack_bundle(folder, tmp_path / "two.zip")


@pytest.mark.parametrize("base", ["", "weather/", "the weather of today/"])
def test_a_folder_may_be_packed_with_itself_and_with_more(tmp_path: Path, base: str) -> None:
    members = {**FILES, "bundle.json": manifest(FILES), "notes.txt": b"mine"}
    path = packed(tmp_path / "b.zip", members, base)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/bundle.json", b"")
    with open_bundle(path) as bundle:
        assert bundle.manifest.name == "weather"
        assert not (bundle.path / "notes.txt").exists()


def _link(path: Path) -> None:
    info = zipfile.ZipInfo("model.tflite")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    info.filename = "other"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")


def _twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("labels.json", b'["x", "y"]')


def _add(name: str) -> Callable[[Path], None]:
    def add(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"x")

    return add


def _without(name: str, **extra: bytes) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        members = {**FILES, "bundle.json": manifest(FILES)}
        del members[name]
        packed(path, {**members, **extra})

    return rewrite


def _saying(**changes: object) -> Callable[[Path], None]:
    return lambda path: packed(path, {**FILES, "bundle.json": manifest(FILES, **changes)}) and None


def _entries(**sizes: int) -> dict[str, object]:
    entries = json.loads(manifest(FILES))["files"]
    for name, size in sizes.items():
        entries[f"{name}.tflite"]["size_bytes"] = size
    return entries


def _bomb(path: Path) -> None:
    """A model of zeros that is many times what bundle.json says."""
    content = bytes(60_000_000)
    packed(path, {**FILES, "bundle.json": manifest(FILES), "model.tflite": content})


def _honest_bomb(path: Path) -> None:
    content = bytes(60_000_000)
    files = {**FILES, "model.tflite": content}
    packed(path, {**files, "bundle.json": manifest(files)})


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a way up": (_add("../../outside"), r"unsafe to unpack: found '\.\./\.\./outside'"),
    "a way up inside": (_add("a/../../outside"), "unsafe to unpack"),
    "an absolute path": (_add("/outside"), "unsafe to unpack"),
    "a drive": (_add("c:outside"), "unsafe to unpack"),
    "a backslash": (_add("..\\outside"), "unsafe to unpack"),
    "a link": (_link, "a link or a device"),
    "a file twice": (_twice, "'labels.json' twice"),
    "too many entries": (
        lambda p: packed(p, {str(number): b"" for number in range(1_001)}),
        "1001 entries",
    ),
    "two bundles": (_add("other/bundle.json"), "2 files named bundle.json"),
    "no bundle": (_without("bundle.json"), "0 files named bundle.json"),
    "a file less": (_without("golden.json"), "lacks a member: expected golden.json"),
    "a bomb": (_bomb, "unpacks to more than is allowed"),
    "a bomb that says so": (_honest_bomb, "a bundle of 60.0 MB in an archive of"),
    "4 GB said": (_saying(files=_entries(model=4 << 30)), "a bundle of 4.29 GB"),
    "a size below 0": (_saying(files=_entries(model=-5)), "than is allowed|another size"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-30]), "neither a bundle folder nor"),
    "not a zip": (lambda p: p.write_bytes(b"PK\x03\x04 nonsense"), "neither a bundle folder nor"),
    "empty": (lambda p: p.write_bytes(b""), "neither a bundle folder nor"),
    "an escape in the name": (_saying(name="\x1b[2Jweather"), "a name that is not usable"),
    "a path as name": (_saying(name="../weather"), "a name that is not usable"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_in_one_line(
    case: str, folder: Path, tmp_path: Path, scratch: Path
) -> None:
    spoil, said = HOSTILE[case]
    path = tmp_path / "hostile.zip"
    pack_bundle(folder, path)
    spoil(path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=said) as caught, open_bundle(path):
        pass
    assert "\n" not in str(caught.value)
    assert "hostile.zip" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written, inside or outside"


def test_what_the_archive_itself_says_of_sizes_is_not_believed(
    folder: Path, tmp_path: Path
) -> None:
    """Its directory says 4 GB of a member that holds 64 bytes: 64 are read."""
    path = tmp_path / "b.zip"
    pack_bundle(folder, path)
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02", 0, content.rfind(b"model.tflite"))
    content[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(content)
    assert zipfile.ZipFile(path).getinfo("model.tflite").file_size == 0xFFFFFFF0
    with open_bundle(path) as bundle:
        assert bundle.model_path.stat().st_size == len(FILES["model.tflite"])


def test_a_damaged_archive_never_ends_otherwise_than_in_a_refusal(
    folder: Path, tmp_path: Path, scratch: Path
) -> None:
    path = tmp_path / "fuzzed.zip"
    pack_bundle(folder, path)
    sound = path.read_bytes()
    for number in range(0, len(sound), 7):
        content = bytearray(sound)
        content[number] ^= 1 << number % 8
        path.write_bytes(content)
        with contextlib.suppress(BundleError), open_bundle(path) as bundle:
            assert bundle.manifest.name == "weather"
    assert list(scratch.iterdir()) == []
