"""Questions on the terminal."""

from __future__ import annotations

import os
import sys

import anyio

from aioassets.cli.output import echo_err


def can_ask() -> bool:
    """Whether somebody may answer."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


async def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes is no. Waiting doesn't block the loop, so it can be cancelled."""
    echo_err(f"{question} [y/N] ", end="")
    descriptor = sys.stdin.fileno()
    try:
        await anyio.wait_readable(descriptor)
    except anyio.get_cancelled_exc_class():
        echo_err()
        raise
    try:
        answer = os.read(descriptor, 1024).decode(errors="replace")
    except OSError:  # the terminal is gone
        answer = ""
    if not answer.endswith("\n"):
        echo_err()  # Ctrl-D leaves the cursor behind the question
    return answer.strip().lower() in ("y", "yes")
