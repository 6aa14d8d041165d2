"""The content digest, which identifies the content of a version regardless of the version's name and location."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Final

from aioassets.model.digests import SHA256
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest

_HEADER: Final = b"aioassets content 1\n"


def content_digest(files: Sequence[FileEntry], empty_directories: Iterable[str]) -> str | None:
    r"""Return the SHA-256 digest of a canonical listing of files and empty directories, in lowercase hexadecimal.

    The listing consists of the line `aioassets content 1`, a line for each file in ascending order of the UTF-8 bytes
    of its path, and a line for each empty directory in the same order:

        file \0 <path> \0 <size in bytes> \0 <SHA-256> \0 <x if executable, else -> \n
        directory \0 <path> \n

    Returns:
        The digest; `None` if the size or SHA-256 of any file is unknown.
    """
    listing = hashlib.sha256(_HEADER)
    for file in _sorted(files):
        sha256 = file.digests.get(SHA256)
        if file.size is None or sha256 is None:
            return None
        listing.update(f"file\0{file.path}\0{file.size}\0{sha256}\0{_mode(file)}\n".encode())
    for folder in sorted(empty_directories):
        listing.update(f"directory\0{folder}\n".encode())
    return listing.hexdigest()


def listing_digest(manifest: Manifest) -> str:
    r"""Return the SHA-256 of everything that a manifest records about its content, in lowercase hexadecimal.

    It identifies a version whose content digest is unknown. The hashed text is that of `content_digest`, with these
    differences: its first line is `aioassets listing 1 \0 <push date in UTC>`, an unknown size is `-`, and instead of
    the SHA-256, it has all recorded digests as `<algorithm>=<digest>`, sorted and separated by commas.
    """
    date = manifest.push_date.astimezone(UTC).isoformat()
    listing = hashlib.sha256(f"aioassets listing 1\0{date}\n".encode())
    for file in _sorted(manifest.files):
        size = "-" if file.size is None else file.size
        digests = ",".join(f"{algorithm}={file.digests[algorithm]}" for algorithm in sorted(file.digests))
        listing.update(f"file\0{file.path}\0{size}\0{digests}\0{_mode(file)}\n".encode())
    for folder in sorted(manifest.empty_directories):
        listing.update(f"directory\0{folder}\n".encode())
    return listing.hexdigest()


def same_content(one: Manifest, other: Manifest) -> bool:
    """Return whether two versions have the same content, as far as their manifests tell.

    Their content digests decide. If one of them is unknown, as for versions of modelkit, the versions must have been
    pushed at the same time, and agree in everything about their files that both manifests record.
    """
    digests = [content_digest(each.files, each.empty_directories) for each in (one, other)]
    if None not in digests:
        return digests[0] == digests[1]
    if (one.push_date, one.is_directory, len(one.files)) != (other.push_date, other.is_directory, len(other.files)):
        return False
    return one.empty_directories == other.empty_directories and all(
        map(_agree, _sorted(one.files), _sorted(other.files))
    )


def _mode(file: FileEntry) -> str:
    return "x" if file.executable else "-"


def _agree(one: FileEntry, other: FileEntry) -> bool:
    """Return whether two entries agree in everything that both record."""
    return (
        (one.path, one.executable) == (other.path, other.executable)
        and (None in (one.size, other.size) or one.size == other.size)
        and all(one.digests[algorithm] == other.digests[algorithm] for algorithm in one.digests.keys() & other.digests)
    )


def _sorted(files: Sequence[FileEntry]) -> Iterable[FileEntry]:
    """Return the files in order of their paths. If they are already sorted, as is usual, don't copy them."""
    paths = [file.path for file in files]
    return files if all(map(str.__le__, paths, paths[1:])) else sorted(files, key=lambda file: file.path)
