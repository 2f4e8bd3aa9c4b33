"""From unpacked packages to a board that starts: accounts, certificates, ssh, and a first process.

Each function does what scripts of Debian's packages would do while they are installed, or what
the first start of a board does.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from edgeseq.errors import DeviceError

# An environment with the runtime in it goes before the system's own Python.
VENV = "/opt/edgeseq"
_PATH = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# What `update-alternatives` would link.
_ALTERNATIVES = {"awk": "mawk", "which": "which.debianutils"}

_INIT = f"""\
#!/bin/sh
# The first process: mounts, the network of QEMU (its user networking's fixed addresses), sshd.
PATH={_PATH}; export PATH
mount -o remount,rw,noatime /
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "+memory +cpu" >/sys/fs/cgroup/cgroup.subtree_control
ln -sf /proc/self/fd /dev/fd
hostname -F /etc/hostname
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
mkdir -p /run/sshd
echo "edgeseq: board is up" >/dev/console
exec /bin/busybox init
"""
# busybox's init: it starts sshd again should it end, and takes in orphans.
_INITTAB = """\
::respawn:/usr/sbin/sshd -D
::ctrlaltdel:/bin/busybox poweroff -f
"""
_SSHD = f"""\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 50
MaxSessions 50
AcceptEnv LANG LC_*
SetEnv PATH={_PATH}
Subsystem sftp internal-sftp
"""


def settle(tree: Path, *, name: str, host_key: Path, public_key: Path) -> None:
    """Makes a tree of unpacked packages a board that starts and accepts `public_key`.

    `host_key` is the private key that the board shows (its `.pub` beside it).
    """
    _accounts(tree)
    _certificates(tree)
    for link, target in _ALTERNATIVES.items():
        if (tree / "usr/bin" / target).exists() and not (tree / "usr/bin" / link).exists():
            (tree / "usr/bin" / link).symlink_to(target)
    _network(tree, name)
    ssh = tree / "etc/ssh"
    for source, copy, mode in (
        (host_key, ssh / "ssh_host_ed25519_key", 0o600),
        (host_key.with_name(host_key.name + ".pub"), ssh / "ssh_host_ed25519_key.pub", 0o644),
        (public_key, tree / "root/.ssh/authorized_keys", 0o600),
    ):
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(source, copy)
        copy.chmod(mode)
    _write(ssh / "sshd_config", _SSHD)
    _write(tree / "etc/inittab", _INITTAB)
    _write(tree / "sbin/edgeseq-init", _INIT, 0o755)
    for folder in ("proc", "sys", "dev", "run", "tmp", "root"):
        (tree / folder).mkdir(exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    (tree / "root").chmod(0o700)


def _accounts(tree: Path) -> None:
    """What `base-passwd` and `openssh-server` set up: the system's accounts, and sshd's own."""
    masters = tree / "usr/share/base-passwd"
    passwd = (masters / "passwd.master").read_text(encoding="utf-8")
    # No password opens an account ("*"); root comes in with a key.
    passwd += "sshd:*:100:65534::/run/sshd:/usr/sbin/nologin\n"
    _write(tree / "etc/passwd", passwd)
    _write(tree / "etc/group", (masters / "group.master").read_text(encoding="utf-8"))
    for name in ("root/.profile", "root/.bashrc"):
        default = tree / "usr/share/base-files" / name.replace("root/.", "dot.")
        if default.exists():
            shutil.copyfile(default, tree / name)


def _certificates(tree: Path) -> None:
    """The authorities that this machine trusts; if it has no list, those of the package."""
    target = tree / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    if HOST_CERTIFICATES.exists():
        shutil.copyfile(HOST_CERTIFICATES, target)
        return
    parts = sorted((tree / "usr/share/ca-certificates").rglob("*.crt"))
    _write(target, "".join(part.read_text(encoding="ascii") for part in parts))


def _network(tree: Path, name: str) -> None:
    _write(tree / "etc/hostname", f"{name}\n")
    _write(tree / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
    # The address at which QEMU's user networking answers for the host's own name server.
    _write(tree / "etc/resolv.conf", "nameserver 10.0.2.3\n")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def kernel_of(tree: Path) -> tuple[Path, Path]:
    """The kernel's file and the folder of its modules; raises `DeviceError` when there is none."""
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise DeviceError("holds no kernel", where=tree, expected="boot/vmlinuz-*")
    version = kernels[-1].name.partition("-")[2]
    return kernels[-1], tree / "lib/modules" / version


def python_of(tree: Path) -> str:
    """The version of the board's Python, as `3.11`."""
    target = (tree / "usr/bin/python3").readlink().name
    match = re.fullmatch(r"python(3\.\d+)", target)
    if match is None:
        raise DeviceError("is not a Python", where="the board's python3", found=target)
    return match[1]
