"""Receipts of deliveries. They tell which files outside the cache aioassets wrote, so that it replaces no others.

Each receipt is a file, written before its payload is put at the destination. The last few are kept. Those before the
last one matter if that delivery was interrupted, or if several run at the same time on a file system without locks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".json"
_KEPT: Final = 4
"""Number of receipts to keep."""
_MAX_SIZE: Final = 64 * 1024
"""Maximum size of a receipt in bytes. Its fields take a few hundred."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt of a version, or a part of one, that was delivered.

    Attributes:
        spec: the spec with the exact version.
        store: the identity of the store.
        content: a digest of the content, or other text that identifies it.
        fingerprint: the fingerprint of what was written.
    """

    spec: str
    store: str
    content: str
    fingerprint: str

    def write_to(self, folder: Path, temporary: Path) -> None:
        """Add the receipt to a folder, by way of a temporary file on the same file system. Blocking."""
        data = json.dumps(asdict(self), indent=2) + "\n"
        temporary.write_text(data, encoding="ascii")
        os.replace(temporary, folder / f"{hashlib.sha256(data.encode()).hexdigest()[:16]}{_SUFFIX}")

    @classmethod
    def parse(cls, data: bytes) -> Receipt:
        """Parse a receipt. Raises `ValueError` if it isn't valid."""
        value = json.loads(data)
        names = [field.name for field in fields(cls)] if isinstance(value, dict) else []
        found = [text for name in names if isinstance(text := value.get(name), str)]
        if len(found) != len(fields(cls)):
            raise ValueError("it isn't a receipt")
        return cls(*found)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A receipt in a folder, its file and the modification time of that."""

    receipt: Receipt
    path: Path
    written_at: int


def receipts_in(folder: Path) -> tuple[Receipt, ...]:
    """Return the receipts in a folder, oldest first. Blocking."""
    return tuple(each.receipt for each in _stored(folder))


def remove_old_receipts(folder: Path) -> None:
    """Remove all receipts in a folder except for the last few. Blocking."""
    for each in _stored(folder)[:-_KEPT]:
        each.path.unlink(missing_ok=True)


def _stored(folder: Path) -> list[_Stored]:
    found: list[_Stored] = []
    names = os.listdir(folder) if folder.is_dir() else []
    for path in (folder / name for name in names if name.endswith(_SUFFIX)):
        with contextlib.suppress(FileNotFoundError, ValueError), path.open("rb") as file:
            found.append(_Stored(Receipt.parse(file.read(_MAX_SIZE)), path, os.fstat(file.fileno()).st_mtime_ns))
    return sorted(found, key=attrgetter("written_at"))
