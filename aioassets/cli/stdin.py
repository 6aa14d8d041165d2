"""Standard input as the source of a push."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from aioassets.errors import SourceError, UsageError
from aioassets.runtime.filereading import FileReader
from aioassets.runtime.threads import CHUNK_SIZE

if TYPE_CHECKING:
    from aioassets.cli.options import PushOptions
    from aioassets.push.accepted import AssetSource

STDIN: Final = "-"
"""The path that means standard input."""
NAME: Final = "standard input"


def check_stdin(push: PushOptions, *, if_changed: bool) -> None:
    """Raise `UsageError` if standard input can't be pushed with the given options."""
    conflicting = {"--include": push.include, "--exclude": push.exclude, "--if-changed": if_changed}
    for option, given in conflicting.items():
        if given:
            raise UsageError(f"Cannot use {option} when pushing standard input, which is a single stream.")
    if not (push.yes or push.dry_run):
        raise UsageError(
            "Cannot ask for confirmation on standard input when pushing it. Use --yes to confirm, or --dry-run for a "
            "preview."
        )
    if sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty():
        raise UsageError("Standard input is a terminal. Redirect it from a pipe or file, or write ./- for a file '-'.")


async def stdin_source(part: str | None, push: PushOptions) -> AssetSource:
    """Wait for the first bytes on standard input, and return it as the source of a push.

    Args:
        part: the path of the only file of a directory; `None` for a file asset.
        push: the options of the push.

    Raises:
        SourceError: if standard input is empty, and this isn't allowed.
    """
    stream = _StandardInput()
    if not await stream.begin() and not push.allow_empty:
        raise SourceError(NAME, "it is empty; to publish an empty file, use --allow-empty")
    return stream if part is None else {part: stream}


class _StandardInput:
    """An async iterator over the bytes of standard input."""

    def __init__(self) -> None:
        self.name = NAME
        # Not `sys.stdin.buffer`, whose own buffer hides from the event loop whether there are bytes.
        self._reader = FileReader(os.fdopen(0, "rb", buffering=0, closefd=False))
        self._buffer = memoryview(bytearray(CHUNK_SIZE))
        self._begun: memoryview | None = None

    async def begin(self) -> bool:
        """Read the first bytes. Return whether there are any."""
        self._begun = await self._read()
        return bool(self._begun)

    def __aiter__(self) -> AsyncIterator[memoryview]:
        return self

    async def __anext__(self) -> memoryview:
        begun, self._begun = self._begun, None
        chunk = await self._read() if begun is None else begun
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def _read(self) -> memoryview:
        try:
            count = await self._reader.readinto(self._buffer, _ignore)
        except OSError as error:
            raise SourceError(NAME, error.strerror or str(error)) from error
        return self._buffer[:count]


def _ignore(data: memoryview) -> None:
    """Ignore bytes, which the push hashes itself."""
