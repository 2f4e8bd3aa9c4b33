"""The bill of materials names what the wheel's dependencies bring."""

from __future__ import annotations

from pathlib import Path

import msgspec

from studies.bill_of_materials import bill_of_materials, main


def test_it_names_each_dependency_with_version_licence_and_url(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    assert main(["--extra", "report", "--out", str(out)]) == 0
    bill = msgspec.json.decode(out.read_bytes())
    parts = {part["name"]: part for part in bill["components"]}
    assert bill["metadata"]["component"]["name"] == "edgeseq"
    assert {"numpy", "msgspec", "typer", "click", "jinja2", "markupsafe"} <= set(parts)
    assert "torch" not in parts, "no dependency of a user"
    numpy = parts["numpy"]
    assert numpy["purl"] == f"pkg:pypi/numpy@{numpy['version']}"
    assert all(part["licenses"][0]["license"]["name"] for part in parts.values())
    references = {part["bom-ref"] for part in (bill["metadata"]["component"], *parts.values())}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= references


def test_extras_bring_more() -> None:
    names = [
        {part["name"] for part in bill_of_materials("edgeseq", extras)["components"]}
        for extras in ((), ("convert",))
    ]
    assert names[0] < names[1]
    assert "tensorflow" in names[1] - names[0]
