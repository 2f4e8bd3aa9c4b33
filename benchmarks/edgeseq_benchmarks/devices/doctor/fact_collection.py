"""Asks a device what it is: one shell script, one Python script, one import of the runtime."""

from __future__ import annotations

import msgspec

from edgeseq.errors import DeviceError
from edgeseq.formats.codec import decode_json
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq_benchmarks.devices.base import Device
from edgeseq_benchmarks.devices.doctor.facts import (
    PYTHON_PROBE,
    SYSTEM_PROBE,
    DeviceFacts,
    PythonFacts,
    SystemFacts,
    read_system,
)
from edgeseq_benchmarks.devices.wheels import RUNTIME_MODULES

# A board that swaps or a card that dies takes seconds for what takes milliseconds elsewhere.
_TIMEOUT_S = 60.0
_LONGEST_QUOTE = 200


def collect_facts(device: Device, *, python: str = "python3", folder: str = ".") -> DeviceFacts:
    """The facts about a device whose Python is the command or path `python` (`~/` is the home).

    `folder` is where a run would put its files. Raises `DeviceLostError` when the device cannot be
    reached and `DeviceError` when it has no shell that works.
    """
    device.connect(timeout_s=_TIMEOUT_S)
    system = read_system_facts(device, folder=folder)
    command = _expanded(python, system)
    python_facts, error = _ask_python(device, command)
    runtime = None
    runtime_error = None
    if python_facts is not None:
        runtime = next((name for name in RUNTIME_MODULES if name in python_facts.modules), None)
        runtime_error = _try_import(device, command, runtime) if runtime else None
    facts = DeviceFacts(
        device=device.name,
        emulated=device.emulated,
        system=system,
        python_command=command,
        python=python_facts,
        python_error=error,
        runtime=runtime,
        runtime_error=runtime_error,
    )
    if facts.has_wheels:
        return facts
    working = tuple(name for name in system.pythons if _starts(device, name))
    return msgspec.structs.replace(facts, system=msgspec.structs.replace(system, pythons=working))


def read_system_facts(device: Device, *, folder: str = ".") -> SystemFacts:
    """The machine and its system, of a device that is connected; raises as `collect_facts` does."""
    output = device.run(
        ["sh", "-s", "--", folder], stdin=SYSTEM_PROBE.read_bytes(), timeout_s=_TIMEOUT_S
    )
    return read_system(output.stdout.decode(errors="replace"), where=device.name)


def _starts(device: Device, python: str) -> bool:
    """Whether it starts: a name on the path may be empty, as pyenv's are. Only checked where
    another Python is needed, since starting one takes a second on a slow board."""
    return device.run([python, "-c", ""], timeout_s=_TIMEOUT_S).returncode == 0


def _expanded(python: str, system: SystemFacts) -> str:
    """No shell expands `~` for us: the arguments of a command arrive as they are."""
    return f"{system.home}/{python[2:]}" if python.startswith("~/") else python


def _ask_python(device: Device, command: str) -> tuple[PythonFacts | None, str | None]:
    """The Python's facts, or None and the reason."""
    output = device.run([command, "-"], stdin=PYTHON_PROBE.read_bytes(), timeout_s=_TIMEOUT_S)
    if output.returncode != 0:
        return None, _end_text(output)
    try:
        return decode_json(output.stdout.splitlines()[-1], PythonFacts), None
    except (msgspec.DecodeError, IndexError) as failure:
        raise DeviceError(
            "is not a working Python",
            where=f"{device.name}: {command}",
            found=_end_text(output),
            fix="name another one with --python",
        ) from failure


def _try_import(device: Device, command: str, runtime: str) -> str | None:
    """Why the runtime cannot be imported (a wheel for the wrong processor, libc or NumPy)."""
    statement = "import importlib, sys; importlib.import_module(sys.argv[1]).Interpreter"
    output = device.run([command, "-c", statement, RUNTIME_MODULES[runtime]], timeout_s=_TIMEOUT_S)
    return None if output.returncode == 0 else _end_text(output)


def _end_text(output: CommandOutput) -> str:
    """The error of a command: the last line of a traceback, else the first line."""
    lines = (output.stderr or output.stdout).decode(errors="replace").strip().splitlines()
    # 128 + n where a shell saw the signal n, −n where Python did; 4 is an illegal instruction.
    if output.returncode in (-4, 132):
        return "ended by an illegal instruction: made for the wrong processor"
    if not lines:
        return f"exit code {output.returncode}"
    line = lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]
    return line.strip()[:_LONGEST_QUOTE]
