"""Progress events of pushes and fetches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BytesTransferred", "Event", "FileTransferred", "Progress", "TransferFinished", "TransferStarted"]


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """The start of a transfer. It is reported once the files to transfer are known.

    Attributes:
        name: the asset's name.
        version: the version being transferred.
        files: the number of files to transfer.
        nbytes: their total size in bytes; `None` if it is unknown because modelkit pushed the version, or because the
            push reads streams.
    """

    name: str
    version: str
    files: int
    nbytes: int | None


@dataclass(frozen=True, slots=True)
class BytesTransferred:
    """Progress within a transfer.

    Attributes:
        name: the asset's name.
        nbytes: the number of bytes transferred since the last event; negative if a file has to be transferred again.
        reused: whether they weren't sent or received, because another version has them.
    """

    name: str
    nbytes: int
    reused: bool = False


@dataclass(frozen=True, slots=True)
class FileTransferred:
    """The completion of one file.

    Attributes:
        name: the asset's name.
        path: the file's path relative to the asset; empty for a file asset.
        nbytes: the file's size in bytes.
        skipped: whether the file was already in place and wasn't transferred.
        reused: whether its content wasn't sent or received, because another version has it.
    """

    name: str
    path: str
    nbytes: int
    skipped: bool = False
    reused: bool = False


@dataclass(frozen=True, slots=True)
class TransferFinished:
    """The completion of all files of an asset.

    A push publishes the version after this event. If the push loses its version number, it starts another transfer.

    Attributes:
        name: the asset's name.
        version: the version that was transferred.
    """

    name: str
    version: str


Event = TransferStarted | BytesTransferred | FileTransferred | TransferFinished
"""An event that a `progress` callback can receive."""

Progress = Callable[[Event], None]
"""A callback for progress events. It runs on the event loop and must not block. If it raises, so does the call."""


def ignore(event: Event) -> None:
    """Ignore an event."""
