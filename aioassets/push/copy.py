"""Copying a version to another store, prefix or name, under the same number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from aioassets.drivers.protocol import Run
from aioassets.errors import IntegrityError, InvalidVersion, ObjectNotFound, SourceChanged, UsageError, VersionDeleted
from aioassets.model.content import content_digest
from aioassets.model.files import FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec, parse_new_name
from aioassets.model.operations import COPY
from aioassets.model.origin import Origin
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.progress import Progress
from aioassets.push.base import is_copied, read_base
from aioassets.push.claim import HeldClaim
from aioassets.push.context import PushContext
from aioassets.push.copied import SourceVersion, scan_version
from aioassets.push.exact import AlreadyCopied, ExactAllocation
from aioassets.push.hashes import Hashes
from aioassets.push.ledger import UploadLedger
from aioassets.push.plan import PushPlan
from aioassets.push.planning import check_keys
from aioassets.push.publish import Publication
from aioassets.push.reuse import Reuse
from aioassets.push.scan import Tree
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.tasks import gather2
from aioassets.runtime.threads import in_thread
from aioassets.store.chunks import read_chunks
from aioassets.store.documents import AssetStore
from aioassets.store.marks import new_mark
from aioassets.store.resolve import first_available
from aioassets.store.settling import deletion_error, recovered, settle

__all__ = ["CopyResult"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CopyResult:
    """Result of copying a version.

    Attributes:
        name: the asset's name in the target.
        version: the version in the target.
        url: the URL of its content.
        files: the number of files in the version.
        size: the total size of the files in bytes.
        source: the asset and version that was copied, such as `team/model:1.2`.
        content_digest: the content digest; `None` in the result of a dry run if it isn't known yet.
        unchanged: whether the target had the version already, so that nothing was copied.
        alias: the alias that points at the version now, if one was requested.
        dry_run: whether this is only the expected result, and nothing was written.
        streamed: the number of bytes that were downloaded from the source and uploaded; 0 in a dry run.
        copied: the number of bytes that the target's store copied, from the source or from an earlier version that the
            target has; 0 in a dry run.
    """

    name: str
    version: str
    url: str
    files: int
    size: int
    source: str
    content_digest: str | None
    unchanged: bool = False
    alias: str | None = None
    dry_run: bool = False
    streamed: int = 0
    copied: int = 0


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """Options for a copy.

    Attributes:
        name: the asset's name in the target; `None` for the same name.
        renumber: whether to take the next free number of the series if the number is taken by other content.
        alias: an alias to point at the copy.
        dry_run: whether to return the expected result without writing anything.
    """

    name: str | None = None
    renumber: bool = False
    alias: str | None = None
    dry_run: bool = False


async def plan_copy(source: SourceVersion, name: str, store: AssetStore, scheme: VersioningScheme) -> PushPlan:
    """List the objects of the source and read the index of the target concurrently, and return a plan.

    Nothing is written.

    Raises:
        UsageError: if the version would be copied onto itself.
        InvalidName: if the name is invalid.
        InvalidVersion: if the versioning scheme of the target doesn't allow the version.
        IntegrityError: if the source has no object for a file, or one of another size.
        VersionDeleted: if the source was deleted in the meantime.
    """
    parse_new_name(name)
    if not scheme.is_version(source.version):
        raise InvalidVersion(
            source.version,
            f"the versioning scheme of the target is {scheme.name}; "
            "select the scheme that the asset uses (versioning=…, --versioning, AIOASSETS_VERSIONING)",
        )
    if name == source.name and await in_thread(_is_same, source.store, store):
        raise UsageError(f"Cannot copy {source.label} onto itself: choose another store, prefix or name.")
    try:
        tree, state = await gather2(lambda: scan_version(source), lambda: store.read_index(name, creating=True))
    except SourceChanged as error:
        raise await _explained(source, error) from error
    state = await recovered(store, scheme, name, state)
    check_keys(tree, store.layout, name, source.version)
    versions = state.index.versions
    return PushPlan(
        name=name,
        version=source.version,
        operation=COPY,
        versions=versions,
        url=store.url_of(name, source.version),
        files=len(tree.files),
        size=tree.size,
        tree=tree,
        message=source.manifest.message,
        labels=source.manifest.labels,
        new_store=state.new_store,
        index=state,
        reuse=_reuse(tree, store, name, versions) if versions and is_copied(tree.largest) else None,
    )


def _reuse(tree: Tree, store: AssetStore, name: str, versions: Sequence[str]) -> Reuse:
    """Return the reuse of the files of the latest version that the target has."""
    latest = partial(first_available, store, AssetSpec(name), versions)
    return Reuse(tree.files, Hashes(tree.files), partial(read_base, store, latest), _no_runs)


def _no_runs(size: int, runs: Sequence[Run]) -> Sequence[Run]:
    """Compose nothing, because the other bytes of the file would have to be downloaded to compare them."""
    return ()


def _is_same(one: AssetStore, other: AssetStore) -> bool:
    return one.identity == other.identity


async def _explained(source: SourceVersion, error: SourceChanged) -> IntegrityError | VersionDeleted:
    """Return the error for a source whose objects are missing or have changed."""
    try:
        content = (await source.store.read_meta(source.name, source.version)).content
    except ObjectNotFound:
        content = None
    if isinstance(content, Tombstone):
        return deletion_error(source.store, source.name, source.version, content)
    return IntegrityError(error.path, "the object that was pushed", "another one, or none")


class VersionCopy(Publication):
    """One copy, from claiming the number to listing the version.

    Args:
        context: the state shared by the pushes of the manager of the target.
        plan: the plan of the copy.
        report: a function that receives progress events.
        source: the version to copy.
        renumber: whether to take the next free number of the series if the number is taken by other content.
    """

    def __init__(
        self, context: PushContext, plan: PushPlan, report: Progress, source: SourceVersion, *, renumber: bool
    ) -> None:
        self._source = source
        self._renumber = renumber
        self._copied: Manifest | None = None
        super().__init__(context, plan, report)

    def _new_allocation(self) -> ExactAllocation:
        return ExactAllocation(self._context, self._plan, self._effects, self._source, renumber=self._renumber)

    async def copy(self) -> CopyResult:
        """Copy the version, unless the target has it already.

        Raises:
            VersionDiffers: if the target has the version with different content.
            VersionClaimed: if another push to the target holds its number, or has left it unusable.
            VersionDeleted: if the version was deleted, in the target or meanwhile in the source.
            IntegrityError: if a file of the source differs from its manifest.
            PublicationUncertain: if all files were copied, but the version may not be sealed or listed.
        """
        try:
            result = await self.run()
        except AlreadyCopied as found:
            await self._list_again(found)
            return await self._copy_result(found.version, unchanged=True)
        except SourceChanged as error:
            raise await _explained(self._source, error) from error
        copied = await self._copy_result(result.version)
        return replace(copied, streamed=result.uploaded, copied=result.copied)

    async def forecast(self) -> CopyResult:
        """Return the expected result of `copy`, without writing anything."""
        unchanged = False
        try:
            version = await self._new_allocation().forecast()
        except AlreadyCopied as found:
            version, unchanged = found.version, True
        return replace(await self._copy_result(version, unchanged=unchanged), dry_run=True)

    async def _copy_result(self, version: str, *, unchanged: bool = False) -> CopyResult:
        plan, manifest = self._plan, self._copied or self._source.manifest
        return CopyResult(
            name=plan.name,
            version=version,
            url=self._store.url_of(plan.name, version),
            files=plan.files,
            size=plan.size,
            source=self._source.label,
            content_digest=await in_thread(content_digest, manifest.files, manifest.empty_directories),
            unchanged=unchanged,
        )

    async def _list_again(self, found: AlreadyCopied) -> None:
        """List or fence a version that was there already, because another process may have died before that."""
        known = self._allocation.index
        if found.is_yanked:
            logger.warning("%s:%s is yanked in %s", self._plan.name, found.version, self._store.url, extra=NOTICE)
            if known is None or found.version not in known.index.fences:
                retry = self._context.lister.retry
                await settle(self._store, self._scheme, self._plan.name, found.version, retry=retry)
        elif known is None or found.version not in known.index.versions:
            await self._context.lister.add(self._store, self._plan.name, {found.version}, known=known)

    async def _chunks_document(self, ledger: UploadLedger) -> bytes | None:
        """Return the `.chunks` of the source. If it has none, return the chunks of what was streamed."""
        source = self._source
        if source.manifest.chunks_digest is None:
            return await super()._chunks_document(ledger)
        table = await read_chunks(source.store, source.name, source.version, source.manifest.chunks_digest)
        return None if table is None else await in_thread(table.to_json)

    def _description(self, held: HeldClaim, entries: FileTable) -> Manifest:
        """Return the manifest of the source with the digests that were computed, and its origin, but not its mark."""
        source, folders = self._source, self._plan.tree.empty_directories
        self._copied = replace(
            source.manifest,
            files=entries,
            token=held.claim.token,
            content_digest=content_digest(entries, folders),
            origin=Origin(source.store.url, source.name, source.version, new_mark(self._context.claimant.holder, None)),
            mark=None,
            is_yanked=False,
            extra={},
        )
        return self._copied
