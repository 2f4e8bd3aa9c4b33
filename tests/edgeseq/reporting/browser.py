"""A real browser for tests: headless Chromium, driven over a pipe by its DevTools protocol.

Messages are JSON ended by a zero byte, from us on descriptor 3 and to us on descriptor 4
(https://chromedevtools.github.io/devtools-protocol/, "--remote-debugging-pipe").
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TIMEOUT_S = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Browser:
    """One page in one browser process; `problems` gathers what the page complained about."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out, self._in = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, *, width_px: int = 1280, height_px: int = 900) -> None:
        """Opens a file and waits until its charts are drawn."""
        self.navigate(page.as_uri(), width_px=width_px, height_px=height_px)
        self.wait_for("document.documentElement?.dataset.ready === 'yes'")

    def wait_for(self, condition: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Waits until a JavaScript expression is true and nothing is complained about."""
        deadline = time.monotonic() + timeout_s
        while self.evaluate(condition) is not True:
            if self.problems or time.monotonic() > deadline:
                raise AssertionError(f"the page was not drawn: {self.problems}")
            time.sleep(0.1)

    def navigate(self, address: str, *, width_px: int = 1280, height_px: int = 900) -> None:
        """Opens an address."""
        self.problems.clear()
        self.requests.clear()
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width_px,
            height=height_px,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._call("Page.navigate", url=address)

    @contextlib.contextmanager
    def color_scheme(self, scheme: str) -> Iterator[None]:
        """Pages ask for `light` or `dark`, until the block ends."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setEmulatedMedia", features=[feature])
        yield
        self._call("Emulation.setEmulatedMedia", features=[])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, through JSON; promises are awaited."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = self._read(deadline)
            if found.get("id") == self._number:
                if "error" in found:
                    raise AssertionError(f"{method}: {found['error']}")
                return found["result"]
            self._note(found)

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise AssertionError("the browser does not answer")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in (
            "error",
            "warning",
            "assert",
        ):
            said = [str(one.get("value", one.get("description"))) for one in parameters["args"]]
            self.problems.append(f"console {parameters['type']}: {' '.join(said)}")
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"log: {parameters['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Starts Chromium and ends it afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        read_commands, write_commands = (_high(end) for end in os.pipe())
        read_answers, write_answers = (_high(end) for end in os.pipe())
        quiet = _high(os.open(os.devnull, os.O_RDWR))
        process = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, read_commands, 3),
                (os.POSIX_SPAWN_DUP2, write_answers, 4),
                (os.POSIX_SPAWN_DUP2, quiet, 1),
                (os.POSIX_SPAWN_DUP2, quiet, 2),
            ],
            setpgroup=0,
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield Browser(write_commands, read_answers)
        finally:
            for end in (write_commands, read_answers, quiet):
                os.close(end)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _high(end: int) -> int:
    """The same pipe end under a number that 3 and 4 do not collide with."""
    other = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(end)
    return other
