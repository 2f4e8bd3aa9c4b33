"""Runs an exported page in a browser and collects what it sends."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import DeviceError, ResultError
from edgeseq.formats.browser_result import UPLOAD_LIMIT_BYTES, TextAnswer
from edgeseq.formats.codec import decode_json
from edgeseq.runtime.browser.headless import headless_browser
from edgeseq.runtime.browser.page_server import (
    PageNote,
    PageResult,
    PageServer,
    ResultT,
    serve_page,
)
from edgeseq.subprocesses.child_process import ChildProcess, format_exit
from edgeseq.subprocesses.command_runs import pause

_GOLDEN_LIMIT_BYTES = 16 << 20
_GOLDEN_TIMEOUT_S = 120.0
_STEP_S = 0.1
FIRST_MESSAGE_S = 3600.0
"""How long a user may take to open the page."""
SILENCE_S = 300.0
"""A page says how far it is every second, but not while its device sleeps."""
_COLLECTS = '<meta name="edgeseq-collects" content="yes">'


class PageProgress(msgspec.Struct, frozen=True):
    """How far a page is: the share that is done, 0..1, and the number of queries."""

    share: float
    count: int


@contextlib.contextmanager
def serve_export(
    folder: Path,
    names: Sequence[str],
    *,
    replaced: dict[str, bytes],
    read_result: Callable[[bytes], ResultT],
    limit_bytes: int = UPLOAD_LIMIT_BYTES,
    bind: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[PageServer[ResultT]]:
    """Serves the files `names` of an export, whose page then sends its result here.

    `replaced` are contents in the place of files; `read_result` reads what the page
    sends as its result. Raises `InputError` for
    an address that this machine does not have.
    """
    page = (folder / "index.html").read_text(encoding="utf-8")
    collecting = page.replace("<head>", f"<head>\n{_COLLECTS}", 1).encode()
    with serve_page(
        folder,
        tuple(names),
        replaced={"index.html": collecting, **replaced},
        read_result=read_result,
        limit_bytes=limit_bytes,
        bind=bind,
        port=port,
    ) as server:
        yield server


def wait_for_result(
    server: PageServer[ResultT],
    *,
    first_s: float = FIRST_MESSAGE_S,
    silence_s: float = SILENCE_S,
    on_progress: Callable[[PageProgress], None] = lambda _: None,
    browser: ChildProcess | None = None,
) -> ResultT:
    """What the page sent as its result, as the server's `read_result` read it.

    Raises `DeviceError` when the page failed, sent nothing within `first_s` seconds, nothing
    more for `silence_s`, or when the process of the `browser` has ended.
    """
    timeout_s = first_s
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            message = server.messages.get_nowait()
        except queue.Empty:
            _check_browser(browser)
            pause(_STEP_S)
            continue
        timeout_s = silence_s
        deadline = time.monotonic() + timeout_s
        if isinstance(message, PageResult):
            return message.value
        if message.kind == "failure":
            raise DeviceError(
                "the page could not run the model",
                where="browser",
                found=message.content.decode("utf-8", "replace"),
                fix="try another browser, or a newer one",
            )
        _tell(message, on_progress)
    raise DeviceError(
        f"no browser sent anything for {timeout_s:g} s",
        where="browser",
        fix="open the address on the device, and leave the page in front",
    )


def _check_browser(browser: ChildProcess | None) -> None:
    if browser is not None and browser.returncode is not None:
        raise DeviceError(
            "the browser ended before its page sent a result",
            where="browser",
            found=format_exit(browser.returncode),
            fix="start it by hand to see why",
        )


def _tell(message: PageNote, on_progress: Callable[[PageProgress], None]) -> None:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        told = decode_json(message.content, PageProgress)
        if 0 <= told.share <= 1 and 0 <= told.count <= 1 << 53:
            on_progress(told)


def run_golden_texts(folder: Path, names: Sequence[str]) -> tuple[TextAnswer, ...]:
    """The answers for an export's golden texts in Chromium without a window.

    Raises `DeviceError` where Chromium is missing, or the page cannot run the model.
    """
    with (
        serve_export(
            folder, names, replaced={}, read_result=_read_answers, limit_bytes=_GOLDEN_LIMIT_BYTES
        ) as server,
        headless_browser(f"{server.address}?golden") as browser,
    ):
        return wait_for_result(server, first_s=_GOLDEN_TIMEOUT_S, browser=browser)


def _read_answers(content: bytes) -> tuple[TextAnswer, ...]:
    try:
        return decode_json(content, tuple[TextAnswer, ...])
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise ResultError("is not what was expected", where="page", found=str(failure)) from failure
