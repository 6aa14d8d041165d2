"""Sources that are given as values: a mapping of paths to contents, or the content of a single file."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from aioassets.errors import SourceError, SourceNotFound, UsageError
from aioassets.model.arguments import check_text
from aioassets.model.paths import check_paths, folded
from aioassets.push.contents import content_file
from aioassets.push.scan import Filter, Tree, checked, tree_of_directory, tree_of_file
from aioassets.push.sources import LocalFile, PlacedFile, SourceFile
from aioassets.push.stored import StoredFile
from aioassets.push.streams import StreamFile, is_repeatable
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import THREADS, check_cancelled, in_thread

VALUE: Final = "asset_path"
"""The name of a source that is a value, for messages."""

Locate = Callable[[str], Awaitable[Tree]]
"""A function that scans a path or URL."""


async def scan_value(value: object) -> Tree:
    """Return the tree of a file asset whose content is given.

    Raises:
        UsageError: if the value has a type that can't be pushed.
        SourceError: if it can't be pushed.
    """
    name = getattr(value, "name", None)
    source = name if isinstance(name, str) else VALUE
    file = await in_thread(content_file, "", source, value)
    return _with_streams(tree_of_file(source, [file]))


async def scan_mapping(
    contents: Mapping[Any, object], locate: Locate, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Tree:
    """Return the tree of a directory asset with the given files.

    Args:
        contents: the contents by path. A value may also be the path or URL of a directory, whose tree is then pushed
            below the path.
        locate: a function that scans a path or URL.
        include: gitignore-style patterns for files to push; empty for all files.
        exclude: gitignore-style patterns for files to leave out.

    Raises:
        UsageError: if a path isn't a string, or a value has a type that can't be pushed.
        SourceNotFound: if there is no file or object at a path or URL.
        SourceError: if a path isn't allowed, two paths conflict, or a file can't be pushed.
    """
    entries = list(contents.items())
    _check_keys([key for key, _ in entries])
    wanted = Filter(include, exclude)
    trees: dict[str, Tree] = {}

    async def scan_entry(entry: tuple[str, str]) -> None:
        key, text = entry
        try:
            trees[key] = await locate(text)
        except SourceNotFound as error:
            is_text = isinstance(contents[key], str) and "://" not in text
            raise SourceNotFound(error.path, key=key, is_text=is_text) from error

    located = [(key, text) for key, value in entries if (text := text_of(value, key)) is not None]
    await for_each(located, scan_entry, limit=THREADS)
    return await in_thread(_tree, entries, trees, wanted)


def text_of(value: object, key: str) -> str | None:
    """Return the text of a path or URL, or `None` if a value is neither.

    Raises:
        UsageError: if the value is a path in bytes.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(value, os.PathLike) and not isinstance(text, str):
        raise UsageError(f"Cannot push a bytes path as {key!r}: decode it with os.fsdecode.")
    return text if isinstance(text, str) else None


def _check_keys(keys: Iterable[Any]) -> None:
    """Check that the paths of a mapping are allowed, and that no file system treats two of them as the same."""
    seen: dict[str, str] = {}
    for key in keys:
        check_text(key, "path of a file in a mapping")
        checked(key, key)
        if (other := seen.setdefault(folded(key), key)) != key:
            problem = f"some file systems treat it as the same path as {other!r}; rename one of them"
            raise SourceError(key, problem)


def _tree(entries: Sequence[tuple[str, object]], trees: Mapping[str, Tree], wanted: Filter) -> Tree:
    files: list[SourceFile] = []
    folders: list[str] = []
    for key, value in entries:
        check_cancelled()
        if key not in trees:
            files += [content_file(key, key, value)] if wanted.wants_file(key) else []
            continue
        placed = (_placed(key, file) for file in trees[key].files)
        files += (file for file in placed if wanted.wants_file(file.path))
        folders += _folders(key, trees[key], wanted)
    files.sort(key=lambda file: file.path)
    paths = [file.path for file in files]
    _check_conflicts(paths, folders, files)
    return _with_streams(tree_of_directory(VALUE, files, paths, folders))


def _folders(key: str, tree: Tree, wanted: Filter) -> list[str]:
    """Return the paths of the empty directories of a tree that is pushed below a path."""
    if not tree.is_directory:
        return []
    found = [f"{key}/{path}" for path in tree.empty_directories] if tree.files or tree.empty_directories else [key]
    return [checked(path, path) for path in found if wanted.wants_empty_directory(path)]


def _placed(key: str, file: SourceFile) -> SourceFile:
    """Return a scanned file with its path in the mapping."""
    path = checked(file.source, f"{key}/{file.path}" if file.path else key)
    if isinstance(file, LocalFile):
        return PlacedFile("", path, file.stamp, file.executable, file.source)
    if isinstance(file, StoredFile):
        return replace(file, path=path)
    raise TypeError(f"{file!r} is neither a local file nor an object")


def _check_conflicts(paths: Sequence[str], folders: Sequence[str], files: Sequence[SourceFile]) -> None:
    try:
        check_paths(paths, sorted(folders))
    except ValueError as error:
        raise SourceError(VALUE, str(error)) from None
    seen: set[int] = set()
    for file in files:
        if isinstance(file, StreamFile) and not is_repeatable(file.value):
            if id(file.value) in seen:
                raise SourceError(file.source, "another file of this push has the same stream, which can be read once")
            seen.add(id(file.value))


def _with_streams(tree: Tree) -> Tree:
    return replace(tree, streams=sum(isinstance(file, StreamFile) for file in tree.files))
