"""adb's messages: a head of 24 bytes, and streams on top of it.

Sources: `protocol.txt` of Android's adb for messages and streams, `SERVICES.TXT` for services,
`SYNC.TXT` for file transfer, `shell_protocol.h` for the packets of `shell,v2`.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

VERSION = 0x01000001
MAX_DATA = 1 << 18
_HEAD = struct.Struct("<6I")
AUTH_TOKEN = 1


class Message(NamedTuple):
    command: bytes
    arg0: int
    arg1: int
    data: bytes


class Stream:
    """One stream as the device sees it; a write waits until the host has taken it."""

    def __init__(self, own_id: int, host_id: int, send: Callable[..., None]) -> None:
        self.own_id, self.host_id = own_id, host_id
        self._send = send
        self._received: queue.Queue[bytes | None] = queue.Queue()
        self._taken = threading.Semaphore(0)
        self._rest = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA):
            if self.closed:
                raise ConnectionError("the stream is closed")
            self._send(b"WRTE", self.own_id, self.host_id, data[start : start + MAX_DATA])
            self._taken.acquire()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; raises `EOFError` at the end."""
        while len(self._rest) < size:
            chunk = self._received.get()
            if chunk is None:
                self._received.put(None)
                raise EOFError
            self._rest += chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._send(b"CLSE", self.own_id, self.host_id, b"")
        self.ended()

    def got(self, data: bytes) -> None:
        self._received.put(data)
        self._send(b"OKAY", self.own_id, self.host_id, b"")

    def taken(self) -> None:
        self._taken.release()

    def ended(self) -> None:
        """The other side has closed it, or is gone."""
        self.closed = True
        self._received.put(None)
        self._taken.release()


class Connection:
    """One host's connection; `serve` answers one service and then closes the stream."""

    def __init__(
        self,
        peer: socket.socket,
        banner: str,
        serve: Callable[[Stream, str], None],
        *,
        authorized: bool,
    ) -> None:
        self._peer, self._banner, self._serve = peer, banner, serve
        self._authorized = authorized
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}

    def run(self) -> None:
        try:
            while True:
                self._take(self._receive())
        except (OSError, EOFError):
            pass
        finally:
            self._peer.close()
            for stream in list(self._streams.values()):
                stream.ended()

    def cut(self) -> None:
        """The cable is pulled."""
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> Message:
        head = self._exactly(_HEAD.size)
        number, arg0, arg1, length, _, magic = _HEAD.unpack(head)
        if magic != number ^ 0xFFFFFFFF:
            raise EOFError("no adb message")
        return Message(struct.pack("<I", number), arg0, arg1, self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            chunk = self._peer.recv(size - len(content))
            if not chunk:
                raise EOFError
            content += chunk
        return content

    def _send(self, command: bytes, arg0: int, arg1: int, data: bytes) -> None:
        (number,) = struct.unpack("<I", command)
        head = _HEAD.pack(
            number, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF
        )
        try:
            with self._lock:
                self._peer.sendall(head + data)
        except OSError:
            for stream in list(self._streams.values()):
                stream.ended()

    def _take(self, message: Message) -> None:
        command, host_id, own_id, data = message
        stream = self._streams.get(own_id)
        if command in (b"CNXN", b"AUTH"):
            if self._authorized:
                self._send(b"CNXN", VERSION, MAX_DATA, self._banner.encode())
            else:  # whatever signature or key comes, nobody has accepted it on the screen
                self._send(b"AUTH", AUTH_TOKEN, 0, bytes(20))
        elif command == b"OPEN":
            number = max(self._streams, default=0) + 1
            self._streams[number] = opened = Stream(number, host_id, self._send)
            self._send(b"OKAY", number, host_id, b"")
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=self._serving, args=(opened, service), daemon=True).start()
        elif stream is not None and command == b"WRTE":
            stream.got(data)
        elif stream is not None and command == b"OKAY":
            stream.taken()
        elif stream is not None and command == b"CLSE":
            stream.ended()

    def _serving(self, stream: Stream, service: str) -> None:
        try:
            self._serve(stream, service)
        except (ConnectionError, EOFError, BrokenPipeError):
            pass
        finally:
            stream.close()
