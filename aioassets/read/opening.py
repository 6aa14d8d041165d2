"""Opening the file that a spec names."""

from __future__ import annotations

import os
import weakref
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

import anyio

from aioassets.errors import UsageError
from aioassets.fetch.context import FetchContext
from aioassets.fetch.leases import Hold, Lease
from aioassets.fetch.lookup import CachedFiles
from aioassets.fetch.remote import RemoteVersion
from aioassets.fetch.reporting import Reporter
from aioassets.fetch.retrieval import Retrieval
from aioassets.fetch.selection import Selection, select
from aioassets.model.files import FileEntry
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.progress import ignore
from aioassets.read.ahead import Allowance
from aioassets.read.contents import CachedPieces, ChunkedPieces, PlainPieces, WholePieces
from aioassets.read.file import AssetFile, Run
from aioassets.read.known import KnownVersion, KnownVersions
from aioassets.read.listing import VersionFiles, with_sizes
from aioassets.read.pieces import Opened, Pieces
from aioassets.read.stored import SMALL_FILE, StoredFile
from aioassets.runtime.chunking import has_chunks
from aioassets.runtime.disk import READING
from aioassets.runtime.lanes import FILES_AT_ONCE
from aioassets.runtime.threads import in_thread


class Reads:
    """The files that a manager has open, and what it knows for opening more.

    Args:
        max_bytes: the maximum number of bytes to read ahead.
        run: a function that runs a call of the manager.
    """

    def __init__(self, max_bytes: int, run: Run) -> None:
        self.allowance = Allowance(max_bytes)
        """The memory for reading ahead."""
        self._run = run
        self._known = KnownVersions()
        self._open: weakref.WeakSet[AssetFile] = weakref.WeakSet()

    async def open(
        self, context: FetchContext, spec: AssetSpec, keep: Callable[[AssetFile], None], *, verify: bool
    ) -> AssetFile:
        """Open a file. See `AssetsManager.open`.

        Args:
            context: the context that all fetches share.
            spec: the file.
            keep: a function that receives the file, even if the call is cancelled after that.
            verify: whether to verify what is read.
        """
        found = await self._locate(context, spec, partial(_check_names_file, spec))
        opened = await (
            self._stored(found, spec, verify) if isinstance(found, RemoteVersion) else _cached(*found, spec)
        )
        file = AssetFile(
            opened,
            verify=verify,
            allowance=self.allowance,
            at_once=context.store.files_at_once if context.store is not None else FILES_AT_ONCE,
            run=self._run,
            disk_errors=Reporter(ignore, context.assets_dir).disk_errors,
        )
        self._open.add(file)
        keep(file)
        return file

    async def list(self, context: FetchContext, spec: AssetSpec) -> VersionFiles:
        """List the files of a version. See `AssetsManager.list_files`."""
        found = await self._locate(context, spec)
        if not isinstance(found, RemoteVersion):
            cached, _ = found
            return VersionFiles.of(spec, cached.entry.version, cached.manifest, cached.selection, from_cache=True)
        selection = await with_sizes(found, await select(found.manifest, spec, found.version))
        return VersionFiles.of(spec, found.version, found.manifest, selection, from_cache=False)

    async def aclose(self) -> None:
        """Close all files that are open."""
        for file in list(self._open):
            await file.aclose()

    async def _locate(
        self, context: FetchContext, spec: AssetSpec, accept: Callable[[Manifest], None] | None = None
    ) -> tuple[CachedFiles, Lease | None] | RemoteVersion:
        def known(version: str) -> Manifest | None:
            found = self._known.get(spec.name, version)
            return None if found is None else found.manifest

        retrieval = Retrieval(context, spec, ignore, force_download=False, verify=False, accept=accept)
        found = await retrieval.locate(known, is_read=accept is not None)
        if isinstance(found, RemoteVersion):
            self._known.add(found)
        return found

    async def _stored(self, remote: RemoteVersion, spec: AssetSpec, verify: bool) -> Opened:
        entry = await in_thread(_file_of, remote.manifest, spec, remote.version)
        known = self._known.add(remote)
        file = await StoredFile.find(remote, entry, partial(self._known.forget, known))
        return Opened(
            remote.name,
            remote.version,
            entry,
            file.file.label,
            file.file.size,
            _pieces(file, known, verify),
            from_cache=False,
        )


def _pieces(file: StoredFile, known: KnownVersion, verify: bool) -> Pieces:
    if file.file.size <= SMALL_FILE:
        return WholePieces(file, verify=verify)
    if verify and known.manifest.chunks_digest is not None and has_chunks(file.file.size):
        return ChunkedPieces(file, known.chunks)
    return PlainPieces(file, verify=verify)


async def _cached(found: CachedFiles, lease: Lease | None, spec: AssetSpec) -> Opened:
    opened: list[Opened] = []
    try:
        await in_thread(lambda: opened.append(_open_cached(found, lease, spec)))
    except BaseException:  # a cancelled call waits for the thread
        with anyio.CancelScope(shield=True):
            for each in opened:
                await each.pieces.aclose()
        raise
    return opened[0]


def _open_cached(found: CachedFiles, lease: Lease | None, spec: AssetSpec) -> Opened:
    entry = _file_of(found.manifest, spec, found.entry.version)
    file = os.fdopen(os.open(found.root / entry.path, READING), "rb", buffering=0)
    label = found.entry.file_label(entry)
    pieces = CachedPieces(file, entry, label, Hold(lease))
    size = os.fstat(file.fileno()).st_size
    return Opened(found.entry.name, found.entry.version, entry, label, size, pieces, from_cache=True)


def _check_names_file(spec: AssetSpec, manifest: Manifest) -> None:
    """Raise `UsageError` if a spec doesn't name a single file. Blocking."""
    if manifest.is_directory and spec.part not in manifest.table.paths:
        example = replace(spec, part="FILE" if spec.part is None else f"{spec.part}/FILE")
        raise UsageError(
            f"Cannot open {spec}, because it is a directory. Name one of its files, as in {example}. "
            "list_files (aioassets ls) lists them."
        )


def _file_of(manifest: Manifest, spec: AssetSpec, version: str) -> FileEntry:
    """Return the file that a spec names. Blocking.

    Raises:
        PartNotFound: if the version has no such file.
        UsageError: if the spec names a directory.
    """
    selection = Selection.of(manifest, spec, version)
    _check_names_file(spec, manifest)
    return selection.files[0]


class OpeningFile:
    """A file that isn't open yet. Await it, or use it as an async context manager.

    Args:
        work: a function that opens the file, and passes it to another function as soon as it is open.
    """

    def __init__(self, work: Callable[[Callable[[AssetFile], None]], Awaitable[AssetFile]]) -> None:
        self._work = work
        self._files: list[AssetFile] = []

    def __await__(self) -> Generator[Any, None, AssetFile]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AssetFile:
        try:
            return await self._work(self._files.append)
        except BaseException:
            await self._aclose()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._aclose()

    async def _aclose(self) -> None:
        while self._files:
            await self._files.pop().aclose()
