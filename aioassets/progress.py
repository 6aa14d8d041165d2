"""Progress events of pushes and fetches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BytesTransferred", "Event", "FileTransferred", "Progress", "TransferFinished", "TransferStarted"]


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """Start of a transfer, once its files are known.

    Attributes:
        name: the asset.
        version: its version.
        files: number of files to transfer.
        nbytes: their total size in bytes; `None` if the manifest is modelkit's and has no sizes.
    """

    name: str
    version: str
    files: int
    nbytes: int | None


@dataclass(frozen=True, slots=True)
class BytesTransferred:
    """Transfer of some bytes.

    Attributes:
        name: the asset.
        nbytes: bytes since the last event; negative if a file is transferred again from its start.
    """

    name: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileTransferred:
    """Completion of one file.

    Attributes:
        name: the asset.
        path: its path relative to the asset; empty for a file asset.
        nbytes: its size.
        skipped: whether the file was already in place and was not transferred.
    """

    name: str
    path: str
    nbytes: int
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class TransferFinished:
    """Completion of all files of the asset.

    A push publishes them after this event, perhaps under another version number.

    Attributes:
        name: the asset.
        version: its version.
    """

    name: str
    version: str


Event = TransferStarted | BytesTransferred | FileTransferred | TransferFinished
"""Events that a `progress` callback may receive."""

Progress = Callable[[Event], None]
"""Callback for progress events. It runs on the event loop and must not block. An exception in it ends the call."""


def ignore(event: Event) -> None:
    """Ignore an event."""
