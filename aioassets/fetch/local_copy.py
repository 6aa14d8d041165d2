"""Verified copies of cached files."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from aioassets.model.digests import SHA256, Hash, new_hash
from aioassets.model.files import FileEntry
from aioassets.runtime.batches import SMALL
from aioassets.runtime.digests import hash_range, update_digest
from aioassets.runtime.disk import BUFFER, FULL, READING, clone_file, create_file, reason, write_at
from aioassets.runtime.threads import check_cancelled

logger = logging.getLogger(__name__)


def copy_verified(file: FileEntry, cached: str, target: str, *, may_copy: bool) -> bool:
    """Copy a cached file, and verify the copy. Blocking.

    Args:
        file: the missing file.
        cached: the path of the cached file.
        target: the path of the new file.
        may_copy: whether it may take space on the disk. If not, it must share the blocks of the cached file.

    Returns:
        Whether the file was copied. If not, nothing exists at the target.

    Raises:
        OSError: if the target can't be created, or the disk is full.
    """
    try:
        source = os.open(cached, READING)
    except OSError:  # it was evicted, or its permissions were changed
        return False
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
            return False
        is_equal = _copied(source, file, target, may_copy=may_copy)
    finally:
        os.close(source)
    return is_equal


def _copied(source: int, file: FileEntry, target: str, *, may_copy: bool) -> bool:
    staged = create_file(target, executable=file.executable)
    is_equal = False
    try:
        is_equal = _is_copied(source, staged, file, may_copy=may_copy)
    except OSError as error:
        if error.errno in FULL:
            raise
        logger.info("Not reusing a cached file for %r: %s", file.path, reason(error))
    finally:
        os.close(staged)
        if not is_equal:
            Path(target).unlink(missing_ok=True)
    return is_equal


def _is_copied(source: int, staged: int, file: FileEntry, *, may_copy: bool) -> bool:
    """Copy an open file, and return whether the copy has the expected content."""
    size, digest = file.size or 0, new_hash(SHA256)
    # Sharing blocks begins with writing recent changes to the disk. Copying a small file takes less time.
    if size > SMALL and clone_file(source, staged):
        if os.fstat(staged).st_size != size:
            return False
        hash_range(digest, staged, 0, size)
    elif may_copy:
        _copy(source, staged, size, digest)
    else:
        return False
    return digest.hexdigest() == file.digests[SHA256]


def _copy(source: int, target: int, size: int, digest: Hash) -> None:
    """Copy the first bytes of a file, and hash what is written."""
    buffer = memoryview(bytearray(min(BUFFER, size)))
    start = 0
    while start < size and (count := os.preadv(source, [buffer[: size - start]], start)):
        check_cancelled()
        update_digest(digest, buffer[:count])
        write_at(target, buffer[:count], start)
        start += count
