"""Unpacking takes the named members and nothing else, whatever the archive holds."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import FetchError, OutputError
from edgeseq.formats import archives
from edgeseq.formats.archives import extract_members, read_members


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_tar_link(name: str, kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type = kind
        info.linkname = "/etc/hostname"
        archive.addfile(info)
    return buffer.getvalue()


BOTH = pytest.mark.parametrize("make", [make_zip, make_tar])


@BOTH
def test_named_members_are_read_in_the_order_asked_for(make, tmp_path: Path) -> None:
    path = tmp_path / "some.archive"
    path.write_bytes(make({"p/a.txt": b"one", "p/b.txt": b"two", "p/c.txt": b"three"}))
    read = read_members(path, ["p/c.txt", "p/a.txt"])
    assert list(read.items()) == [("p/c.txt", b"three"), ("p/a.txt", b"one")]


@BOTH
def test_archive_inside_an_archive(make) -> None:
    outer = make({"in.tar.gz": make_tar({"x": b"deep"})})
    assert read_members(read_members(outer, ["in.tar.gz"])["in.tar.gz"], ["x"]) == {"x": b"deep"}


@BOTH
def test_missing_member(make) -> None:
    with pytest.raises(FetchError, match=r"lacks a member: expected b\.txt"):
        read_members(make({"a.txt": b""}), ["a.txt", "b.txt"])


@BOTH
def test_members_beyond_the_limit_are_refused(make) -> None:
    archive = make({"a": bytes(600), "b": bytes(600)})
    assert len(read_members(archive, ["a"], limit_bytes=600)["a"]) == 600
    with pytest.raises(FetchError, match="more than is allowed"):
        read_members(archive, ["a", "b"], limit_bytes=1199)


def test_bomb_on_the_way_to_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SCAN_LIMIT_BYTES", 1 << 20)
    with pytest.raises(FetchError, match="more than is allowed"):
        read_members(make_tar({"filler": bytes(4 << 20), "a": b"x"}), ["a"])


def test_endless_name_of_a_tar_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SCAN_LIMIT_BYTES", 1 << 20)
    info = tarfile.TarInfo("././@LongLink")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 1 << 33
    header = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20))
    with pytest.raises(FetchError, match="more than is allowed"):
        read_members(header, ["a"])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, b"6"])
def test_links_folders_and_pipes_in_a_tar_are_refused(kind: bytes) -> None:
    with pytest.raises(FetchError, match="not a plain file"):
        read_members(make_tar_link("a", kind), ["a"])


def test_link_in_a_zip_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(FetchError, match="not a plain file"):
        read_members(buffer.getvalue(), ["a"])


@pytest.mark.parametrize("target", ["../out", "/out", "a/../../out", "", "a\\b"])
def test_target_outside_the_folder_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="below the output folder"):
        extract_members(make_zip({"a": b"x"}), {"a": target}, tmp_path / "deep")
    assert list(tmp_path.rglob("*")) == []


@BOTH
def test_extract_writes_all_or_nothing(make, tmp_path: Path) -> None:
    archive = make({"../evil": b"x", "m/a": b"1", "m/b": bytes(3 << 20)})
    with pytest.raises(FetchError, match="lacks"):
        extract_members(archive, {"m/a": "a", "m/missing": "z"}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    written = extract_members(archive, {"m/a": "new/a.txt", "m/b": "b"}, tmp_path)
    assert written == {"m/a": tmp_path / "new/a.txt", "m/b": tmp_path / "b"}
    assert (tmp_path / "new/a.txt").read_bytes() == b"1"
    assert (tmp_path / "b").stat().st_size == 3 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "new"]


def test_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        extract_members(make_zip({"a": b"x"}), {"a": "a"}, tmp_path / "file")


def check_ends_in_one_line(archive: bytes) -> None:
    try:
        read = read_members(archive, ["a"])
    except FetchError as error:
        line = str(error)
    else:
        line, read = "", dict(read)
        assert list(read) == ["a"]
    assert "\n" not in line


@given(st.binary(max_size=400), st.integers(0, 2))
def test_cut_and_mixed_archives_end_in_one_line(noise: bytes, kind: int) -> None:
    good = (make_tar({"a": b"content " * 20}), make_zip({"a": b"content " * 20}), b"")[kind]
    half = len(good) // 2
    for archive in (noise, good[:half] + noise, good[:half], good[:half] + noise + good[half:]):
        check_ends_in_one_line(archive)


@BOTH
def test_every_byte_changed_ends_in_one_line(make) -> None:
    good = make({"a": b"content " * 20})
    for place, byte in enumerate(good):
        for other in {0, 0xFF, byte ^ 1, byte ^ 0x80}:
            check_ends_in_one_line(good[:place] + bytes([other]) + good[place + 1 :])


def test_every_byte_of_a_tar_header_changed_ends_in_one_line() -> None:
    good = gzip.decompress(make_tar({"a": b"content " * 20}))
    for place in range(512):
        for other in (0, 0xFF, 0x80, *b"xgLKS1"):
            header = bytearray(good[:512])
            header[place] = other
            header[148:156] = b" " * 8  # the checksum is taken over blanks in its own place
            header[148:156] = b"%06o\0 " % sum(header)
            check_ends_in_one_line(gzip.compress(bytes(header) + good[512:], 1))
