"""Progress events of pushes and fetches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BytesTransferred", "Event", "FileTransferred", "Progress", "TransferFinished", "TransferStarted"]


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """Start of a transfer, once its files are known.

    Attributes:
        name: the asset's name.
        version: the version being transferred.
        files: the number of files to transfer.
        nbytes: their total size in bytes; `None` if unknown because modelkit pushed the version.
    """

    name: str
    version: str
    files: int
    nbytes: int | None


@dataclass(frozen=True, slots=True)
class BytesTransferred:
    """Transfer of some bytes.

    Attributes:
        name: the asset's name.
        nbytes: the number of bytes since the last event. It is negative if a file has to be transferred again.
    """

    name: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileTransferred:
    """Completion of one file.

    Attributes:
        name: the asset's name.
        path: the file's path relative to the asset; empty for a file asset.
        nbytes: the file's size in bytes.
        skipped: whether the file was already in place and wasn't transferred.
    """

    name: str
    path: str
    nbytes: int
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class TransferFinished:
    """Completion of all files of an asset.

    A push publishes the version after this event. If it loses the version number, it starts another transfer.

    Attributes:
        name: the asset's name.
        version: the version that was transferred.
    """

    name: str
    version: str


Event = TransferStarted | BytesTransferred | FileTransferred | TransferFinished
"""Events that a `progress` callback may receive."""

Progress = Callable[[Event], None]
"""Callback for progress events. It runs on the event loop and must not block. If it raises, the call fails."""


def ignore(event: Event) -> None:
    """Ignore an event."""
