"""The examples of README and docs: Python runs, suites are read, commands exist and are run.

A block that cannot run here has a comment right before it:

    <!-- needs: board -->      also phone, network, training, compiler: its commands are
                               still resolved
    <!-- output -->            what a program prints, or a picture made of text; right behind
                               commands that run here what they print, where … stands for
                               anything and a line of it for any lines
    <!-- fragment -->          part of a file in a format that no test reads
    <!-- file: NAME -->        a file that the page's later examples use
"""

from __future__ import annotations

import doctest
import inspect
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import typer.main
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import edgeseq as es
from edgeseq.cli.app import app
from edgeseq.formats.bundle_manifest import Lowering, RecipeName
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.thresholds import parse_thresholds
from edgeseq.suite.schema import read_suite

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
READMES = [*PAGES[:2], *sorted((ROOT / "benchmarks").rglob("README.md"))]
MARK = re.compile(
    r"<!-- (needs: (?:board|phone|network|training|compiler)|output|fragment|demo|file: \S+) -->"
)
# A module may be written from its package on: `convert/pipeline.py`.
SOURCES = (
    *("edgeseq", "converters", "converters/edgeseq_converters"),
    *("benchmarks", "benchmarks/edgeseq_benchmarks", "benchmarks/studies"),
)
# Commands that answer in a second from the files of `example_files`.
CHEAP = (
    *("inspect", "predict", "recommend", "report", "compare", "data show mine.csv"),
    "push --dry-run",
    "convert sentiment.keras --tokenizer tokenizer.json --data reviews.csv --recipe float32 "
    "--out bundles/float",
    "convert sentiment.keras --tokenizer tokenizer.json --data reviews.csv --recipe "
    "dynamic_wi8_afp32 --out bundles/int8",
)
PROGRAM = (sys.executable, "-m", "edgeseq")
COMPLETED: dict[tuple[str, ...], str] = {}
EXIT_CODES = (0, 3)  # 3: no model within the budget, or a regression


