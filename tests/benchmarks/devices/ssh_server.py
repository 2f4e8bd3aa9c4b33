"""A real sshd on a loopback port, with its own keys, for tests that need a board."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from edgeseq_benchmarks.devices.ssh import SshDevice

SSHD = Path("/usr/sbin/sshd")
USER = "root" if os.getuid() == 0 else os.environ.get("USER", "")


def missing() -> str | None:
    """Why there can be no server here, None when there can."""
    if not SSHD.exists():
        return "needs /usr/sbin/sshd (apt install openssh-server)"
    if os.getuid() != 0:
        return "needs root, which sshd lets in without PAM"
    # Debian's sshd wants this folder for its unprivileged half; a boot would make it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return None


def make_key(path: Path) -> Path:
    """A key pair without a passphrase."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)],  # noqa: S607
        check=True,
    )
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Sshd:
    """The server; `config` is a client's configuration that knows it."""

    def __init__(self, folder: Path, *settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        make_key(folder / "host")
        make_key(folder / "user")
        (folder / "sshd_config").write_text(
            "\n".join(
                [
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {folder}/host",
                    f"AuthorizedKeysFile {folder}/user.pub",
                    "PidFile none",
                    "StrictModes no",
                    "UsePAM no",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "PermitRootLogin yes",
                    *settings,
                ]
            )
            + "\n"
        )
        self.know((folder / "host.pub").read_text())
        self.config = folder / "config"
        self.config.write_text(
            f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {folder}/known\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def name(self) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    def know(self, public_key: str) -> None:
        """Makes `public_key` the one that the client expects; "" for none."""
        kind_and_key = " ".join(public_key.split()[:2])
        line = f"[127.0.0.1]:{self.port} {kind_and_key}\n" if public_key else ""
        (self.folder / "known").write_text(line)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stderr=(self.folder / "log").open("ab"),
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text())

    def device(self, **changes: object) -> SshDevice:
        given: dict[str, object] = {"user": USER, "port": self.port, "config_file": self.config}
        return SshDevice("127.0.0.1", **(given | changes))  # type: ignore[arg-type]

    def drop(self) -> int:
        """Kills every connection, and nothing that runs behind one; says how many processes."""
        assert self._process is not None
        pids = [pid for pid in descendants(self._process.pid) if _is_sshd(pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def stop(self) -> None:
        """Ends the server and its connections, as a board that loses its network does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # nobody comes in meanwhile
            self.drop()
            self._process.kill()
            self._process.wait()
            self._process = None


def _is_sshd(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/exe").readlink()).startswith(str(SSHD))
    return False


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found += [int(folder.name), *descendants(int(folder.name))]
    return found


def naming(word: str) -> list[str]:
    """The command lines and environments of processes that name `word`, this one's left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_bytes()
            if word.encode() in command or word.encode() in (folder / "environ").read_bytes():
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def wait_until(condition: object, *, seconds: float = 20.0) -> bool:
    """Waits until `condition()` holds; whether it does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return bool(condition())  # type: ignore[operator]
