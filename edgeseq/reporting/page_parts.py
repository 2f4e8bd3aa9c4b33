"""What the report and the page around a live one share: policy, colours and templates."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from edgeseq.reporting.charts.theme import css_variables


def content_policy(*scripts: str, further: str = "") -> str:
    """A content security policy that lets these scripts run and nothing be fetched, except what
    `further` directives allow."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        f"base-uri 'none'; form-action 'none'{further}"
    )


def palette_css() -> str:
    """The colours of light mode, dark mode and print, as CSS variables."""
    light, dark = css_variables(dark=False), css_variables(dark=True)
    return (
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"@media print{{:root{{{light}}}}}\n"
    )


def template_text(name: str) -> str:
    """A file of `templates/`."""
    return (resources.files("edgeseq.reporting") / "templates" / name).read_text(encoding="utf-8")
