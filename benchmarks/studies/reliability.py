"""The counts in `docs/reliability.md`: what was tried, and how often.

    EDGESEQ_COUNTS=$PWD/benchmarks/studies/reliability.json make test-faults
    EDGESEQ_COUNTS=… EDGESEQ_FUZZ_SECONDS=300 make test-fuzz
    EDGESEQ_COUNTS=… python benchmarks/studies/known_truth.py
    python benchmarks/studies/reliability.py --write

The fault tests, the fuzzer and the study write their counts into the file that EDGESEQ_COUNTS
names; this script writes them into the page.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORED = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- counts -->\n", "<!-- /counts -->\n"


def record(what: str, times: int) -> None:
    """Keeps a count in the file that EDGESEQ_COUNTS names; does nothing without it.

    Processes that run beside each other (`pytest -n`) do so in turn.
    """
    named = os.environ.get("EDGESEQ_COUNTS")
    if named is None:
        return
    with Path(named).open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        counts = json.loads(file.read() or "{}")
        counts[what] = times
        file.truncate(0)
        file.write(json.dumps(counts, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def page(text: str, counts: dict[str, int]) -> str:
    """The page with the counts as a table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    rows = "".join(f"| {what} | {times:,} |\n" for what, times in sorted(counts.items()))
    return f"{before}{begin}\n| tried | times |\n|---|---|\n{rows}\n{end}{after}"


def main(arguments: list[str]) -> int:
    """Prints the page, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args(arguments)
    text = page(PAGE.read_text(encoding="utf-8"), json.loads(STORED.read_text(encoding="utf-8")))
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
