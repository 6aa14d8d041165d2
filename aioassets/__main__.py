"""Entry point of the command `aioassets`, and of `python -m aioassets`."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 130
"""Exit code after SIGINT, which the shell reports as 128 plus the number of the signal."""


def main() -> NoReturn:
    """Run the command line of the current process, and exit.

    Until the command handles signals itself, SIGINT ends the process quietly, since nothing has been started by then.
    Python's own handler would raise `KeyboardInterrupt` in the midst of an import.
    """
    try:
        import signal  # noqa: PLC0415 - most of its import is interruptible

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as in a background job
            signal.signal(signal.SIGINT, _exit)
        from aioassets.cli import app  # noqa: PLC0415 - slow to import
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    app.main()


def _exit(*_: object) -> NoReturn:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
