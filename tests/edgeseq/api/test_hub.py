"""Push and pull through the hub's own client, against a stand-in for its HTTP API on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import edgeseq as es
from edgeseq.errors import InputError
from edgeseq.formats.export_folder import (
    ExportExample,
    ExportGolden,
    ExportManifest,
    write_export_files,
)
from edgeseq.formats.result import Finding
from edgeseq.formats.storage import sha256_file, write_json

from ...fake_results import MODELS, Fake, make_result
from ..formats.weather_bundle import FILES, manifest
from .hub_server import HubRepository, HubServer, serve_hub

pytest.importorskip("huggingface_hub")
REPOSITORY = "me/weather"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "weather"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "bundle.json").write_bytes(manifest(FILES))
    return folder


@pytest.fixture
def result_path(bundle: Path, tmp_path: Path) -> Path:
    """A made-up result of the bundle."""
    record = make_result(Fake(models=MODELS[:1], n_examples=300))
    sha256 = es.load_bundle(bundle).manifest.files["model.tflite"].sha256
    (run,) = record.runs
    identity = msgspec.structs.replace(run.bundle, name="weather", model_sha256=sha256)
    runs = (msgspec.structs.replace(run, bundle=identity),)
    write_json(tmp_path / "result.json", msgspec.structs.replace(record, runs=runs))
    return tmp_path / "result.json"


@pytest.fixture
def export_folder(bundle: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(b"TFL3 for an app")
    description = ExportManifest(
        target="mediapipe", bundle="weather", bundle_sha256=sha256_file(bundle / "bundle.json"),
        task="sentiment", recipe="float32", lowering="loop", labels=("cold", "warm"), files={},
        edgeseq_version="0.1.0",
    )  # fmt: skip
    example = ExportExample("rain", (1,), (0.5, 0.5))
    golden = ExportGolden("probabilities", "none", 0.01, (example,))
    write_export_files(folder, description, golden, "how to call it\n")
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with serve_hub() as server:
        yield server


def run_edgeseq(hub: HubServer, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process whose hub is the stand-in, logged in by HF_TOKEN."""
    finished = subprocess.run(
        [sys.executable, "-m", "edgeseq", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(folder / "hf-home"),
            "HF_TOKEN": hub.token,
            "HF_HUB_DISABLE_XET": "1",  # the stand-in has Git LFS, not Xet's storage
            "HF_HUB_DISABLE_TELEMETRY": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert hub.token not in finished.stdout + finished.stderr
    holders = [p for p in folder.rglob("*") if p.is_file() and hub.token in read_loosely(p)]
    assert holders == [], "the token is stored nowhere"
    return finished


def read_loosely(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def files_of_card(card: str) -> dict[str, str]:
    """The files that a card lists, with their SHA-256."""
    section = card[card.index("## Files") :]
    return dict(re.findall(r"^\| ([^|]+) \| [^|]+ \| ([0-9a-f]{64}) \|$", section, re.M))


def test_the_hub_receives_what_the_card_lists_and_gives_it_back(
    hub: HubServer, bundle: Path, result_path: Path, export_folder: Path, tmp_path: Path
) -> None:
    pushed = run_edgeseq(
        hub, tmp_path, "push", "weather", REPOSITORY, "--result", "result.json",
        "--export", "app", "--licence", "apache-2.0", "--card", "card.md", "--json",
    )  # fmt: skip
    assert pushed.returncode == 0, pushed.stderr
    repository = hub.repositories[REPOSITORY]
    assert repository.private
    assert repository.commits == 2, "one commit after the initial one"
    assert any(line.startswith("PUT /storage/") for line in hub.requests), "Git LFS was used"
    card = repository.files["README.md"].decode()
    assert (tmp_path / "card.md").read_text() == card
    received = {
        path: hashlib.sha256(content).hexdigest()
        for path, content in repository.files.items()
        if path not in (".gitattributes", "README.md")
    }
    assert files_of_card(card) == received
    assert {"bundle.json", *FILES, "exports/mediapipe/export.json"} <= set(received)
    assert json.loads(pushed.stdout)["commit"] == repository.head

    pulled = run_edgeseq(hub, tmp_path, "pull", f"{REPOSITORY}@main", "--out", "copy")
    assert pulled.returncode == 0, pulled.stderr
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == sorted(
        path.name for path in bundle.iterdir()
    )
    for path in bundle.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()

    again = run_edgeseq(hub, tmp_path, "push", "weather", REPOSITORY, "--json")
    assert again.returncode == 0, again.stderr
    assert all(name.startswith("exports/") for name in json.loads(again.stdout)["removed"])
    card = repository.files["README.md"].decode()
    assert {*files_of_card(card), "README.md", ".gitattributes"} == set(repository.files)


def test_pulled_files_are_checked_like_any_foreign_bundle(
    hub: HubServer, bundle: Path, tmp_path: Path
) -> None:
    hub.repositories[REPOSITORY] = HubRepository(private=True)
    files = hub.repositories[REPOSITORY].files
    sound = {path.name: path.read_bytes() for path in bundle.iterdir()}
    changes: tuple[tuple[dict[str, bytes | None], str], ...] = (
        ({"model.tflite": FILES["model.tflite"][:-1] + b"x"}, "does not have the SHA-256"),
        ({"model.tflite": FILES["model.tflite"] + b"x"}, "is larger than it may be"),
        ({"labels.json": None}, "labels.json: the Hugging Face hub refused"),
        ({"bundle.json": manifest({**FILES, "../out": b""})}, "does not list the files of a"),
    )
    for change, message in changes:
        files.clear()
        files.update({k: v for k, v in {**sound, **change}.items() if v is not None})
        pulled = run_edgeseq(hub, tmp_path, "pull", REPOSITORY, "--out", "copy")
        assert pulled.returncode == 2
        assert message in pulled.stderr
        assert not (tmp_path / "copy").exists()


def test_refusals_are_one_line_without_the_token(
    hub: HubServer, bundle: Path, tmp_path: Path
) -> None:
    hub.refusal = f"no rights for {hub.token} here"
    refused = run_edgeseq(hub, tmp_path, "push", "weather", REPOSITORY)
    assert refused.returncode == 2
    assert "no rights for … here" in refused.stderr
    assert refused.stderr.count("error:") == 1
    assert "hf auth login" in refused.stderr
    hub.refusal = ""
    absent = run_edgeseq(hub, tmp_path, "pull", "me/absent@v1")
    assert absent.returncode == 2
    assert "Repository Not Found" in absent.stderr


@pytest.mark.parametrize(
    ("private", "name", "message"),
    [
        (True, "model.safetensors", "holds something else than a bundle"),
        (False, "bundle.json", "is public, and a bundle holds test texts"),
    ],
)
def test_other_repositories_are_left_alone(
    hub: HubServer, bundle: Path, private: bool, name: str, message: str
) -> None:
    hub.repositories[REPOSITORY] = HubRepository(private=private)
    hub.repositories[REPOSITORY].files[name] = b"{}"
    before = dict(hub.repositories[REPOSITORY].files)
    refused = run_edgeseq(hub, bundle.parent, "push", "weather", REPOSITORY)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert hub.repositories[REPOSITORY].files == before


def metadata_of(card: str) -> dict[str, Any]:
    """The front matter as the hub's client reads it."""
    from huggingface_hub import ModelCard

    data: dict[str, Any] = ModelCard(card, ignore_metadata_errors=False).data.to_dict()
    return data


def test_the_card_has_the_numbers_of_the_result(
    bundle: Path, result_path: Path, export_folder: Path
) -> None:
    upload = es.push(
        bundle, REPOSITORY, results=[result_path], exports=[export_folder],
        licence="cc-by-sa-4.0", dry_run=True,
    )  # fmt: skip
    assert upload.commit is None
    measured = es.load_result(result_path)["weather"]
    data = metadata_of(upload.card)
    assert data["license"] == "cc-by-sa-4.0"
    assert data["pipeline_tag"] == "text-classification"
    (entry,) = data["model-index"]
    (metric,) = entry["results"][0]["metrics"]
    assert (metric["type"], metric["value"]) == ("accuracy", measured.score)
    assert measured.score_ci95 is not None
    assert metric["args"]["confidence_interval_95"] == list(measured.score_ci95)
    assert measured.memory.process is not None
    assert f"{measured.memory.process / 1e6:.0f} MB" in upload.card
    assert "Cortex-A76" in upload.card
    assert "edgeseq pull me/weather --out weather" in upload.card
    assert 'es.pull("me/weather", out="weather")' in upload.card
    assert "cold, warm" in upload.card


def test_the_card_shows_no_figure_of_an_invalid_measurement(
    bundle: Path, result_path: Path
) -> None:
    record = es.load_result(result_path).record
    finding = Finding("load", "invalid", "other programs used the *processor*")
    invalid = es.api.result.Result(msgspec.structs.replace(record, findings=(finding,)))
    card = es.push(bundle, REPOSITORY, results=[invalid], dry_run=True).card
    assert "model-index" not in metadata_of(card)
    assert "Cortex-A76" not in card
    assert "is invalid and not shown: " in card
    assert r"other programs used the \*processor\*" in card


def test_a_card_without_a_result_claims_nothing(bundle: Path) -> None:
    card = es.push(bundle, REPOSITORY, dry_run=True).card
    data = metadata_of(card)
    assert "model-index" not in data
    assert data["license"] == "unknown"
    assert "Not measured on the test split" in card
    assert "has not stated a licence" in card


def test_text_of_a_bundle_is_no_markup_in_its_card(tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    files = {**FILES, "labels.json": b'["<script>", "](javascript:x)"]'}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "bundle.json").write_bytes(manifest(files))
    card = es.push(folder, REPOSITORY, dry_run=True).card
    assert "<script>" not in card
    assert "\\](javascript:" in card


def test_names_results_and_exports_that_do_not_fit(
    bundle: Path, export_folder: Path, tmp_path: Path
) -> None:
    for name in ("weather", "me/we ather", "../weather", "me/weather/x", ""):
        with pytest.raises(InputError, match="expected owner/name"):
            es.push(bundle, name, dry_run=True)
        with pytest.raises(InputError, match="expected owner/name"):
            es.pull(name, out=tmp_path / "copy")
    with pytest.raises(InputError, match="is not a licence identifier"):
        es.push(bundle, REPOSITORY, licence="Apache 2", dry_run=True)
    foreign = es.api.result.Result(make_result(Fake(models=MODELS[:1], n_examples=300)))
    with pytest.raises(InputError, match="no measurement of this bundle"):
        es.push(bundle, REPOSITORY, results=[foreign], dry_run=True)
    (bundle / "bundle.json").write_bytes(manifest(FILES, name="other"))
    with pytest.raises(InputError, match="is an export of another bundle"):
        es.push(bundle, REPOSITORY, exports=[export_folder], dry_run=True)


def test_without_the_extra_a_card_is_written_and_a_push_says_what_to_install(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "edgeseq.api.hub_client", raising=False)
    assert es.push(bundle, REPOSITORY, dry_run=True).card
    for call in (
        lambda: es.push(bundle, REPOSITORY),
        lambda: es.pull(REPOSITORY, out=tmp_path / "copy"),
    ):
        with pytest.raises(InputError, match=r"run: .+\[hub\]'"):
            call()
