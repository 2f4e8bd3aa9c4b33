"""The doctor: on recorded systems, and on this machine with real commands."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgeseq_benchmarks.devices.doctor
from edgeseq.errors import DeviceError
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq_benchmarks.bench.probes.machine_state import explain_throttled
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.doctor import (
    DeviceFacts,
    Diagnosis,
    can_bench,
    collect_facts,
    diagnose,
    native_checks,
)
from edgeseq_benchmarks.devices.local import LocalDevice
from edgeseq_benchmarks.native.build import Compiler

from . import recorded_systems as recorded
from .fake_device import FakeDevice
from .ssh_server import Sshd, missing

DOCTOR = Path(edgeseq_benchmarks.devices.doctor.__file__).parent
ADDRESS = "ssh://pi@kitchen.local"


INSTALLED = {**recorded.VENV, "modules": recorded.RUNTIME_MODULES}


def _facts(
    system: str,
    python: bytes | None = None,
    *,
    imported: CommandOutput | None = None,
    emulated: bool = False,
    **sections: str,
) -> DeviceFacts:
    """The facts that `collect_facts` collects of a recorded system over a fake device."""
    output = recorded.system_output(system, **sections)
    answers = {"sh -s": CommandOutput(0, output, b"")}
    # What else is called a Python there does start.
    named = sections.get("pythons", recorded.SYSTEMS[system].get("pythons", "python3.11"))
    answers |= {f"{name} -c": CommandOutput(0, b"", b"") for name in named.split()}
    if python is not None:
        answers["python3 -"] = CommandOutput(0, python, b"")
        answers["python3 -c"] = imported or CommandOutput(0, b"", b"")
    device = FakeDevice(answers, name=ADDRESS, emulated=emulated)
    return collect_facts(device)


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has a compiler for every board."""
    monkeypatch.setattr(native_checks, "find_compiler", lambda *_, **__: Compiler(("cc",), "cc 14"))


def _by_subject(facts: DeviceFacts) -> dict[str, Diagnosis]:
    return {one.subject: one for one in diagnose(facts)}


def test_a_fresh_raspberry_pi_is_told_every_command() -> None:
    facts = _facts("pi4-bookworm-64", recorded.python_output())
    found = _by_subject(facts)
    # Native processes need no Python.
    assert can_bench(diagnose(facts))
    assert found["native runner"].severity == "ok"
    assert "linux-aarch64, built by cc 14" in found["native runner"].message
    runtime = found["runtime"]
    assert runtime.severity == "warning"
    assert "belongs to the system" in runtime.message
    assert runtime.message.endswith("only native processes are measured (--runner native)")
    assert runtime.fix[:2] == (
        "sudo apt-get install -y python3.11-venv",
        "python3 -m venv ~/edgeseq-venv",
    )
    assert runtime.fix[2].startswith("~/edgeseq-venv/bin/python -m pip install 'ai-edge-litert")
    [name_it] = runtime.fix_on_host
    assert name_it == f"edgeseq device add NAME {ADDRESS} --python '~/edgeseq-venv/bin/python'"
    assert found["memory limits"].fix == (
        "sudo sed -i '1 s/$/ cgroup_enable=memory cgroup_memory=1/' /boot/firmware/cmdline.txt",
        "sudo reboot",
    )
    assert found["clock"].fix == (
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )
    assert facts.system.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts.system.temperature_c == pytest.approx(43.816)
    assert facts.system.disk_free_bytes == 26664076 * 1024


def test_the_same_board_with_everything_done_can_bench() -> None:
    facts = _facts("pi4-bookworm-64", recorded.python_output(**INSTALLED), **recorded.READY)
    assert {one.severity for one in diagnose(facts)} == {"ok"}


