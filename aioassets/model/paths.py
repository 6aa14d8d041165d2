"""Relative paths in a version: validation and parent folders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final

from aioassets.model.fields import MAX_ENTRIES
from aioassets.model.jsontext import quoted
from aioassets.model.keys import MAX_KEY_BYTES, MAX_SEGMENT_BYTES

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")


def path_problem(path: str) -> str | None:
    """Return the reason why a relative path isn't allowed in a manifest, or `None` if it is allowed."""
    if _CONTROL.search(path):
        return "it contains a control character"
    if "\\" in path:
        return "it contains a backslash"
    if _DRIVE.match(path):
        return "it begins with a Windows drive letter"
    segments = path.split("/")
    if not {"", ".", ".."}.isdisjoint(segments):
        return "it must be a relative path without empty, '.' or '..' segments"
    try:
        nbytes = len(path.encode())
    except UnicodeEncodeError:
        return "it isn't valid UTF-8"
    if nbytes > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    if nbytes > MAX_SEGMENT_BYTES and any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"it has a segment longer than {MAX_SEGMENT_BYTES} bytes"
    return None


def check_paths(files: Sequence[str], folders: Sequence[str]) -> None:
    """Raise `ValueError` if a path isn't allowed, is listed twice, or is both a file and a folder."""
    for kind, paths in (("path", files), ("folder", folders)):
        for path in paths:
            if (problem := path_problem(path)) is not None:
                raise ValueError(f"it lists the {kind} {quoted(path)}: {problem}")
        is_ascending = all(path < following for path, following in pairwise(paths))  # the usual case needs no set
        if not is_ascending and len(set(paths)) != len(paths):
            raise ValueError(f"it lists the {kind} {quoted(_repeated(paths))} twice")
    if both := {*folders, *inner_folders(files, folders)}.intersection(files):
        raise ValueError(f"it lists {quoted(min(both))} both as a file and as a folder")


def folded(path: str) -> str:
    """Return a text that is equal for all paths that some file system treats as the same."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _repeated(paths: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(path for path in paths if path in seen or seen.add(path))  # type: ignore[func-returns-value]


def inner_folders(files: Sequence[str], empty_directories: Sequence[str]) -> set[str]:
    """Return all non-empty folders, or raise `ValueError` if there are too many files or folders."""
    found: set[str] = set()
    for path in chain(files, empty_directories):
        for folder in parents(path):
            if folder in found:
                break
            found.add(folder)
        if len(found) > MAX_ENTRIES:
            break
    if max(len(found), len(files) + len(empty_directories)) > MAX_ENTRIES:
        raise ValueError(f"it has more than {MAX_ENTRIES:,} files or folders")
    return found


def parents(path: str) -> Iterator[str]:
    """Iterate over the parent folders of a relative path, innermost first."""
    while (cut := path.rfind("/")) > 0:
        path = path[:cut]
        yield path
