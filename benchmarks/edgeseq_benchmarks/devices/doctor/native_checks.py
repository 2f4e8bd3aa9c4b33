"""Whether native processes can be measured: that needs no Python on the device, and a compiler on
the machine that asks."""

from __future__ import annotations

import msgspec

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.doctor.board_target import board_target
from edgeseq_benchmarks.devices.doctor.diagnosis import Diagnosis
from edgeseq_benchmarks.devices.doctor.facts import DeviceFacts
from edgeseq_benchmarks.native.build import find_compiler
from edgeseq_benchmarks.native.library import installed_library

SUBJECT = "native runner"
_NATIVE_ONLY = "; until then only native processes are measured (--runner native)"


def check_native(facts: DeviceFacts) -> Diagnosis:
    """Whether there is a runner for the device, and this machine can build it."""
    is_here = facts.device == "local"
    try:
        target = board_target(facts.device, facts.system)
        compiler = find_compiler(target, portable=not is_here)
        if is_here:
            installed_library()
    except DeviceError as error:
        on_host = ("pip install 'edgeseq[native]'",) if "compiler" in error.what else ()
        found = "" if error.found is None else f" (found {error.found})"
        message = f"{error.what}{found}; only Python processes are measured"
        return Diagnosis("warning", SUBJECT, message, (), on_host)
    needs = "" if is_here else "; it is sent along and needs no Python there"
    return Diagnosis("ok", SUBJECT, f"for {target.name}, built by {compiler.identity}{needs}")


def without_python(diagnosis: Diagnosis) -> Diagnosis:
    """A problem of the device's Python, where native processes can be measured without it."""
    if diagnosis.severity != "problem":
        return diagnosis
    message = diagnosis.message + _NATIVE_ONLY
    return msgspec.structs.replace(diagnosis, severity="warning", message=message)
