"""What happened, as events; who draws them is somebody else's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["BytesTransferred", "Event", "FileTransferred", "Progress", "TransferFinished", "TransferStarted"]


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """It is known what has to move.

    Attributes:
        name: the asset.
        version: its version.
        files: how many files are to move.
        nbytes: how many bytes they hold; `None` where a manifest of modelkit doesn't tell.
    """

    name: str
    version: str
    files: int
    nbytes: int | None


@dataclass(frozen=True, slots=True)
class BytesTransferred:
    """Some bytes have moved.

    Attributes:
        name: the asset.
        nbytes: how many since the last event; negative where a transfer begins anew.
    """

    name: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class FileTransferred:
    """One file is done.

    Attributes:
        name: the asset.
        path: the file, relative to the asset; empty for a file asset.
        nbytes: its size.
        skipped: whether it was there already, so that nothing moved.
    """

    name: str
    path: str
    nbytes: int
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class TransferFinished:
    """All files of the asset are done. A push has still to publish them, under another number if this one is lost.

    Attributes:
        name: the asset.
        version: its version.
    """

    name: str
    version: str


Event = TransferStarted | BytesTransferred | FileTransferred | TransferFinished
"""All that a `progress` callback may receive."""

Progress = Callable[[Event], None]
"""Called in the event loop, so it must not block; what it raises ends the call that it watches."""


def ignore(event: Event) -> None:
    """A `Progress` for when nobody watches."""
