"""The phone: its folder tree, its shell, its storage, and what can go wrong with it.

Commands run with this machine's `/bin/sh`; the paths of Android that a test needs stand for
folders below `root`, wherever they occur in a command or a transfer.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

from .wire import Connection, Stream

PROPERTIES = {
    "ro.product.manufacturer": "Example",
    "ro.product.model": "Stand-In 1",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
    "ro.soc.manufacturer": "Invented",
    "ro.soc.model": "SoC 7",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
}
BATTERY = "Current Battery Service state:\n  USB powered: true\n  level: 85\n  temperature: 273\n"
THERMAL = (
    "Thermal Status: {status}\nCached temperatures:\n"
    "\tTemperature{{mValue=99.0, mType=0, mName=CPU0, mStatus=0}}\n"
    "Current temperatures from HAL:\n"
    "\tTemperature{{mValue=41.5, mType=0, mName=CPU0, mStatus=0}}\n"
    "\tTemperature{{mValue=44.0, mType=3, mName=SKIN, mStatus=0}}\n"
)
_MAPPED = ("/data/local/tmp", "/proc/cpuinfo", "/proc/meminfo")


class Phone:
    """A phone that the real adb client talks to at `serial`; `close` ends it."""

    def __init__(
        self,
        root: Path,
        *,
        features: Iterable[str] = ("shell_v2", "stat_v2"),
        authorized: bool = True,
        disk_bytes: int | None = None,
        properties: dict[str, str] | None = None,
        thermal_status: int = 0,
        tool_socket: Path | None = None,
    ) -> None:
        self.root = root
        self._tool_socket = tool_socket
        self.disk_bytes = disk_bytes
        self.commands: list[str] = []
        self.unplug_at: bytes | None = None
        """Pulls the cable when a command's output has held this."""
        self._authorized = authorized
        self._banner = f"device::ro.product.name=stand_in;features={','.join(features)}"
        self._connections: list[Connection] = []
        self._furnish(PROPERTIES | (properties or {}), THERMAL.format(status=thermal_status))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.plugged_in = True
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def scratch(self) -> Path:
        """What the phone calls /data/local/tmp."""
        return self.root / "data/local/tmp"

    def unplug(self) -> None:
        self.plugged_in = False
        for connection in self._connections:
            connection.cut()

    def plug_in(self) -> None:
        self.plugged_in = True

    def close(self) -> None:
        self.unplug()
        self._server.close()

    def _furnish(self, properties: dict[str, str], thermal: str) -> None:
        programs = self.root / "system/bin"
        programs.mkdir(parents=True)
        self.scratch.mkdir(parents=True)
        (self.root / "proc").mkdir()
        cpuinfo = "processor\t: 0\nFeatures\t: fp asimd asimddp\n\nprocessor\t: 1\n"
        (self.root / "proc/cpuinfo").write_text(cpuinfo)
        meminfo = "MemTotal:  3906000 kB\nSwapTotal:  1000 kB\nSwapFree:  400 kB\n"
        (self.root / "proc/meminfo").write_text(meminfo)
        lines = "".join(f"[{name}]: [{value}]\n" for name, value in properties.items())
        (self.root / "properties").write_text(lines)
        (self.root / "battery").write_text(BATTERY)
        (self.root / "thermal").write_text(thermal)
        scripts = {
            "getprop": f'cat "{self.root}/properties" | if [ $# -eq 0 ]; then cat; '
            'else sed -n "s/^\\[$1\\]: \\[\\(.*\\)\\]$/\\1/p"; fi\n',
            "dumpsys": f'case $1 in battery) cat "{self.root}/battery";; '
            f'thermalservice) cat "{self.root}/thermal";; esac\n',
            "settings": "echo 0\n",
            "uname": 'case $1 in -m) echo aarch64;; *) echo "Linux 5.10.0-stand-in";; esac\n',
        }
        for name, script in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}")
            (programs / name).chmod(0o755)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            if not self.plugged_in:
                peer.close()
                continue
            connection = Connection(peer, self._banner, self._serve, authorized=self._authorized)
            self._connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def _here(self, text: str) -> str:
        for path in _MAPPED:
            text = text.replace(path, f"{self.root}{path}")
        return text

    def _serve(self, stream: Stream, service: str) -> None:
        kind, _, rest = service.partition(":")
        if kind == "sync":
            self._sync(stream)
        elif kind.startswith("shell,v2"):
            self._shell(stream, rest, v2=True)
        elif kind in ("shell", "exec"):
            self._shell(stream, rest, v2=False)

    def _shell(self, stream: Stream, command: str, *, v2: bool) -> None:
        self.commands.append(command)
        environment = {
            "PATH": f"{self.root}/system/bin:/usr/bin:/bin",
            "STAND_IN_ROOT": str(self.root),
            "STAND_IN_SOCKET": str(self._tool_socket),
        }
        process = subprocess.Popen(
            ["/bin/sh", "-c", self._here(command)],
            cwd=self.root,
            env=environment,
            stdin=subprocess.PIPE if v2 else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
            bufsize=0,
        )
        lock = threading.Lock()

        def move(pipe: object, packet: int) -> None:
            seen = b""
            try:
                while chunk := os.read(pipe.fileno(), 1 << 16):  # type: ignore[attr-defined]
                    seen = seen[-1000:] + chunk
                    if self.unplug_at is not None and self.unplug_at in seen:
                        self.unplug_at = None
                        self.unplug()
                    with lock:
                        stream.write(
                            struct.pack("<BI", packet, len(chunk)) + chunk if v2 else chunk
                        )
            except (ConnectionError, OSError):
                pass
            finally:  # as adbd does: whoever writes on finds a closed pipe
                pipe.close()  # type: ignore[attr-defined]

        def feed() -> None:
            try:
                while True:
                    packet, length = struct.unpack("<BI", stream.read(5))
                    content = stream.read(length)
                    if packet == 0:
                        process.stdin.write(content)  # type: ignore[union-attr]
                    elif packet == 4:
                        process.stdin.close()  # type: ignore[union-attr]
            except (EOFError, OSError, ValueError):
                pass
            finally:
                process.stdin.close()  # type: ignore[union-attr]

        outputs = [(process.stdout, 1)] + ([(process.stderr, 2)] if v2 else [])
        threads = [threading.Thread(target=move, args=pair, daemon=True) for pair in outputs]
        for thread in threads:
            thread.start()
        if v2:
            threading.Thread(target=feed, daemon=True).start()
        for thread in threads:
            thread.join()
        status = process.wait() & 0xFF
        if v2:
            stream.write(struct.pack("<BIB", 3, 1, status))

    def _sync(self, stream: Stream) -> None:
        while True:
            request, length = struct.unpack("<4sI", stream.read(8))
            if request == b"QUIT":
                return
            name = stream.read(length).decode()
            if request in (b"STAT", b"LST2", b"STA2"):
                stream.write(self._stat(request, Path(self._here(name))))
            elif request == b"SEND":
                self._receive(stream, name)
            elif request == b"RECV":
                self._send(stream, Path(self._here(name)))
            else:
                return

    def _stat(self, request: bytes, path: Path) -> bytes:
        try:
            found = path.lstat()
        except OSError as error:
            if request == b"STAT":
                return struct.pack("<4s3I", b"STAT", 0, 0, 0)
            return struct.pack("<4sIQQ4IQ3q", request, error.errno or 0, *[0] * 10)
        if request == b"STAT":
            return struct.pack("<4s3I", b"STAT", found.st_mode, found.st_size, int(found.st_mtime))
        owner = (found.st_mode, found.st_nlink, found.st_uid, found.st_gid)
        times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
        numbers = (0, found.st_dev, found.st_ino, *owner, found.st_size, *times)
        return struct.pack("<4sIQQ4IQ3q", request, *numbers)

    def _receive(self, stream: Stream, request: str) -> None:
        name, _, mode = request.rpartition(",")
        path, content, failure = Path(self._here(name)), b"", ""
        while True:
            kind, length = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            content += stream.read(length)
        used = sum(one.stat().st_size for one in self.scratch.rglob("*") if one.is_file())
        if self.disk_bytes is not None and used + len(content) > self.disk_bytes:
            path.write_bytes(content[: max(0, self.disk_bytes - used)])
            failure = "write failed: No space left on device"
        else:
            try:
                path.write_bytes(content)
                path.chmod(int(mode) & 0o777)
            except OSError as error:
                failure = f"couldn't create file: {error.strerror}"
        if failure:
            stream.write(struct.pack("<4sI", b"FAIL", len(failure)) + failure.encode())
        else:
            stream.write(struct.pack("<4sI", b"OKAY", 0))

    def _send(self, stream: Stream, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            said = f"open failed: {error.strerror}".encode()
            stream.write(struct.pack("<4sI", b"FAIL", len(said)) + said)
            return
        for start in range(0, len(content), 1 << 16):
            chunk = content[start : start + (1 << 16)]
            stream.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
        stream.write(struct.pack("<4sI", b"DONE", 0))
