"""Adopting existing payloads that have no usable record."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from aioassets.errors import IntegrityError
from aioassets.fetch.digests import verify_file
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.record import Record
from aioassets.model.manifest import Manifest

logger = logging.getLogger(__name__)


def adopt(entry: CacheEntry, record: Record) -> bool:
    """Record the existing payload if it matches the version. Otherwise, set it aside unless it has a record. Blocking.

    Returns:
        Whether the payload was recorded, so that the version is now cached.
    """
    if not entry.payload.exists():
        return False
    if (difference := _difference(entry, record.manifest)) is not None:
        if entry.record() is None:
            entry.try_set_aside(entry.payload, difference)
        return False
    entry.write_record(record)
    logger.info("Adopted %r as %s without a download", str(entry.payload), entry.label)
    return True


def _difference(entry: CacheEntry, manifest: Manifest) -> str | None:
    """Return a description of how the payload differs from the version, or `None` if they match."""
    if not manifest.verifiable:
        return "the manifest doesn't record a digest for every file"
    if entry.payload.is_dir() != manifest.is_directory:
        return f"it is {'not ' if manifest.is_directory else ''}a directory"
    try:
        for file in manifest.files:
            verify_file(entry.payload / file.path, file, entry.file_label(file))
    except (IntegrityError, OSError) as error:
        return str(error)
    return _difference_of_paths(entry.payload, manifest) if manifest.is_directory else None


def _difference_of_paths(payload: Path, manifest: Manifest) -> str | None:
    found = {str(Path(base, name).relative_to(payload)) for base, _, names in os.walk(payload) for name in names}
    if added := found - set(manifest.table.paths):
        return f"{min(added)!r} was added to it"
    missing = (folder for folder in manifest.empty_directories if not (payload / folder).is_dir())
    return next((f"the folder {folder!r} is missing" for folder in missing), None)
