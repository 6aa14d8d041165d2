"""Running a command: signals, error messages and exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import anyio

from aioassets.cli.display import show_cursor
from aioassets.cli.escaping import traceback_lines
from aioassets.cli.output import echo_err, escaped_logging, unwritten
from aioassets.cli.redaction import redacted
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    Conflict,
    IntegrityError,
    NotFound,
    OutOfThreads,
    StoreError,
    UsageError,
)
from aioassets.runtime.descriptors import raise_limit
from aioassets.runtime.threads import is_out_of_threads
from aioassets.settings import debug_wanted, secrets_in

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNWRITTEN: Final = 8
"""Exit code of a command that succeeded but could not write its result to standard output."""

EXIT_CODES: Final[tuple[tuple[type[AioAssetsError], int], ...]] = (
    (UsageError, USAGE),
    (NotFound, 3),
    (Conflict, 4),
    (IntegrityError, 5),
    (AccessDenied, 6),
    (StoreError, 7),
    (AioAssetsError, FAILED),
)
"""Exit codes by error class. The first match applies."""

SIGNAL_MESSAGES: Final = {
    signal.SIGINT: "Interrupted",
    signal.SIGTERM: "Terminated",
    signal.SIGHUP: "Hung up",
}


def exit_code_of(error: AioAssetsError) -> int:
    """Return the exit code for an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def run(work: Callable[[], Awaitable[int | None]], args: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    SIGINT, SIGTERM and SIGHUP cancel the command. On a second signal, the process exits immediately. If
    SIGHUP is ignored, as under `nohup`, it stays ignored.

    Args:
        work: a coroutine function that runs the command and returns the exit code.
        args: the arguments without the program name. `None` means those of the current process.
    """
    codes: list[int] = []
    unwritten.reset()
    raise_limit()

    async def main() -> None:
        codes.append(await _run(work, args))

    with escaped_logging(sys.argv[1:] if args is None else args, verbose=_debug_mode()):
        try:
            anyio.run(main)
        except RuntimeError as error:  # closing the loop starts a thread to shut down its executor
            if not (codes and is_out_of_threads(error)):
                raise
    return UNWRITTEN if codes[0] == DONE and unwritten.error is not None else codes[0]


async def _run(work: Callable[[], Awaitable[int | None]], args: Sequence[str] | None) -> int:
    received: list[signal.Signals] = []
    code = FAILED
    with anyio.open_signal_receiver(*_handled_signals()) as signals:
        async with anyio.create_task_group() as tasks:
            command = anyio.CancelScope()
            tasks.start_soon(_cancel_on_signal, signals, command, received)
            with command:
                code = await _execute(work, args)
            tasks.cancel_scope.cancel()
    if not received:
        return code
    if command.cancelled_caught:
        echo_err(f"{SIGNAL_MESSAGES[received[0]]}.")
    return 128 + received[0]


def _handled_signals() -> list[signal.Signals]:
    is_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNAL_MESSAGES if not (is_nohup and number == signal.SIGHUP)]


async def _cancel_on_signal(
    signals: AsyncIterator[signal.Signals], command: anyio.CancelScope, received: list[signal.Signals]
) -> None:
    async with anyio.create_task_group() as tasks:
        async for number in signals:
            if received:
                show_cursor()
                os._exit(128 + received[0])
            received.append(number)
            command.cancel()
            tasks.start_soon(_explain_delay)


async def _explain_delay() -> None:
    await anyio.sleep(0.5)
    echo_err("Cleaning up. Press Ctrl-C again to exit immediately.")


async def _execute(work: Callable[[], Awaitable[int | None]], args: Sequence[str] | None) -> int:
    """Run a command and report any error. Only cancellation propagates."""
    try:
        debug_wanted()  # raises if the variable is invalid
        return await work() or DONE
    except Exception as error:
        return report_error(error, args)


def report_error(error: Exception, args: Sequence[str] | None = None) -> int:
    """Print an error, and return its exit code.

    Args:
        error: the error that ended the command.
        args: the arguments whose secrets to redact. `None` means those of the current process.
    """
    if is_out_of_threads(error):
        cause, error = error, OutOfThreads()
        error.__cause__ = cause
    lines = [f"Error: {_message(error)}"]
    if _debug_mode():
        lines = [*traceback_lines(error), "", *lines]
    secrets = secrets_in(sys.argv[1:] if args is None else args)
    for line in lines:
        echo_err(redacted(line, secrets))
    return exit_code_of(error) if isinstance(error, AioAssetsError) else FAILED


def _debug_mode() -> bool:
    """Return whether `AIOASSETS_DEBUG` is true. If its value is invalid, return `False`; `_execute` reports it."""
    with contextlib.suppress(UsageError):
        return debug_wanted()
    return False


def _message(error: Exception) -> str:
    if isinstance(error, AioAssetsError):
        return str(error)
    return f"This is a bug in aioassets: {error!r}. Set AIOASSETS_DEBUG=1 to see the traceback, and report the bug."
