"""What the doctor's two probes print on systems that people have, written after the published
formats of the files that they read (proc(5), os-release(5), `vcgencmd`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Sections = dict[str, str]

_FRESH_PI: Sections = {
    "uname": "Linux\n6.12.25+rpt-rpi-v8\naarch64",
    "os_release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n'
    'VERSION_ID="12"\nVERSION="12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian',
    "libc": "glibc 2.36",
    "long_bit": "64",
    "termux": "",
    "model": "Raspberry Pi 4 Model B Rev 1.4",
    "cpuinfo": "CPU architecture: 8\nCPU part\t: 0xd08",
    "cores": "4",
    "meminfo": "MemTotal:        1894592 kB\nMemAvailable:    1560032 kB",
    "swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority",
    "cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
    "cpuset\t0\t65\t1\ncpu\t0\t65\t1\nmemory\t0\t65\t0",
    "controllers": "cpuset cpu io pids",
    "user_controllers": "",
    "user": "1000",
    "cmdline": "coherent_pool=1M 8250.nr_uarts=0 cgroup_disable=memory "
    "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait",
    "cmdline_file": "/boot/firmware/cmdline.txt\n"
    "console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes rootwait",
    "grub": "",
    "governors": "ondemand",
    "throttled": "throttled=0x0",
    "thermal": "cpu-thermal 43816",
    "loadavg": "0.04 0.05 0.01 1/138 901",
    "disk": "Filesystem     1024-blocks    Used Available Capacity Mounted on\n"
    "/dev/root         30358504 2412064  26664076       9% /",
    "tools": "apt-get\nsudo\nvcgencmd\nsystemd-run",
    "pythons": "python3.11",
    "home": "/home/pi",
}
READY: Sections = {
    "cgroups": "memory\t0\t65\t1",
    "controllers": "cpuset cpu io memory pids",
    "user_controllers": "cpu memory pids",
    "governors": "performance",
}
"""What a fresh board becomes when everything that it was told has been done."""

_RASPBIAN = 'PRETTY_NAME="Raspbian GNU/Linux {0}"\nID=raspbian\nID_LIKE=debian\nVERSION_ID="{1}"'
_NOT_A_PI: Sections = {
    "model": "",
    "cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro quiet",
    "cmdline_file": "",
    "grub": "/etc/default/grub",
    "throttled": "",
    "governors": "",
    "controllers": "cpuset cpu io memory pids",
}
SYSTEMS: Mapping[str, Sections] = {
    "pi4-bookworm-64": {},
    "pi4-bullseye-64": {
        "os_release": 'PRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\nID=debian\nVERSION_ID="11"',
        "libc": "glibc 2.31",
        "cmdline_file": "/boot/cmdline.txt\nconsole=tty1 root=PARTUUID=1 rootwait",
        "pythons": "python3.9",
    },
    # The 64-bit kernel is the default on a Pi 4 also below 32-bit programs.
    "pi4-bookworm-32": {
        "os_release": _RASPBIAN.format("12 (bookworm)", "12"),
        "long_bit": "32",
    },
    "pi4-bullseye-32": {
        "os_release": _RASPBIAN.format("11 (bullseye)", "11"),
        "libc": "glibc 2.31",
        "long_bit": "32",
        "uname": "Linux\n5.15.84-v7l+\narmv7l",
        "pythons": "python3.9",
    },
    "pi4-trixie-32": {
        "os_release": _RASPBIAN.format("13 (trixie)", "13"),
        "libc": "glibc 2.41",
        "long_bit": "32",
        "pythons": "python3.13",
    },
    "pi2-bookworm-32": {
        "os_release": _RASPBIAN.format("12 (bookworm)", "12"),
        "model": "Raspberry Pi 2 Model B Rev 1.1",
        "cpuinfo": "model name\t: ARMv7 Processor rev 5 (v7l)\nCPU part\t: 0xc07",
        "long_bit": "32",
        "uname": "Linux\n6.1.21-v7+\narmv7l",
    },
    "pi-zero-w": {
        "os_release": _RASPBIAN.format("12 (bookworm)", "12"),
        "model": "Raspberry Pi Zero W Rev 1.1",
        "cpuinfo": "model name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU part\t: 0xb76",
        "long_bit": "32",
        "uname": "Linux\n6.1.21+\narmv6l",
    },
    "debian-x86": {**_NOT_A_PI, "uname": "Linux\n6.1.0-18-amd64\nx86_64"},
    "ubuntu-20.04": {
        **_NOT_A_PI,
        "os_release": 'NAME="Ubuntu"\nVERSION_ID="20.04"\nID=ubuntu\nID_LIKE=debian\n'
        'PRETTY_NAME="Ubuntu 20.04.6 LTS"',
        "libc": "glibc 2.31",
        "pythons": "python3.8",
    },
    "ubuntu-18.04": {
        **_NOT_A_PI,
        "os_release": 'PRETTY_NAME="Ubuntu 18.04.6 LTS"\nID=ubuntu\nVERSION_ID="18.04"',
        "libc": "glibc 2.26",
        "pythons": "python3.7",
    },
    "fedora": {
        **_NOT_A_PI,
        "os_release": 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\n'
        'PRETTY_NAME="Fedora Linux 43 (Server Edition)"',
        "libc": "glibc 2.42",
        "tools": "dnf\nsudo\nsystemd-run",
        "pythons": "",
    },
    "alpine": {
        **_NOT_A_PI,
        "os_release": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.22.1\n'
        'PRETTY_NAME="Alpine Linux v3.22"',
        "libc": "/lib/ld-musl-aarch64.so.1",
        "long_bit": "64",
        "tools": "apk",
        "pythons": "python3.12",
    },
    "termux": {
        **_NOT_A_PI,
        "os_release": "",
        "libc": "/system/bin/linker\n/system/bin/linker64",
        "termux": "0.118.3",
        "tools": "apt-get\npkg",
        "grub": "",
    },
    "risc-v": {**_NOT_A_PI, "uname": "Linux\n6.6.0\nriscv64", "cpuinfo": ""},
    "old-pc": {
        **_NOT_A_PI,
        "uname": "Linux\n6.1.0\ni686",
        "long_bit": "32",
        "cpuinfo": "flags\t\t: fpu vme sse2 lm constant_tsc",
    },
}
VENV: dict[str, Any] = {
    "path": "/home/pi/edgeseq-venv/bin/python",
    "in_venv": True,
    "has_ensurepip": True,
    "has_pip": True,
}
RUNTIME_MODULES = {
    "ai_edge_litert": "2.3.0",
    "numpy": "2.2.6",
    "tokenizers": "0.22.1",
    "msgspec": "0.20.0",
}


def system_output(name: str, **changes: str) -> bytes:
    """What `system.sh` prints there; `changes` are whole sections."""
    sections = {**_FRESH_PI, **SYSTEMS[name], **changes}
    shown = [f"=={key}\n{text}\n" for key, text in sections.items() if key != "cmdline_file"]
    if sections["cmdline_file"]:
        shown.append(f"==cmdline_file\n{sections['cmdline_file']}\n")
    return "".join([*shown, "==end\n"]).encode()


def python_output(version: tuple[int, int, int] = (3, 11, 2), **changes: Any) -> bytes:
    """What `python_probe.py` prints: a system's Python, but for `changes`."""
    answer = {
        "path": "/usr/bin/python3",
        "version": list(version),
        "system": "Linux",
        "machine": "aarch64",
        "implementation": "CPython",
        "pointer_bits": 64,
        "in_venv": False,
        "externally_managed": True,
        "has_ensurepip": False,
        "has_pip": False,
        "modules": {},
    }
    return json.dumps({**answer, **changes}).encode() + b"\n"