@pytest.mark.parametrize(
    ("system", "python", "about", "says", "command"),
    [
        ("pi4-bullseye-64", {"version": (3, 9, 2)}, "Python", "3.9.2 is too old", None),
        ("pi4-bullseye-32", {"version": (3, 9, 2), "pointer_bits": 32}, "C library",
         "glibc 2.31 is older than the 2.34 that the wheels of tflite-runtime need", None),
        ("pi4-trixie-32", {"version": (3, 13, 5), "pointer_bits": 32}, "Python",
         "3.13.5 is too new: tflite-runtime has wheels up to Python 3.11; write Raspberry Pi OS "
         "(64-bit)", None),
        ("pi4-bookworm-32", {"pointer_bits": 32}, "runtime", "tflite-runtime has a wheel",
         "python3 -m venv --system-site-packages ~/edgeseq-venv"),
        ("pi2-bookworm-32", {"pointer_bits": 32}, "runtime", "tflite-runtime has a wheel",
         "~/edgeseq-venv/bin/python -m pip install --no-deps 'tokenizers>=0.20'"),
        ("pi-zero-w", {"pointer_bits": 32}, "processor",
         "no TFLite runtime has a wheel for armv6l; measure on a board with a 64-bit", None),
        ("ubuntu-20.04", {"version": (3, 8, 10)}, "Python", "too old",
         "sudo do-release-upgrade"),
        ("ubuntu-18.04", {"version": (3, 7, 5)}, "C library",
         "glibc 2.26 is older than the 2.27", None),
        ("fedora", {"version": (3, 15, 0)}, "Python",
         "3.15.0 is too new: ai-edge-litert has wheels up to Python 3.14",
         "sudo dnf install -y python3.12"),
        ("alpine", {"version": (3, 12, 11)}, "C library", "has musl", None),
        ("termux", {"version": (3, 12, 11)}, "C library", "Android's own C library",
         "proot-distro install debian"),
        ("risc-v", {}, "processor", "no TFLite runtime has a wheel for riscv64", None),
        ("old-pc", {"pointer_bits": 32}, "processor", "wheel for i686; write Raspberry Pi OS",
         None),
        ("debian-x86", {"implementation": "PyPy"}, "Python", "wheels for CPython only",
         "python3.12 -m venv ~/edgeseq-venv"),
        ("debian-x86", {"has_ensurepip": True, "externally_managed": False}, "runtime",
         "ai-edge-litert has a wheel", "python3 -m venv ~/edgeseq-venv"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way(
    system: str, python: dict[str, Any], about: str, says: str, command: str | None
) -> None:
    more = {"pythons": "python3.12\npython3.11"} if system == "debian-x86" else {}
    facts = _facts(system, recorded.python_output(**python), **more)
    found = _by_subject(facts)
    is_native = found.get("native runner", found[about]).severity == "ok"
    assert found[about].severity == ("warning" if is_native else "problem")
    assert says in found[about].message
    assert can_bench(diagnose(facts)) == is_native
    if command is not None:
        assert command in found[about].fix
    assert "\n" not in found[about].message


def test_a_32_bit_system_on_a_64_bit_processor_is_said_also_where_it_works() -> None:
    modules = {**recorded.RUNTIME_MODULES, "tflite_runtime": "2.14.0", "numpy": "1.24.2"}
    del modules["ai_edge_litert"]
    python = recorded.python_output(**{**INSTALLED, "pointer_bits": 32, "modules": modules})
    facts = _facts("pi4-bookworm-32", python)
    found = _by_subject(facts)
    assert can_bench(diagnose(facts))
    assert found["processor"].severity == "warning"
    assert "a 32-bit system on a 64-bit processor" in found["processor"].message
    assert "Raspberry Pi OS (64-bit)" in found["processor"].message
    small = _by_subject(_facts("pi2-bookworm-32", python))["processor"]
    assert small.message.startswith("a 32-bit processor")


def test_another_python_that_fits_is_taken_when_there_is_one() -> None:
    facts = _facts(
        "ubuntu-20.04", recorded.python_output((3, 8, 10)), pythons="python3.11\npython3.8"
    )
    assert _by_subject(facts)["Python"].fix[0] == "python3.11 -m venv ~/edgeseq-venv"


def test_a_name_that_starts_nothing_is_no_other_python() -> None:
    """As pyenv's names do for versions that are not chosen."""
    output = recorded.system_output("debian-x86", pythons="python3.12\npython3.11")
    device = FakeDevice(
        {
            "sh -s": CommandOutput(0, output, b""),
            "python3.12 -c": CommandOutput(127, b"", b"pyenv: python3.12: command not found\n"),
            "python3.11 -c": CommandOutput(0, b"", b""),
        },
        name=ADDRESS,
    )
    facts = collect_facts(device)
    assert facts.system.pythons == ("python3.11",)
    assert _by_subject(facts)["Python"].fix[0] == "python3.11 -m venv ~/edgeseq-venv"


def test_without_a_compiler_python_is_needed_and_the_host_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object, **__: object) -> Compiler:
        raise DeviceError("the native runner cannot be built: there is no C compiler")

    monkeypatch.setattr(native_checks, "find_compiler", none)
    facts = _facts("pi4-bookworm-64", recorded.python_output())
    found = _by_subject(facts)
    assert found["native runner"].severity == "warning"
    assert found["native runner"].fix_on_host == ("pip install 'edgeseq[native]'",)
    assert found["runtime"].severity == "problem"
    assert not can_bench(diagnose(facts))


def test_no_python_at_all() -> None:
    facts = _facts("debian-x86", pythons="")
    python = _by_subject(facts)["Python"]
    assert python.severity == "warning"
    assert "python3: not found" in python.message
    assert python.fix[0] == "sudo apt-get install -y python3 python3-venv"


def test_modules_and_runtimes_that_do_not_go_together() -> None:
    def with_modules(imported: CommandOutput | None = None, **modules: str | None) -> Diagnosis:
        given = {**recorded.RUNTIME_MODULES, **modules}
        kept = {name: version for name, version in given.items() if version is not None}
        python = recorded.python_output(**{**INSTALLED, "modules": kept})
        [problem] = [
            one
            for one in diagnose(_facts("debian-x86", python, imported=imported))
            if one.severity == "warning" and one.subject in ("Python", "runtime", "modules")
        ]
        return problem

    missing = with_modules(msgspec=None, tokenizers=None)
    assert missing.subject == "modules"
    assert missing.message.startswith("tokenizers, msgspec not installed")
    assert missing.fix[0].startswith("/home/pi/edgeseq-venv/bin/python -m pip install ")

    numpy = with_modules(ai_edge_litert=None, tflite_runtime="2.14.0")
    assert "built for NumPy 1, and NumPy 2.2.6 is installed" in numpy.message
    assert numpy.fix == ("/home/pi/edgeseq-venv/bin/python -m pip install 'numpy<2'",)

    trace = (
        b"Traceback (most recent call last):\n  File\nImportError: version `GLIBC_2.29' not found\n"
    )
    broken = with_modules(CommandOutput(1, b"", trace))
    assert "cannot be imported: ImportError: version `GLIBC_2.29' not found" in broken.message
    assert "--force-reinstall 'ai-edge-litert" in broken.fix[0]

    wrong = with_modules(CommandOutput(132, b"", b""))
    assert "illegal instruction: made for the wrong processor" in wrong.message


def test_memory_controller_off_in_every_way() -> None:
    def limits(system: str = "pi4-bookworm-64", **sections: str) -> Diagnosis:
        return _by_subject(_facts(system, **sections))["memory limits"]

    edited = limits(
        cmdline_file="/boot/cmdline.txt\nconsole=tty1 root=/dev/mmcblk0p2 cgroup_enable=memory"
    )
    assert edited.fix == ("sudo reboot",)
    in_vain = limits(cmdline="cgroup_disable=memory root=/dev/sda cgroup_enable=memory")
    assert "built without it" in in_vain.message
    assert in_vain.fix == ()
    pc = limits("debian-x86", controllers="cpuset cpu io pids", cgroups="memory\t0\t1\t0")
    assert pc.fix[1:] == ("sudo update-grub", "sudo reboot")
    assert limits("debian-x86", user="0").severity == "ok"
    assert "may make no control group" in limits("debian-x86").message
    version_1 = limits("debian-x86", controllers="", cgroups="memory\t4\t54\t1", user="0")
    assert version_1.severity == "ok"
    old = limits("pi4-bullseye-64")
    assert old.fix[0].endswith("/boot/cmdline.txt")


def test_the_printed_edit_switches_the_controller_on(tmp_path: Path) -> None:
    """The command itself, on a file: one line stays one line."""
    file = tmp_path / "cmdline.txt"
    file.write_text("console=tty1 root=PARTUUID=1 rootwait\n")
    found = _by_subject(_facts("pi4-bookworm-64"))["memory limits"]
    command = found.fix[0].replace("sudo ", "").replace("/boot/firmware/cmdline.txt", str(file))
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=10)
    assert file.read_text() == (
        "console=tty1 root=PARTUUID=1 rootwait cgroup_enable=memory cgroup_memory=1\n"
    )
    grub = tmp_path / "grub"
    grub.write_text('GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="quiet"\n')
    pc = _facts("debian-x86", controllers="cpu", cgroups="")
    edit = _by_subject(pc)["memory limits"].fix[0].replace("sudo ", "")
    subprocess.run(
        ["/bin/sh", "-c", edit.replace("/etc/default/grub", str(grub))], check=True, timeout=10
    )
    assert 'GRUB_CMDLINE_LINUX="cgroup_enable=memory cgroup_memory=1 quiet"' in grub.read_text()


def test_throttling_now_and_earlier() -> None:
    for bit in (0, 1, 2, 3):
        facts = _facts("pi4-bookworm-64", throttled=f"throttled={1 << bit:#x}")
        now = _by_subject(facts)["power and heat"]
        assert now.severity == "problem"
        [reason] = explain_throttled(f"{1 << bit:x}")
        assert reason in now.message
        assert ("power supply" in now.message) == (bit == 0)
        earlier = _facts("pi4-bookworm-64", throttled=f"throttled={1 << bit + 16:#x}")
        before = _by_subject(earlier)["power and heat"]
        assert before.severity == "warning"
        assert before.fix == ("sudo reboot",)
    # The kernel's own file has the word alone.
    assert _by_subject(_facts("pi4-bookworm-64", throttled="50005"))[
        "power and heat"
    ].message.startswith("slowed down now: undervoltage, throttled")


@pytest.mark.parametrize(
    ("section", "text", "about", "severity", "says"),
    [
        ("swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 949244 1024 100", "swap",
         "warning", "compressed memory (/dev/zram0, 1.05 MB used)"),
        ("swaps", "Filename Type Size Used Priority\n/var/swap file 524284 0 -2", "swap",
         "warning", "a disk or card (/var/swap"),
        ("meminfo", "MemTotal: 435000 kB\nMemAvailable: 40000 kB", "memory", "problem", "41.0 MB"),
        ("meminfo", "MemTotal: 435000 kB\nMemAvailable: 140000 kB", "memory", "warning", "143 MB"),
        ("thermal", "gpu 1\ncpu-thermal 84000", "temperature", "problem", "84 °C"),
        ("thermal", "cpu-thermal 71000", "temperature", "warning", "71 °C"),
        ("disk", "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 30358504 "
         "30348504 10000 100% /", "disk", "problem", "10.2 MB"),
        ("disk", "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 30358504 "
         "30348504 100000 99% /", "disk", "warning", "102 MB"),
        ("loadavg", "1.50 0.70 0.20 2/140 1000", "load", "warning", "1.50 tasks"),
        ("governors", "powersave\nschedutil", "clock", "warning", "powersave and schedutil"),
    ],
)  # fmt: skip
def test_what_disturbs_a_measurement(
    section: str, text: str, about: str, severity: str, says: str
) -> None:
    found = _by_subject(_facts("pi4-bookworm-64", **{section: text}))[about]
    assert found.severity == severity
    assert says in found.message


def test_what_a_machine_does_not_say_is_not_spoken_of() -> None:
    silent = dict.fromkeys(("thermal", "meminfo", "disk", "loadavg", "governors", "throttled"), "")
    found = _by_subject(_facts("debian-x86", recorded.python_output(**INSTALLED), **silent))
    assert not set(found) & {"temperature", "memory", "disk", "load", "clock", "power and heat"}


def test_an_emulated_board_is_said_to_be_one() -> None:
    found = _by_subject(_facts("pi4-bookworm-64", emulated=True))
    assert found["device"].severity == "warning"
    assert "latencies are not" in found["device"].message


def test_devices_that_do_not_answer() -> None:
    with pytest.raises(DeviceLostError):
        collect_facts(FakeDevice(lost_at=[1]))
    output = recorded.system_output("pi4-bookworm-64")
    with pytest.raises(DeviceLostError):
        collect_facts(FakeDevice({"sh -s": CommandOutput(0, output, b"")}, lost_at=[3]))
    cut = CommandOutput(0, output[:300], b"")
    for answer in (
        cut,
        CommandOutput(1, b"This account is not available\n", b""),
        CommandOutput(0, b"", b""),
    ):
        with pytest.raises(DeviceError, match="did not describe itself"):
            collect_facts(FakeDevice({"sh -s": answer}))
    rude = FakeDevice(
        {"sh -s": CommandOutput(0, output, b""), "python3 -": CommandOutput(0, b"hello", b"")}
    )
    with pytest.raises(DeviceError, match="is not a working Python"):
        collect_facts(rude)


def test_the_home_folder_is_put_in_by_us() -> None:
    """No shell expands `~`: a command's arguments arrive as they are."""
    device = FakeDevice({"sh -s": CommandOutput(0, recorded.system_output("pi4-bookworm-64"), b"")})
    facts = collect_facts(device, python="~/edgeseq-venv/bin/python")
    assert facts.python_command == "/home/pi/edgeseq-venv/bin/python"
    assert ("run", "/home/pi/edgeseq-venv/bin/python -") in device.calls


def test_this_machine_really() -> None:
    facts = collect_facts(LocalDevice(), python=sys.executable)
    assert facts.device == "local"
    assert facts.python is not None
    assert facts.python.version == sys.version_info[:3]
    assert facts.python.pointer_bits == (64 if sys.maxsize > 2**32 else 32)
    assert facts.runtime == "ai_edge_litert"
    assert facts.runtime_error is None
    assert facts.system.memory_total_bytes
    assert facts.system.disk_free_bytes
    said = _by_subject(facts)
    assert said["Python"].severity == said["runtime"].severity == said["modules"].severity == "ok"


def test_a_bare_environment_on_this_machine_lacks_a_runtime(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")],
        check=True,
        timeout=60,
    )
    python = tmp_path / "bare" / "bin" / "python"
    found = _by_subject(collect_facts(LocalDevice(), python=str(python)))
    assert found["runtime"].severity == "problem"
    assert found["runtime"].fix[0] == f"{python} -m ensurepip"
    missing = _by_subject(collect_facts(LocalDevice(), python=str(tmp_path / "none")))
    assert "No such file" in missing["Python"].message


def test_the_probe_can_be_read_by_old_pythons() -> None:
    source = (DOCTOR / "python_probe.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    # What is imported at the top is all that a Python needs before it can answer.
    names = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    assert names == {"importlib.util", "json", "os", "platform", "struct", "sys", "sysconfig"}


@pytest.mark.parametrize("minor", [7, 8, 9, 12, 13])
def test_other_pythons_answer_the_probe(minor: int) -> None:
    python = shutil.which(f"python3.{minor}")
    # A name may stand for nothing (pyenv's do), so it is started.
    if (
        not python
        or subprocess.run(
            [python, "-c", ""], check=False, capture_output=True, timeout=30
        ).returncode
    ):
        pytest.skip(f"Python 3.{minor} is not installed here")
    done = subprocess.run(
        [python, str(DOCTOR / "python_probe.py")], check=True, capture_output=True, timeout=30
    )
    assert json.loads(done.stdout)["version"][:2] == [3, minor]


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox", "mksh", "zsh"])
def test_the_script_runs_in_every_shell(shell: str, tmp_path: Path) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    # As they are where they stand behind the name `sh`, which is what the script is sent to.
    as_sh = {"busybox": ["sh"], "zsh": ["--emulate", "sh"]}
    command = [path, *as_sh.get(shell, [])]
    done = subprocess.run(
        [*command, "-s", "--", str(tmp_path)],
        input=(DOCTOR / "system_probe.sh").read_bytes(),
        check=True,
        capture_output=True,
        timeout=60,
    )
    from edgeseq_benchmarks.devices.doctor.facts import read_system

    system = read_system(done.stdout.decode(), where="here")
    assert system.kernel.startswith("Linux ")
    assert system.memory_total_bytes
    assert list(tmp_path.iterdir()) == [], "it only reads"


@pytest.mark.sshd
def test_over_a_real_ssh_connection_the_facts_are_the_same(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    server = Sshd(tmp_path / "sshd")
    device = server.device()
    try:
        found = collect_facts(device, python=sys.executable, folder=str(tmp_path))
        here = collect_facts(LocalDevice(), python=sys.executable, folder=str(tmp_path))
        assert found.device == server.name
        assert found.python == here.python
        assert found.runtime == here.runtime
        assert found.runtime_error is None
        same = ("machine", "kernel", "os_name", "libc", "libc_version", "memory_total_bytes")
        for name in same:
            assert getattr(found.system, name) == getattr(here.system, name), name
        assert _by_subject(found)["runtime"].severity == "ok"
        hostile = collect_facts(device, python="~/no; such 'thing $(id)", folder="-x; $(id) 'y")
        assert hostile.python is None
        assert _by_subject(hostile)["Python"].severity == "warning"
        bare = collect_facts(device, python="~/nothing/bin/python")
        assert bare.python_command == f"{bare.system.home}/nothing/bin/python"
        server.stop()
        with pytest.raises(DeviceLostError):
            collect_facts(server.device(), python=sys.executable)
    finally:
        device.close()
        server.stop()
