"""Whether the system and its Python can have a runtime: processor, C library, wheels, modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgeseq_benchmarks.devices.doctor.diagnosis import Diagnosis, Fix, problem
from edgeseq_benchmarks.devices.doctor.facts import DeviceFacts, PythonFacts
from edgeseq_benchmarks.devices.wheels import (
    NEEDED_MODULES,
    OLDEST_PYTHON,
    RuntimeWheels,
)

VENV = "edgeseq-venv"
_USE_64BIT = (
    "write Raspberry Pi OS (64-bit) onto the card with Raspberry Pi Imager, or another 64-bit Linux"
)
_NEWER_SYSTEM = "install the system's current release"
_VENV_PACKAGE = {
    "apt-get": "sudo apt-get install -y {python}-venv",
    "dnf": "sudo dnf install -y {python}",
    "pacman": "sudo pacman -S --noconfirm python",
    "zypper": "sudo zypper install -y {python}",
}


def check_system(facts: DeviceFacts) -> Iterator[Diagnosis]:
    """The processor, whether the system uses all its bits, and the C library."""
    system = facts.system
    wheels = facts.wheels
    if wheels is None:
        message = f"no TFLite runtime has a wheel for {facts.processor}; "
        message += _USE_64BIT if system.cpu_64bit else "measure on a board with a 64-bit processor"
        yield Diagnosis("problem", "processor", message)
        return
    yield from _width(facts, wheels)
    yield from _libc(facts, wheels)


def _width(facts: DeviceFacts, wheels: RuntimeWheels) -> Iterator[Diagnosis]:
    if facts.processor != "armv7l":
        yield Diagnosis("ok", "processor", f"{facts.processor}, 64-bit")
        return
    message = (
        f"only {wheels.package} 2.14, the last runtime for 32-bit ARM, runs here, with models made "
        "by `edgeseq convert --runtime tflite-runtime==2.14`"
    )
    if facts.system.cpu_64bit:
        message = f"a 32-bit system on a 64-bit processor: {message}; {_USE_64BIT}"
        yield Diagnosis("warning", "processor", message)
    else:
        yield Diagnosis("warning", "processor", f"a 32-bit processor: {message}")


def _libc(facts: DeviceFacts, wheels: RuntimeWheels) -> Iterator[Diagnosis]:
    system = facts.system
    if system.libc == "bionic" or system.termux:
        yield Diagnosis(
            "problem",
            "C library",
            "Android's own C library, and the runtime's wheels are for glibc: run Debian inside "
            "Termux, or measure with adb:SERIAL",
            ("pkg install proot-distro", "proot-distro install debian",
             "proot-distro login debian"),
        )  # fmt: skip
    elif system.libc == "musl":
        yield Diagnosis(
            "problem",
            "C library",
            f"{system.os_name} has musl, and the runtime's wheels are for glibc: use a system "
            "with glibc (Raspberry Pi OS, Debian, Ubuntu, Fedora), on the card or in a container",
        )
    elif system.libc_version is None:
        yield Diagnosis("warning", "C library", "of an unknown kind; the runtime's is glibc")
    elif system.libc_version < wheels.oldest_glibc:
        yield Diagnosis(
            "problem",
            "C library",
            f"glibc {_dotted(system.libc_version)} is older than the {_dotted(wheels.oldest_glibc)}"
            f" that the wheels of {wheels.package} need: {system.os_name} is too old for it; "
            f"{_NEWER_SYSTEM}",
        )
    else:
        yield Diagnosis("ok", "C library", f"glibc {_dotted(system.libc_version)}")


def check_python(facts: DeviceFacts) -> Iterator[Diagnosis]:
    """The Python, the runtime in it, and the other modules that a run imports."""
    wheels = facts.wheels
    if wheels is None:
        return
    python = facts.python
    if python is None:
        yield _no_python(facts, wheels)
        return
    version = python.version[:2]
    name = f"Python {'.'.join(map(str, python.version))}"
    if version < OLDEST_PYTHON:
        yield problem(
            "Python",
            f"{name} is too old: edgeseq needs {_dotted(OLDEST_PYTHON)} or newer",
            _other_python(facts, wheels),
        )
    elif version > wheels.newest_python:
        yield problem(
            "Python",
            f"{name} is too new: {wheels.package} has wheels up to Python "
            f"{_dotted(wheels.newest_python)}",
            _other_python(facts, wheels),
        )
    elif python.implementation != "CPython":
        yield problem(
            "Python",
            f"{python.implementation} {name}: {wheels.package} has wheels for CPython only",
            _other_python(facts, wheels),
        )
    else:
        yield Diagnosis("ok", "Python", f"{name} ({python.path})")
        yield from _modules(facts, python, wheels)


def _no_python(facts: DeviceFacts, wheels: RuntimeWheels) -> Diagnosis:
    return problem(
        "Python",
        f"there is no {facts.python_command} that runs ({facts.python_error or 'no answer'})",
        _other_python(facts, wheels),
    )


def _other_python(facts: DeviceFacts, wheels: RuntimeWheels) -> Fix:
    """What leads to a Python between the oldest and the newest."""
    system = facts.system
    fitting = [
        name
        for name in system.pythons
        if OLDEST_PYTHON <= _minor(name) <= wheels.newest_python
        and not (facts.python and _minor(name) == facts.python.version[:2])
    ]
    if fitting:
        return _venv_commands(facts, wheels, fitting[0])
    if wheels.package == "tflite-runtime":
        # No 32-bit system has two Pythons in its packages; Debian 12 has the one that fits.
        message = _USE_64BIT if system.cpu_64bit else "use the 32-bit system of Debian 12"
        return Fix(advice=message)
    if system.os_id == "ubuntu" and facts.python and facts.python.version[:2] < OLDEST_PYTHON:
        return Fix(("sudo do-release-upgrade",), advice=_NEWER_SYSTEM)
    if "dnf" in system.tools:
        # Fedora has several Pythons beside its own; 3.12 is in the middle of what wheels are for.
        fix = _venv_commands(facts, wheels, "python3.12")
        return fix._replace(on_device=("sudo dnf install -y python3.12", *fix.on_device))
    if facts.python is None and system.is_debian_like:
        fix = _venv_commands(facts, wheels, "python3")
        install = "sudo apt-get install -y python3 python3-venv"
        return fix._replace(on_device=(install, *fix.on_device))
    return Fix(advice=_NEWER_SYSTEM)


def _modules(facts: DeviceFacts, python: PythonFacts, wheels: RuntimeWheels) -> Iterator[Diagnosis]:
    yield _runtime(facts, python, wheels)
    missing = [name for name in NEEDED_MODULES if name not in python.modules]
    if missing and facts.runtime is not None:
        # Without a runtime the commands that install it bring these as well.
        message = f"{', '.join(missing)} not installed for this Python"
        yield problem("modules", message, _install(facts, python, wheels))
    elif not missing:
        versions = ", ".join(f"{name} {python.modules[name]}".strip() for name in NEEDED_MODULES)
        yield Diagnosis("ok", "modules", versions)


def _runtime(facts: DeviceFacts, python: PythonFacts, wheels: RuntimeWheels) -> Diagnosis:
    numpy = python.modules.get("numpy", "")
    if facts.runtime is None:
        message = f"no TFLite runtime is installed for this Python; {wheels.package} has a wheel"
        if python.externally_managed and not python.in_venv:
            message += "; this Python belongs to the system, so it goes into an environment"
        return problem("runtime", message, _install(facts, python, wheels))
    package = facts.runtime.replace("_", "-")
    version = f"{package} {python.modules[facts.runtime]}".strip()
    if facts.runtime == "tflite_runtime" and numpy and int(numpy.split(".")[0]) >= 2:
        return Diagnosis(
            "problem",
            "runtime",
            f"{version} was built for NumPy 1, and NumPy {numpy} is installed",
            (f"{python.path} -m pip install 'numpy<2'",),
        )
    if facts.runtime_error is not None:
        message = f"{version} is installed but cannot be imported: {facts.runtime_error}"
        again = (f"{python.path} -m pip install --force-reinstall {wheels.requirements[0]!r}",)
        return Diagnosis("problem", "runtime", message, again)
    if facts.runtime == "tensorflow":
        message = f"{version}; a device needs only {wheels.package}, which is a tenth of its size"
        return Diagnosis("ok", "runtime", message)
    return Diagnosis("ok", "runtime", version)


def _install(facts: DeviceFacts, python: PythonFacts, wheels: RuntimeWheels) -> Fix:
    """Commands that install what is needed: into the environment, else into a new one."""
    if python.in_venv or (facts.device == "local" and not python.externally_managed):
        pip = () if python.has_pip else (f"{python.path} -m ensurepip",)
        return Fix((*pip, *_pip_commands(wheels, python.path)))
    return _venv_commands(facts, wheels, facts.python_command)


def _venv_commands(facts: DeviceFacts, wheels: RuntimeWheels, python: str) -> Fix:
    """Commands for a new environment, and the one that makes a run use it."""
    known = facts.python if facts.python_command == python else None
    legacy = wheels.package == "tflite-runtime"
    commands = []
    if legacy:
        # The index has no NumPy and no msgspec for 32-bit ARM: one is the system's, the other is
        # built where piwheels has none.
        commands.append("sudo apt-get install -y python3-venv python3-numpy gcc python3-dev")
    elif known is not None and not known.has_ensurepip:
        commands.append(_venv_package(facts, known))
    commands.append(f"{python} -m venv {'--system-site-packages ' if legacy else ''}~/{VENV}")
    commands += _pip_commands(wheels, f"~/{VENV}/bin/python")
    if facts.device == "local":
        return Fix(tuple(commands))
    add = f"edgeseq device add NAME {facts.device} --python '~/{VENV}/bin/python'"
    return Fix(tuple(commands), (add,))


def _venv_package(facts: DeviceFacts, python: PythonFacts) -> str:
    name = f"python{_dotted(python.version[:2])}"
    for tool, command in _VENV_PACKAGE.items():
        if tool in facts.system.tools:
            return command.format(python=name)
    return f"install the module `ensurepip` of {name} with the system's package manager"


def _pip_commands(wheels: RuntimeWheels, python: str) -> tuple[str, ...]:
    """Commands that install what is needed into the environment of `python`."""

    def quoted(names: Iterable[str]) -> str:
        return " ".join(f"'{name}'" for name in names)

    pip = f"{python} -m pip install"
    if wheels.package != "tflite-runtime":
        return (f"{pip} {quoted(wheels.requirements)}",)
    # tokenizers names a hub client that it does not import and whose needs have no 32-bit wheels.
    alone = [name for name in wheels.requirements if name.startswith("tokenizers")]
    rest = [name for name in wheels.requirements if name not in alone]
    return (f"{pip} {quoted(rest)}", f"{pip} --no-deps {quoted(alone)}")


def _minor(name: str) -> tuple[int, int]:
    """(3, 11) of `python3.11`."""
    major, _, minor = name.removeprefix("python").partition(".")
    return int(major), int(minor)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
