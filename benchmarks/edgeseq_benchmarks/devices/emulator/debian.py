"""A tree of 64-bit ARM Debian's files, unpacked from its packages on this machine.

`mmdebstrap` takes them from where this machine takes its own. They are unpacked and no script of
theirs is run, so that neither an emulator of single programs nor its registration with the kernel
(binfmt_misc) is needed; what their scripts would have done for the services that a board needs
is in `root_tree`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.devices.emulator.host_tools import find_tool, run_tool

FALLBACK_RELEASE = "bookworm"
# What Debian marks essential, what a person expects on a board, Python and its environments,
# the ssh server, and the small kernel for virtual machines.
PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "diffutils"),
    *(
        "dpkg",
        "findutils",
        "grep",
        "gzip",
        "hostname",
        "libc-bin",
        "login",
        "mawk",
        "mount",
        "passwd",
    ),
    *("perl-base", "sed", "tar", "util-linux", "apt", "procps", "kmod", "iproute2"),
    *("busybox-static", "ca-certificates", "openssh-server", "python3", "python3-venv"),
    "linux-image-cloud-arm64",
)
_LEFT_OUT = ("doc", "man", "locale", "info")
_TIMEOUT_S = 900.0


def release_here(root: Path = Path("/")) -> str:
    """The name of this machine's Debian release; `bookworm` where it runs something else."""
    try:
        text = (root / "etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return FALLBACK_RELEASE
    fields: dict[str, str] = dict(
        re.findall(r'^(ID|VERSION_CODENAME)="?([^"\n]+)', text, re.MULTILINE)
    )
    if fields.get("ID") != "debian":
        return FALLBACK_RELEASE
    return fields.get("VERSION_CODENAME", FALLBACK_RELEASE)


def sources_here(release: str, root: Path = Path("/")) -> list[Path]:
    """The files of this machine that name the sources of packages of `release`.

    Empty where it runs another release: then mmdebstrap uses Debian's own address.
    """
    apt = root / "etc/apt"
    source_files = []
    for path in sorted((apt, *apt.glob("sources.list.d"))):
        for file in sorted((*path.glob("*.list"), *path.glob("*.sources"))):
            text = file.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            words = " ".join(lines).split()
            if release in words and "main" in words:
                source_files.append(file)
    return source_files


def unpack_debian(target: Path, release: str) -> None:
    """Fetches and unpacks the packages into the new folder `target`.

    Raises `DeviceError` without root's rights, or with mmdebstrap's own words.
    """
    if os.geteuid() != 0:
        raise DeviceError(
            "files of an image must belong to root",
            where="emulated board",
            found="an account that is not root",
            fix="build it once with `sudo`",
        )
    command = [
        *("mmdebstrap", "--mode=root", "--arch=arm64", "--variant=extract", "--format=directory"),
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
        *(f"--aptopt={line}" for line in _apt_settings()),
    ]
    merged = Path("/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh")
    if merged.exists():
        command.append(f"--setup-hook={merged}")
    sources = [str(path) for path in sources_here(release)]
    run_tool([*command, release, str(target), *sources], timeout_s=_TIMEOUT_S)


def _apt_settings() -> list[str]:
    """How this machine's apt reaches its archive: proxies, and what it does not insist on."""
    if find_tool("apt-config") is None:
        return []
    lines = run_tool(["apt-config", "dump"], timeout_s=30).splitlines()
    pattern = re.compile(r'Acquire::(https?(::[\w.:-]+)?|Check-Valid-Until|Check-Date) ".+";')
    return [line for line in lines if pattern.fullmatch(line)]
