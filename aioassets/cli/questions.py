"""Asking questions on the terminal."""

from __future__ import annotations

import os
import sys

import anyio

from aioassets.cli.output import echo_err


def can_ask() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


async def ask(question: str) -> bool:
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
