"""Conventions that a reader relies on: names, prose, one meaning per class name, imports.

The limits are shares, not zero: a word of the list may be right where it stands alone. A failure
lists the worst offenders; rename those that you added.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from .words import ODD_PHRASES, is_empty_name

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("edgeseq", "converters", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

MAX_EMPTY_NAMES_PERCENT = 1.0
MAX_REUSED_CLASS_NAMES = 3
MAX_ODD_PHRASES_PER_10_000_WORDS = 5.0
MAX_IMPORTS_INSIDE_FUNCTIONS = 40
MAX_FUNCTION_LINES = 80
MAX_FUNCTIONS_WITH_MANY_PARAMETERS = 10
MANY_PARAMETERS = 8
# Command functions list their options: each parameter is one.
OPTION_LISTS = (ROOT / "edgeseq" / "cli",)
PRODUCT = tuple(path for path in SOURCES if ROOT / "benchmarks" / "studies" not in path.parents)


def _bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_names_say_what_a_thing_is() -> None:
    names = [
        (name, f"{_relative(path)}:{line}")
        for path, tree in TREES.items()
        for name, line in _bound_names(tree)
    ]
    empty = [f"{name} ({where})" for name, where in names if is_empty_name(name)]
    percent = 100 * len(empty) / len(names)
    assert percent <= MAX_EMPTY_NAMES_PERCENT, f"{percent:.2f} %: {empty[:40]}"


def test_a_class_name_has_one_meaning() -> None:
    files = defaultdict(set)
    for path, tree in TREES.items():
        for node in tree.body if isinstance(tree, ast.Module) else ():
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].add(_relative(path))
    reused = {name: sorted(paths) for name, paths in files.items() if len(paths) > 1}
    assert len(reused) <= MAX_REUSED_CLASS_NAMES, reused


def _prose(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    strings = [
        node.value
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]
    return "\n".join([*strings, *re.findall(r"#\s?(.*)", text)])


def test_prose_is_plain_english() -> None:
    words, odd = 0, Counter[str]()
    for path in (*SOURCES, *PAGES):
        text = _prose(path)
        words += len(text.split())
        for line in text.splitlines():
            for phrase in ODD_PHRASES:
                odd.update(f"{found[0]!r} ({_relative(path)})" for found in phrase.finditer(line))
    per_10_000 = 1e4 * odd.total() / words
    assert per_10_000 <= MAX_ODD_PHRASES_PER_10_000_WORDS, (per_10_000, odd.most_common(40))


def test_imports_inside_functions_are_few_and_say_why() -> None:
    inside = []
    for path, tree in TREES.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                inside += [
                    (path, node.lineno, lines[node.lineno - 1])
                    for node in ast.walk(function)
                    if isinstance(node, ast.Import | ast.ImportFrom)
                ]
    unique = {(path, line): text for path, line, text in inside}
    silent = [
        f"{_relative(path)}:{line}"
        for (path, line), text in unique.items()
        if not re.search(r"# noqa:.* PLC0415 - \w+", text)
    ]
    assert not silent, f"say why: {silent}"
    assert len(unique) <= MAX_IMPORTS_INSIDE_FUNCTIONS, len(unique)


def test_functions_are_short() -> None:
    long = [
        f"{_relative(path)}: {function.name} has {size} lines"
        for path in PRODUCT
        if not any(folder in path.parents for folder in OPTION_LISTS)
        for function in _functions(path)
        if (size := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long, long


def test_few_functions_have_many_parameters() -> None:
    crowded = []
    for path in PRODUCT:
        if any(folder in path.parents for folder in OPTION_LISTS):
            continue
        for function in _functions(path):
            arguments = function.args
            names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            count = sum(name.arg not in ("self", "cls") for name in names)
            if count >= MANY_PARAMETERS:
                crowded.append(f"{_relative(path)}: {function.name} has {count}")
    assert len(crowded) <= MAX_FUNCTIONS_WITH_MANY_PARAMETERS, crowded
