"""Progress reports for one call, and translation of errors from the assets directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from aioassets.errors import CacheError
from aioassets.progress import BytesTransferred, Event, Progress, TransferFinished, TransferStarted
from aioassets.runtime.disk import DENIED, denied, reason


class Reporter:
    """A reporter that forwards events to a progress callback, and can tell its errors from disk errors.

    Args:
        progress: the callback.
        assets_dir: the assets directory.
    """

    def __init__(self, progress: Progress, assets_dir: Path) -> None:
        self._progress = progress
        self._assets_dir = assets_dir
        self._errors: list[Exception] = []
        self.downloaded = 0
        """The number of bytes received from the store, including those of files that were read again."""

    def __call__(self, event: Event) -> None:
        """Pass an event to the callback."""
        if isinstance(event, BytesTransferred) and not event.reused:
            self.downloaded += event.nbytes
        try:
            self._progress(event)
        except Exception as error:
            self._errors.append(error)
            raise

    @contextlib.contextmanager
    def transfer(self, name: str, version: str, files: int, nbytes: int | None) -> Iterator[None]:
        """Report the start of a transfer and, if it succeeds, its end."""
        self(TransferStarted(name, version, files, nbytes))
        yield
        self(TransferFinished(name, version))

    @contextlib.contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Translate an `OSError` unless the callback raised it.

        Raises:
            AccessDenied: if the file system denied access.
            CacheError: if the assets directory can't be used for another reason.
        """
        try:
            yield
        except OSError as error:
            if error in self._errors:
                raise
            path = str(error.filename or self._assets_dir)
            if error.errno in DENIED:
                raise denied(str(self._assets_dir), f"use {path!r}", error) from error
            raise CacheError(path, reason(error)) from error
