"""Looks up known vulnerabilities of what edgeseq's dependencies bring, where the index answers.

    python benchmarks/studies/audit.py --extra convert --extra report

The packages are those of the bill of materials (`bill_of_materials.py`), looked up by pip-audit in
the advisories that PyPI serves. Exits with 1 for a known vulnerability, and with 2 where pip-audit
is not installed. Where the index cannot be reached, or does not serve advisories, that is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from studies.bill_of_materials import bill_of_materials

TIMEOUT_S = 300.0


class Audit(NamedTuple):
    """Known vulnerabilities as lines, and how many packages were and could not be looked up."""

    vulnerabilities: tuple[str, ...]
    audited: int
    skipped: int


def read_report(report: dict[str, Any]) -> Audit:
    """The findings of pip-audit's JSON."""
    vulnerabilities, audited, skipped = [], 0, 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            skipped += 1
            continue
        audited += 1
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory.get("fix_versions", ())) or "no release"
            known = f"{package['name']} {package['version']}: {advisory['id']}"
            vulnerabilities.append(f"{known}, fixed in {fixed}")
    return Audit(tuple(vulnerabilities), audited, skipped)


def audit(requirements: list[str]) -> Audit | str:
    """Asks the index about `NAME==VERSION` lines; the reason as text where it does not answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(requirements) + "\n")
        listed.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", listed.name]
        command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {TIMEOUT_S:.0f} s"
    try:
        return read_report(json.loads(done.stdout))
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]


def main(arguments: list[str]) -> int:
    """Prints what is known; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", action="append", default=[])
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("pip_audit") is None:
        sys.stderr.write("pip-audit is not installed; pip install 'edgeseq[dev]'\n")
        return 2
    parts = bill_of_materials("edgeseq", tuple(options.extra))["components"]
    found = audit([f"{part['name']}=={part['version']}" for part in parts])
    if isinstance(found, str) or not found.audited:
        reason = found if isinstance(found, str) else "it serves no advisories"
        sys.stdout.write(f"not audited, the index does not answer: {reason}\n")
        return 0
    for vulnerability in found.vulnerabilities:
        sys.stdout.write(f"{vulnerability}\n")
    sys.stdout.write(
        f"{found.audited} packages audited, {found.skipped} unknown to the index: "
        f"{len(found.vulnerabilities)} known vulnerabilities\n"
    )
    return 1 if found.vulnerabilities else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
