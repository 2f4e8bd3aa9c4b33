"""The command line: one file per verb; its module is imported when it runs."""

from __future__ import annotations

import errno
import signal
import sys

from edgeseq import interrupts
from edgeseq.cli.app import app, missing_libraries
from edgeseq.cli.console import print_error
from edgeseq.errors import EdgeseqError, InputError, OutputError, library_panic


def main() -> None:
    """Entry point of `edgeseq`: runs a command and turns its errors into a line and an exit code.

    Exit codes: 0 done; 1 a bug; 2 bad input or usage; 3 the honest answer is no; 4 a device
    cannot be reached or was lost; 130 interrupted (typer's own doing), 143 terminated.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        interrupts.listen((signal.SIGTERM, signal.SIGHUP))
        try:
            _check_arguments()
            _run()
        finally:
            interrupts.finish()
    except BaseException as error:
        # typer ends with 130 for whatever interrupts it, and a library whose import was interrupted
        # may raise an error of its own.
        if (number := interrupts.first_signal()) is not None:
            sys.exit(128 + number)
        if not isinstance(error, EdgeseqError):
            raise
        print_error(str(error))
        sys.exit(error.exit_code)


def _run() -> None:
    """Runs the command; what the system refuses becomes an error line too."""
    try:
        try:
            app(prog_name="edgeseq")
        finally:
            sys.stdout.flush()
    except ModuleNotFoundError as error:
        name = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        missing = missing_libraries(name, error)
        if missing is None:
            raise
        raise missing from error
    except OSError as error:
        if error.filename is None:
            # Nothing that this program opened: its own output, which cannot take more.
            sys.stdout = None
            if error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
                raise
            raise OutputError(
                "cannot be written", where="standard output", found=error.strerror
            ) from error
        raise InputError(
            "cannot be read or written", where=str(error.filename), found=error.strerror
        ) from error
    except BaseException as error:
        if (failure := library_panic(error)) is not None:
            raise failure from error
        raise


def _check_arguments() -> None:
    """Names travel as JSON, and what is no text cannot."""
    for argument in sys.argv[1:]:
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(
                "an argument is not UTF-8", found=repr(argument), fix="rename the file"
            ) from None
