"""Comparing a scanned source with a version, hashing only files that the sizes don't tell apart."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final

from aioassets.model.digests import SHA256, best_of
from aioassets.model.files import DigestColumn, FileTable
from aioassets.model.manifest import Manifest
from aioassets.push.hashes import Hashes
from aioassets.push.scan import Tree
from aioassets.runtime.lanes import side_by_side
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import THREADS, check_cancelled, in_thread

CHECKED_EVERY: Final = 1024
"""Number of files to look at between two checks for cancellation."""


async def has_content(tree: Tree, manifest: Manifest, hashes: Hashes) -> bool:
    """Return whether a source is known to have exactly the content of a version: the same content digest.

    Paths, sizes and modes are compared first. Then the files are hashed, until one differs. A file of which the
    manifest has no digest, or which would have to be downloaded to be hashed, counts as different.

    Raises:
        SourceChanged: if the source has changed since the scan.
        SourceError: if a file can't be read.
    """
    rows = await in_thread(_rows, tree, manifest)
    if rows is None:
        return False
    different = False

    async def compare(number: int) -> None:
        nonlocal different
        if different:
            return
        digests = manifest.files[rows[number]].digests
        algorithm = best_of(digests)
        if algorithm is None or await hashes.of(number, algorithm) != digests[algorithm]:
            different = True

    await side_by_side((file.size for file in tree.files), len(tree.files), compare, THREADS)
    if not different:
        await in_thread(tree.check_unchanged)
    return not different


def _rows(tree: Tree, manifest: Manifest) -> array[int] | None:
    """Return the rows of the manifest that have the paths of the source's files, in their order. Blocking.

    Returns:
        The numbers of the rows; `None` if paths, sizes or modes differ.
    """
    table = manifest.table
    same_shape = (tree.is_directory, len(tree.files)) == (manifest.is_directory, len(table))
    if not same_shape or tree.empty_directories != tuple(sorted(manifest.empty_directories)):
        return None
    by_path = {path: number for number, path in enumerate(table.paths)}
    rows = array("L")
    for count, file in enumerate(tree.files):
        if not count % CHECKED_EVERY:
            check_cancelled()
        number = by_path.get(file.path)
        if number is None:
            return None
        entry = table[number]
        if (file.size, file.executable) != (entry.size, entry.executable):
            return None
        rows.append(number)
    return rows


async def entries_of(tree: Tree, other: FileTable) -> FileTable:
    """Return the files of a source as a table, with the digests that a comparison with other files needs.

    A file is hashed if the other file of this path has the same size, or if there is no other file of this path, but
    one with the same size whose path the source doesn't have.

    Raises:
        SourceChanged: if the source has changed since the scan.
        SourceError: if a file can't be read.
    """
    needed = await in_thread(_needed, tree, other)
    hashes = Hashes(tree.files)
    digests = DigestColumn(len(tree.files))

    async def look(number: int) -> None:
        algorithm = needed[number]
        digest = await hashes.of(number, algorithm)
        if digest is not None:
            digests[number] = {algorithm: digest}

    await for_each(needed, look, limit=THREADS)
    return FileTable.of(tree.files, digests)


def _needed(tree: Tree, other: FileTable) -> Mapping[int, str]:
    """Return the numbers of the files to hash, and the algorithms to use. Blocking."""
    rows = {path: number for number, path in enumerate(other.paths)}
    own = {file.path for file in tree.files}
    elsewhere = {size for path, size in zip(other.paths, other.sizes, strict=True) if path not in own}
    needed: dict[int, str] = {}
    for number, file in enumerate(tree.files):
        if not number % CHECKED_EVERY:
            check_cancelled()
        row = rows.get(file.path)
        if row is None:
            if file.size in elsewhere:
                needed[number] = SHA256
            continue
        entry = other[row]
        algorithm = best_of(entry.digests)
        if algorithm is not None and entry.size in (None, file.size):
            needed[number] = algorithm
    return needed
