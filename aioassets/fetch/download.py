"""Downloading many files in parallel."""

from __future__ import annotations

from collections.abc import Callable

from aioassets.fetch.reader import FileReader, Sink
from aioassets.fetch.remote import RemoteFile
from aioassets.model.files import FileEntry, FileTable
from aioassets.runtime.lanes import FILES_AT_ONCE, side_by_side

Locate = Callable[[FileEntry], RemoteFile]
"""A function that returns the location of a file in the store, or raises `IntegrityError` if the file is missing."""


async def download(
    reader: FileReader,
    files: FileTable,
    locate: Locate,
    sink: Callable[[FileEntry], Sink],
    *,
    at_once: int = FILES_AT_ONCE,
) -> None:
    """Download and verify files.

    Args:
        reader: the reader of the store's files.
        files: the files to download.
        locate: a function that returns the location of a file in the store.
        sink: a function that returns the destination of a file.
        at_once: the maximum number of concurrent downloads.

    Raises:
        IntegrityError: if a file is missing or differs from its manifest.
    """

    async def download_one(number: int) -> None:
        entry = files[number]
        await reader.read(locate(entry), sink(entry))

    await side_by_side(files.sizes, len(files), download_one, at_once)
