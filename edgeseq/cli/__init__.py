"""The command line: one file per verb; its module is imported when it runs."""

from __future__ import annotations

import signal
import sys

from edgeseq import interrupts
from edgeseq.cli.app import app
from edgeseq.cli.console import print_error
from edgeseq.errors import EdgeseqError, missing_extra


def main() -> None:
    """Entry point of `edgeseq`: runs a command and turns its errors into a line and an exit code.

    Exit codes: 0 done; 1 a bug; 2 bad input or usage; 3 the honest answer is no; 4 a device
    cannot be reached or was lost; 130 interrupted (typer's own doing), 143 terminated.
    """
    try:
        interrupts.listen((signal.SIGTERM, signal.SIGHUP))
        app(prog_name="edgeseq")
    except EdgeseqError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        print_error(str(missing))
        sys.exit(missing.exit_code)
    except (KeyboardInterrupt, SystemExit):
        # typer ends with 130 for whatever interrupts it.
        if (number := interrupts.first_signal()) is not None:
            sys.exit(128 + number)
        raise
