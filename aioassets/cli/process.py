"""How the process of a command ends: signals, error messages, exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, TextIO, cast

import anyio
from asyncclick.utils import PacifyFlushWrapper

from aioassets.cli.display import show_cursor
from aioassets.cli.escaping import traceback_lines
from aioassets.cli.output import echo_err, logging_escaped
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
from aioassets.runtime.threads import is_out_of_threads
from aioassets.settings import debug_wanted, secrets_in

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2

EXIT_CODES: Final[tuple[tuple[type[AioAssetsError], int], ...]] = (
    (UsageError, USAGE),
    (NotFound, 3),
    (Conflict, 4),
    (IntegrityError, 5),
    (AccessDenied, 6),
    (StoreError, 7),
    (AioAssetsError, FAILED),
)
"""The exit code of each family of errors; the first that fits."""

SIGNAL_MESSAGES: Final = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}


def exit_code_of(error: AioAssetsError) -> int:
    """The exit code of an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


def run(work: Callable[[], Awaitable[int | None]], args: Sequence[str] | None = None) -> int:
    """Do the work of a command and return its exit code. SIGINT and SIGTERM cancel it; a second one ends the process.

    Args:
        work: what to do; returns the exit code.
        args: the command line, without the program's name; `None` for that of this process.
    """
    codes: list[int] = []

    async def main() -> None:
        codes.append(await _run(work, args))

    with logging_escaped():
        try:
            anyio.run(main)
        except RuntimeError as error:  # ending a loop takes a thread, if only to end those of its executor
            if not (codes and is_out_of_threads(error)):
                raise
    return codes[0]


async def _run(work: Callable[[], Awaitable[int | None]], args: Sequence[str] | None) -> int:
    received: list[signal.Signals] = []
    code = FAILED
    with anyio.open_signal_receiver(*SIGNAL_MESSAGES) as signals:
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
    echo_err("Cleaning up; the same again ends it at once.")


async def _execute(work: Callable[[], Awaitable[int | None]], args: Sequence[str] | None) -> int:
    """Do the work and say what went wrong; nothing but a cancellation leaves here."""
    try:
        debug_wanted()  # where it can't be read, that is an error
        return await work() or DONE
    except Exception as error:
        return report_error(error, args)


def report_error(error: Exception, args: Sequence[str] | None = None) -> int:
    """Say what went wrong, and return the exit code.

    Args:
        error: what ended the command.
        args: the command line, whose secrets aren't shown; `None` for that of this process.
    """
    if isinstance(error, BrokenPipeError):  # nobody reads what is printed
        sys.stdout = cast("TextIO", PacifyFlushWrapper(sys.stdout))
        return FAILED
    if is_out_of_threads(error):
        cause, error = error, OutOfThreads()
        error.__cause__ = cause
    known = isinstance(error, AioAssetsError)
    words = f"{error}" if known else f"This is a bug in aioassets: {error!r}. AIOASSETS_DEBUG=1 shows where."
    lines = [f"Error: {words}"]
    with contextlib.suppress(UsageError):  # which is told itself
        if debug_wanted():
            lines = [*traceback_lines(error), "", *lines]
    secrets = secrets_in(sys.argv[1:] if args is None else args)
    for line in lines:
        echo_err(redacted(line, secrets))
    return exit_code_of(error) if isinstance(error, AioAssetsError) else FAILED
