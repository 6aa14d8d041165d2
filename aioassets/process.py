"""How the process of a command ends: signals, error messages, exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from typing import Final

import anyio
import asyncclick as click

from aioassets.console import say, show_cursor
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    Conflict,
    IntegrityError,
    NotFound,
    StoreError,
    UsageError,
)
from aioassets.redaction import redacted
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

ENDED_BY: Final = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}


def exit_code_of(error: AioAssetsError) -> int:
    """The exit code of an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


async def run(cli: click.Command, args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. SIGINT and SIGTERM cancel it; a second one ends the process.

    Args:
        cli: the program.
        args: without the program's name; `None` for those of this process.
    """
    received: list[signal.Signals] = []
    code = FAILED
    with anyio.open_signal_receiver(*ENDED_BY) as signals:
        async with anyio.create_task_group() as tasks:
            command = anyio.CancelScope()
            tasks.start_soon(_heed, signals, command, received)
            with command:
                code = await _execute(cli, args)
            tasks.cancel_scope.cancel()
    if not received:
        return code
    if command.cancelled_caught:
        say(f"{ENDED_BY[received[0]]}.")
    return 128 + received[0]


async def _heed(
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
    say("Cleaning up; the same again ends it at once.")


async def _execute(cli: click.Command, args: Sequence[str] | None) -> int:
    """Run the command and say what went wrong; nothing but a cancellation leaves here."""
    debug = False

    def tell(text: str) -> None:
        say(redacted(text, secrets_in(sys.argv[1:] if args is None else args)))

    try:
        debug = debug_wanted()
        return await cli.main(args, prog_name="aioassets", standalone_mode=False) or DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except AioAssetsError as error:
        if debug:
            tell(_traceback(error))
        tell(f"Error: {error}")
        return exit_code_of(error)
    except SystemExit as error:  # completion done, or nobody reads what is printed
        return error.code if isinstance(error.code, int) else FAILED
    except Exception as error:
        if debug:
            tell(_traceback(error))
        tell(f"Error: This is a bug in aioassets: {error!r}. AIOASSETS_DEBUG=1 shows where.")
        return FAILED


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