class Block(NamedTuple):
    """A fenced block: its language, text, and the mark before it."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def label(self) -> str:
        """For the name of a test: `README.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    fence: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if fence is None:
            fence = number
            continue
        mark = MARK.fullmatch(lines[fence - 1].strip())
        text = "\n".join(lines[fence + 1 : number]) + "\n"
        yield Block(page, fence + 1, lines[fence][3:].strip(), text, mark[1] if mark else "")
        fence = None
    assert fence is None, f"{page}: a block is not closed"


BLOCKS_OF = {page: list(blocks_of(page)) for page in PAGES}
BLOCKS = [block for blocks in BLOCKS_OF.values() for block in blocks]
SHELL = [block for block in BLOCKS if block.language == "" and block.mark not in ("output", "demo")]
UNMARKED = [block for block in BLOCKS if not block.mark]


def by_label(block: Block) -> str:
    """Names a test after the block's page and line."""
    return block.label


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of each command, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def edgeseq_arguments(words: list[str]) -> list[str] | None:
    """The arguments if the command is edgeseq, however it is started; else None."""
    if words[0] == "sudo":
        words = words[1:]
    return words[1:] if Path(words[0]).name == "edgeseq" else None


def find_command(arguments: list[str]) -> tuple[Any, list[str]]:
    """The verb's command, and the arguments that are left for it."""
    command: Any = typer.main.get_command(app)
    arguments = list(arguments)
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"no command {arguments[0]!r}"
        command = command.commands[arguments.pop(0)]
    return command, arguments


def check_arguments(arguments: list[str]) -> None:
    """Parses a command as the command line does, and the values with a grammar of their own."""
    command, rest = find_command(arguments)
    context = command.make_context("edgeseq", rest)
    values = context.params
    recipes = values.get("recipe") or ()  # export takes one, convert several
    for recipe in (recipes,) if isinstance(recipes, str) else recipes:
        assert recipe in (*get_args(RecipeName), "auto")
    for lowering in values.get("lowering") or ():
        assert lowering in (*get_args(Lowering), "auto")
    if values.get("budget"):
        parse_budget(values["budget"])
    for condition in values.get("fail_on") or ():
        parse_thresholds(condition)


@pytest.mark.parametrize("block", UNMARKED, ids=by_label)
def test_blocks_are_of_a_kind_that_is_tested(block: Block) -> None:
    assert block.language in ("", "python", "toml"), f"mark the {block.language} block"


@pytest.mark.parametrize("block", SHELL, ids=by_label)
def test_commands_exist(block: Block) -> None:
    for words in commands_of(block.text):
        arguments = edgeseq_arguments(words)
        if arguments is not None:
            check_arguments(arguments)
        elif not block.mark:
            check_other_command(words)


def check_other_command(words: list[str]) -> None:
    """Checks make's targets, pip's extras and the paths of scripts in this repository."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        assert set(words[1:]) <= set(targets)
    elif words[:2] == ["pip", "install"]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        extras = re.findall(r"\[(.+)\]", words[-1])
        assert set(",".join(extras).split(",")) <= set(project["optional-dependencies"])
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    else:
        pytest.fail(f"unknown command {words[0]!r}: mark the block with what it needs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_sentences_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for code in re.findall(r"`edgeseq ([^`]+)`", text):
        command, rest = find_command(shlex.split(code.replace("\n", " ")))
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, code


def test_the_python_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    documented = set(re.findall(r"^::: edgeseq\.(\w+)$", page, re.M))
    # Two are named by their modules, the error is part of the module `errors`.
    assert documented == {*es.__all__} - {"devices", "Prediction", "EdgeseqError"}


def test_the_skill_names_options_and_targets_that_exist() -> None:
    """Its sentences name options without their command."""
    text = (ROOT / "docs" / "SKILL.md").read_text("utf-8")
    known = set(re.findall(r"`(--[\w-]+)`", (ROOT / "docs" / "cli.md").read_text("utf-8")))
    used = set(re.findall(r"--[a-z][\w-]*", text))
    assert len(used) > 10
    assert used <= known, used - known
    for name in re.findall(r"`es\.(\w+)`", text):
        assert name in es.__all__


def test_examples_of_the_help_are_complete() -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    examples = re.findall(r"^(?:Example:|.*Example:$)\s*edgeseq (.+)$", text, re.M)
    assert len(examples) > 10
    for example in examples:
        check_arguments(shlex.split(example))


@pytest.mark.parametrize(
    "block",
    [block for block in UNMARKED if block.language == "toml"],
    ids=by_label,
)
def test_suites_are_read(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(block.text, encoding="utf-8")
    assert read_suite(path).models


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_in_sentences_exist(page: Path) -> None:
    folders = (ROOT, *(ROOT / name for name in SOURCES))
    for path in re.findall(r"`([\w/]+(?:\.py|\w_\*\.py|/))`", page.read_text("utf-8")):
        if path.endswith("/") and page.name not in ("architecture.md", "CONTRIBUTING.md"):
            continue  # an example's folder, not one of this repository
        assert any(list(folder.glob(path.rstrip("/"))) for folder in folders), path


@pytest.mark.parametrize("page", READMES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Pages of the site are checked by `mkdocs build --strict`; these are outside of it."""
    for link in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for link, anchor in re.findall(r"\]\(([^)]*\.md)#([^)]*)\)", page.read_text("utf-8")):
        headings = re.findall(r"^#+ (.*)$", (page.parent / link).read_text("utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


@pytest.mark.slow
@pytest.mark.usefixtures("brief_quick_runs")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_run(
    page: Path, example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(example_files, tmp_path / "page")
    monkeypatch.chdir(tmp_path / "page")
    namespace: dict[str, Any] = {"__name__": "example"}
    for block, following in itertools.zip_longest(BLOCKS_OF[page], BLOCKS_OF[page][1:]):
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and not block.mark:
            code = compile(block.text, block.label, "exec")
            exec(code, namespace)  # noqa: S102 - the documentation's own examples
        elif block.language == "" and not block.mark:
            check_output(run_cheap_commands(block), following)


EXAMPLES_IN_ORDER = (
    *("load_dataset", "list_datasets", "save_dataset", "summarize_dataset", "load_model"),
    *("convert", "convert_all", "convert_to_tflite", "bench", "load_bundle", "inspect"),
    *("export", "check_export", "push"),
    *("load_result", "report", "recommend", "compare"),
)
EXAMPLES_NOT_RUN = {
    **{"bench_all": "a board", "run": "training", "train": "training", "search": "training"},
    "describe_weights": "weights of PyTorch",
    **{"fetch_dataset": "a network", "pull": "a network"},
    "serve": "an interruption",
}


@pytest.mark.slow
@pytest.mark.usefixtures("brief_quick_runs")
def test_examples_of_the_api_run(
    example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the docstrings, one after the other with the names that earlier ones define."""
    assert {*EXAMPLES_IN_ORDER, *EXAMPLES_NOT_RUN} == {
        name for name in es.__all__ if inspect.isfunction(getattr(es, name))
    }
    shutil.copytree(example_files, tmp_path / "page")
    monkeypatch.chdir(tmp_path / "page")
    results = {name: es.load_result(f"{name}.json") for name in ("old", "new")}
    namespace: dict[str, Any] = {"es": es, **results}
    for name in EXAMPLES_IN_ORDER:
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(getattr(es, name)) or "")
        assert examples, name
        for example in examples:
            mode = "eval" if example.want else "exec"
            value = eval(compile(example.source, name, mode), namespace)  # noqa: S307
            if example.want:
                assert repr(value) == example.want.strip()


def run_cheap_commands(block: Block, program: Sequence[str] = PROGRAM) -> str:
    """Runs those commands of a block that answer in a second; what they print to stdout."""
    listed = [edgeseq_arguments(words) for words in commands_of(block.text)]
    return "".join(
        run_command(arguments, program)
        for arguments in listed
        if arguments and " ".join(arguments).startswith(CHEAP)
    )


def check_output(shown: str, following: Block | None) -> None:
    """Compares what commands printed with the block behind them, if that is their output."""
    if following is None or following.mark != "output" or not shown:
        return
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r" *\n"
        for line in following.text.splitlines()
    )
    assert re.fullmatch(pattern, shown), f"{following.label}\n{shown}"


def run_command(arguments: list[str], program: Sequence[str] = PROGRAM) -> str:
    """What a command prints to stdout; each runs once.

    Fails with its messages unless its code is one of `EXIT_CODES`.
    """
    command = (*program, *arguments)
    if command in COMPLETED:
        return COMPLETED[command]
    environment = {**os.environ, "XDG_CONFIG_HOME": str(Path.cwd() / "config"), "COLUMNS": "100"}
    finished = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = finished.stdout + finished.stderr
    assert finished.returncode in EXIT_CODES, f"edgeseq {shlex.join(arguments)}\n{output}"
    COMPLETED[command] = finished.stdout
    return finished.stdout


def published_schema(name: str) -> Validator:
    """The validator of a schema as the site and the wheel have it."""
    path = ROOT / "docs" / "schemas" / f"{name}.schema.json"
    schema = json.loads(path.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.slow
def test_stored_files_fit_the_published_schemas(example_files: Path, tmp_path: Path) -> None:
    es.report([example_files / "result.json"]).save(tmp_path / "report")
    bundle = example_files / "bundles" / "lstm"
    files = {
        "bundle": bundle / "bundle.json",
        "golden": bundle / "golden.json",
        "result": example_files / "result.json",
        "summary": tmp_path / "report" / "summary.json",
    }
    stored = [(name, json.loads(path.read_text("utf-8"))) for name, path in files.items()]
    lines = (bundle / "eval.jsonl").read_text("utf-8").splitlines()
    stored += [("example", json.loads(line)) for line in lines]
    for name, content in stored:
        validator = published_schema(name)
        validator.validate(content)
        # Without its first required field it is of no version of this format.
        required = next(key for key in content if key not in ("schema_version", "meta"))
        assert not validator.is_valid({k: v for k, v in content.items() if k != required}), name


def test_suites_and_budgets_fit_the_published_schemas() -> None:
    suite, budget = published_schema("suite"), published_schema("budget")
    paths = sorted((ROOT / "edgeseq" / "suites").glob("*.toml"))
    assert len(paths) > 3
    for path in paths:
        content = tomllib.loads(path.read_text("utf-8"))
        suite.validate(content)
        assert not suite.is_valid({**content, "unknown": 1})
    [text] = [block.text for block in BLOCKS if block.mark == "file: edgeseq-budget.toml"]
    budget.validate(tomllib.loads(text))
    assert not budget.is_valid({"fail_on": 1})
