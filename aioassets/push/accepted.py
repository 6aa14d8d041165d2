"""The types of what can be pushed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Mapping
from typing import Protocol

__all__ = ["AssetSource", "FileContent"]

Bytes = bytes | bytearray | memoryview


class BinaryFile(Protocol):
    """A binary file object, which is read in a thread."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes."""


class AsyncBinaryFile(Protocol):
    """A binary file object with a coroutine function to read from it."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return at most `size` bytes."""


FileContent = str | os.PathLike[str] | Bytes | AsyncIterable[Bytes] | BinaryFile | AsyncBinaryFile
"""The content of a file to push: a path, a URL, a bytes-like object, an async iterable of bytes, or a file object."""

AssetSource = FileContent | Mapping[str, FileContent]
"""A source to push: the content of a file asset, the path or URL of a directory, or contents by path."""
