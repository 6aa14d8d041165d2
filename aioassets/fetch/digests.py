"""Digests of individual files, computed with the strongest algorithm for which the manifest records a digest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aioassets.errors import IntegrityError
from aioassets.model.digests import Hash, best_of, new_hash
from aioassets.model.files import FileEntry
from aioassets.runtime.digests import update_digest
from aioassets.runtime.threads import check_cancelled

READ: Final = 1024 * 1024
"""Number of bytes to read from the disk at a time."""


def hash_for(entry: FileEntry) -> Hash | None:
    """Return a new hash object to verify a file, or `None` if the manifest records no known digest."""
    algorithm = best_of(entry.digests)
    return new_hash(algorithm) if algorithm is not None else None


def check_digest(label: str, entry: FileEntry, found: str) -> None:
    """Raise `IntegrityError` if a digest differs from the one in the manifest.

    Args:
        label: the name of the file for error messages.
        entry: the file's entry in the manifest.
        found: the digest, computed with the algorithm that `hash_for` selects.
    """
    algorithm = best_of(entry.digests)
    if algorithm is not None and entry.digests[algorithm] != found:
        raise IntegrityError(label, f"{algorithm} {entry.digests[algorithm]}", found)


def digest_of_content(data: bytes, entry: FileEntry) -> str:
    """Return the digest of a file's content. If `hash_for` selects no algorithm, return an empty string."""
    if (digest := hash_for(entry)) is None:
        return ""
    update_digest(digest, data)
    return digest.hexdigest()


def digest_of_file(path: Path, entry: FileEntry) -> str:
    """Return the digest of a file on disk. If `hash_for` selects no algorithm, return an empty string. Blocking."""
    digest = hash_for(entry)
    if digest is None:
        return ""
    with path.open("rb", buffering=0) as file:
        while data := file.read(READ):
            check_cancelled()
            digest.update(data)
    return digest.hexdigest()


def verify_file(path: Path, entry: FileEntry, label: str) -> None:
    """Check the size and digest of a file on disk against its manifest entry. Blocking.

    Raises:
        IntegrityError: if the file is missing or differs.
    """
    try:
        size = path.stat().st_size
        if entry.size is not None and size != entry.size:
            raise IntegrityError(label, f"{entry.size} bytes", str(size))
        check_digest(label, entry, digest_of_file(path, entry))
    except (FileNotFoundError, NotADirectoryError):
        raise IntegrityError(label, f"{entry.size} bytes", "nothing") from None
