"""The checks of a comparison for the places where continuous integration shows them.

JUnit's XML is read by GitLab, Jenkins, Azure and others; annotations are GitHub's workflow commands
(https://docs.github.com/actions/reference/workflow-commands-for-github-actions), and the summary is
the Markdown of a job's page there.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from edgeseq.errors import printable
from edgeseq.reporting.comparison import CheckStatus, Comparison, ThresholdCheck
from edgeseq.reporting.markdown import markdown_table

_SUITE_NAME = "edgeseq compare"
_ANNOTATIONS: dict[CheckStatus, str] = {
    "fails": "error", "unknown": "error", "undecided": "warning"
}  # fmt: skip
_SYMBOLS: dict[CheckStatus, str] = {"fails": "❌", "unknown": "❌", "undecided": "⚠️", "holds": "✅"}


def junit_xml(checks: Sequence[ThresholdCheck]) -> bytes:
    """One test case per check, of the class that is its model, in UTF-8.

    What fails, and what cannot be checked, is a failure; an undecided check is a skipped case,
    which fails no pipeline and stays visible.
    """
    elements = {"fails": "failure", "unknown": "failure", "undecided": "skipped"}
    found = [elements.get(check.status) for check in checks]
    counts = {
        "name": _SUITE_NAME,
        "tests": str(len(checks)),
        "failures": str(found.count("failure")),
        "errors": "0",
        "skipped": str(found.count("skipped")),
    }
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", counts)
    for check, element in zip(checks, found, strict=True):
        names = {"classname": printable(check.bundle), "name": printable(check.threshold)}
        case = ET.SubElement(suite, "testcase", names)
        reason = printable(f"{check.status}: {check.reason}")
        if element is None:
            ET.SubElement(case, "system-out").text = reason
        else:
            ET.SubElement(case, element, message=reason)
    ET.indent(root)
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def github_annotations(checks: Sequence[ThresholdCheck], *, file: str) -> list[str]:
    """A workflow command per check that does not hold; `file` is what the page links to."""
    return [
        f"::{_ANNOTATIONS[check.status]} file={_escape_property(file)},"
        f"title={_escape_property(f'{check.bundle}: {check.threshold}')}"
        f"::{_escape_data(f'{check.status}: {check.reason}')}"
        for check in checks
        if check.status in _ANNOTATIONS
    ]


def _escape_data(text: str) -> str:
    """As GitHub's toolkit escapes a message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def github_summary(comparison: Comparison, checks: Sequence[ThresholdCheck]) -> str:
    """The checks and all changes as two tables in Markdown."""
    check_lines = [
        (f"{_SYMBOLS[check.status]} {check.status}", check.bundle, check.threshold, check.reason)
        for check in checks
    ]
    change_lines = [
        (comparison.model_name(change), change.title, *change.cells)
        for change in comparison.changes
    ]
    return "\n".join(
        [
            "## edgeseq compare",
            "",
            markdown_table(("check", "model", "threshold", "reason"), check_lines),
            markdown_table(("model", "metric", "old", "new", "change", "interval"), change_lines),
        ]
    )
