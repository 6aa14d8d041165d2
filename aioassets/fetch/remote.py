"""Files of a version in the store."""

from __future__ import annotations

from dataclasses import dataclass

from aioassets.drivers.protocol import Revision
from aioassets.model.files import FileEntry


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a version in the store.

    Attributes:
        entry: its row in the manifest.
        key: the key of its object.
        label: its name in errors and logs: asset, version and path.
        size: in bytes.
        revision: the revision to read, where the manifest records no size and no digest.
    """

    entry: FileEntry
    key: str
    label: str
    size: int
    revision: Revision | None = None
