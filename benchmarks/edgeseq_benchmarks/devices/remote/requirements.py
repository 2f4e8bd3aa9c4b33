"""What a device needs before anything is measured there, and what to type where it is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeseq.errors import DeviceError
from edgeseq.formats.codec import from_builtins
from edgeseq.subprocesses.child_process import last_line
from edgeseq_benchmarks.devices.base import Device
from edgeseq_benchmarks.devices.doctor.facts import PYTHON_PROBE, PythonFacts
from edgeseq_benchmarks.devices.wheels import (
    LITERT,
    NEEDED_MODULES,
    OLDEST_PYTHON,
    RUNTIME_MODULES,
    processor_of,
    runtime_for,
)

RUN_FOLDER = Path(__file__).with_name("run_folder.py")
_NOT_FOUND = (126, 127)
# No shell expands `~` in an argument.
_EXPAND_HOME = 'python=$1; shift; exec "$HOME/${python#"~/"}" "$@"'


def run_script(
    device: Device, python: str, script: Path, arguments: Sequence[str] = (), *, timeout_s: float
) -> dict[str, Any]:
    """Runs a script by `python` on the device (`~/` is the home); returns the JSON it prints last.

    Raises `DeviceError` when there is no such Python, or it is too old to understand the script.
    """
    command = ["sh", "-c", _EXPAND_HOME, "sh", python] if python.startswith("~/") else [python]
    output = device.run([*command, "-", *arguments], timeout_s=timeout_s, stdin=script.read_bytes())
    expected = f"Python {_dotted(OLDEST_PYTHON)} or newer"
    fix = f"name another one with --python, or see `edgeseq device doctor {device.name}`"
    if output.returncode in _NOT_FOUND:
        raise DeviceError(
            "has no such Python",
            where=device.name,
            found=repr(python),
            expected=expected,
            fix=fix,
        )
    try:
        answer: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    except (IndexError, ValueError) as failure:
        raise DeviceError(
            "its Python does not work",
            where=device.name,
            found=last_line(output.stderr) or f"exit status {output.returncode}",
            expected=expected,
            fix=fix,
        ) from failure
    return answer


def check(device: Device, python: str, *, timeout_s: float) -> PythonFacts:
    """The device's Python; raises `DeviceError` with what to type when something is missing."""
    answer = run_script(device, python, PYTHON_PROBE, timeout_s=timeout_s)
    facts = from_builtins(answer, PythonFacts)
    problem, packages = _problem(facts)
    if problem is None:
        return facts
    doctor = f"see `edgeseq device doctor {device.name}`"
    raise DeviceError(
        problem,
        where=device.name,
        found=f"{facts.path}, Python {_dotted(facts.version)} on {facts.machine}",
        fix=f"{_install_words(facts, packages)}; {doctor}" if packages else doctor,
    )


def _install_words(facts: PythonFacts, packages: Sequence[str]) -> str:
    """What to type on the device; a distribution's own Python takes no packages (PEP 668)."""
    names = " ".join(packages)
    if facts.in_venv:
        return f"type there: {facts.path} -m pip install {names}"
    return (
        f"type there: {facts.path} -m venv ~/edgeseq && ~/edgeseq/bin/pip install {names}, "
        "and name --python '~/edgeseq/bin/python' here"
    )


def _problem(facts: PythonFacts) -> tuple[str | None, list[str]]:
    """The first thing that is wrong, and the packages that fix it."""
    if facts.system != "Linux":
        return f"runs {facts.system}, not Linux", []
    if facts.version[:2] < OLDEST_PYTHON:
        return f"its Python is older than {_dotted(OLDEST_PYTHON)}", []
    missing = [name for name in NEEDED_MODULES if name not in facts.modules]
    if any(module in facts.modules for module in RUNTIME_MODULES):
        return (f"lacks {', '.join(missing)}" if missing else None), missing
    wheels = runtime_for(processor_of(facts.machine, facts.pointer_bits))
    if wheels is None or facts.version[:2] > wheels.newest_python:
        return f"has no TFLite runtime, and none is made for Python on {facts.machine}", []
    packages = missing
    if wheels is not LITERT:
        # Its last release was built against numpy 1.
        packages = [name for name in missing if name != "numpy"] + ["'numpy<2'"]
    return f"lacks {', '.join(['a TFLite runtime', *missing])}", [*packages, wheels.package]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
