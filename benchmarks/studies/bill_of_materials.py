"""Writes the software bill of materials of an installed edgeseq: its dependencies, with theirs.

    python benchmarks/studies/bill_of_materials.py --extra convert --extra report --out sbom.json

CycloneDX 1.5 (ECMA-424) as JSON: name, version, licence and package URL of each distribution that
the named extras bring into this environment, and what depends on what. `pip-audit` checks the same
environment against the known vulnerabilities, where its index answers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from edgeseq.errors import EdgeseqError, InputError
from edgeseq.formats.storage import write_json

_LICENCE_LENGTH = 64
"""Some packages have the whole text of their licence where its name belongs."""


def bill_of_materials(root: str, extras: tuple[str, ...]) -> dict[str, Any]:
    """The bill of materials of the distribution `root` with these extras, as plain values.

    Raises `InputError` when `root`, or something that it needs here, is not installed.
    """
    needs: dict[str, set[str]] = {}
    waiting = [(_normal(root), extras)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        for requirement in _requirements(name, wanted):
            needed = _normal(requirement.name)
            needs.setdefault(name, set()).add(needed)
            waiting.append((needed, tuple(sorted(requirement.extras))))
        needs.setdefault(name, set())
    main, *others = (_component(name) for name in (_normal(root), *sorted(needs)))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": main},
        "components": [part for part in others if part["name"] != main["name"]],
        "dependencies": [
            {"ref": _reference(name), "dependsOn": [_reference(other) for other in sorted(others_)]}
            for name, others_ in sorted(needs.items())
        ],
    }


def _normal(name: str) -> str:
    """A distribution's name in the form of package URLs (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as failure:
        raise InputError(
            "is not installed", where=name, fix="install edgeseq with the named extras"
        ) from failure


def _requirements(name: str, extras: tuple[str, ...]) -> list[Requirement]:
    """What a distribution needs on this machine with these extras."""
    requirements = map(Requirement, _distribution(name).requires or ())
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def _reference(name: str) -> str:
    return f"pkg:pypi/{name}@{_distribution(name).version}"


def _component(name: str) -> dict[str, Any]:
    metadata = _distribution(name).metadata
    licence = metadata.get("License-Expression") or metadata.get("License") or ""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    if not licence or len(licence) > _LICENCE_LENGTH:
        licence = ", ".join(classifiers) or "unknown"
    return {
        "type": "library",
        "bom-ref": _reference(name),
        "name": name,
        "version": _distribution(name).version,
        "licenses": [{"license": {"name": licence}}],
        "purl": _reference(name),
    }


def main(arguments: list[str]) -> int:
    """Prints how many packages there are, and writes the file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("sbom.json"))
    options = parser.parse_args(arguments)
    try:
        bill = bill_of_materials("edgeseq", tuple(options.extra))
        write_json(options.out, bill)
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{options.out}: {len(bill['components'])} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
