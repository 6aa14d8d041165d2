"""Asking questions on the terminal."""

from __future__ import annotations

import os
import sys

import anyio

from aioassets.cli.output import echo_err
from aioassets.errors import UsageError


async def confirmed(question: str) -> bool:
    """Ask a yes-or-no question. Raise `UsageError` if there is no terminal to ask on."""
    if not _can_ask():
        raise UsageError(
            "Cannot ask for confirmation without a terminal. Use --yes to confirm, or --dry-run for a preview."
        )
    return await _ask(question)


def _can_ask() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


async def _ask(question: str) -> bool:
    """Ask a yes-or-no question on the terminal. Any answer other than "y" or "yes" means no.

    Waiting for the answer doesn't block the event loop, so it can be cancelled.
    """
    echo_err(f"{question} [y/N] ", end="")
    descriptor = sys.stdin.fileno()
    try:
        await anyio.wait_readable(descriptor)
    except anyio.get_cancelled_exc_class():
        echo_err()
        raise
    try:
        answer = os.read(descriptor, 1024).decode(errors="replace")
    except OSError:  # the terminal was closed
        answer = ""
    if not answer.endswith("\n"):
        echo_err()  # after Ctrl-D, the cursor is still on the line of the question
    return answer.strip().lower() in ("y", "yes")
