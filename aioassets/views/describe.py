"""Describing one version, or the latest versions of an asset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from aioassets.errors import AssetNotFound, NotFound, StoreCorrupt, VersionDeleted, VersionYanked
from aioassets.fetch.selection import select
from aioassets.model.aliases import AliasTable
from aioassets.model.arguments import check_count
from aioassets.model.description import VersionDescription
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.tasks import for_each, gather2
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.index import check_index
from aioassets.store.resolve import (
    SealedVersion,
    alias_target,
    exact_version,
    find_version,
    first_available,
    nothing_listed,
    read_complete,
    read_manifest,
    shown_aliases,
)

MANIFESTS_AT_ONCE: Final = 16
"""Maximum number of manifests that a log reads concurrently, each of which may list a million files."""


async def describe(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> VersionDescription:
    """Return the description of a version, or of a part of one.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if the asset has no such version.
        VersionDeleted: if the version was deleted.
        VersionYanked: if the alias points at a version that is yanked.
        AliasNotFound: if the asset has no such alias.
        PartNotFound: if no file or folder of the version matches the part.
    """
    try:
        found, aliases = await _resolved(store, scheme, spec)
    except (VersionDeleted, VersionYanked):
        if spec.alias is None:
            raise
        found, aliases = await _resolved(store, scheme, spec)  # the alias may have moved in the meantime
    selection = await select(found.manifest, spec, found.version)
    if spec.part is not None:
        selection = await in_thread(selection.relative_to, spec.part)
    url = store.url_of(found.name, found.version)
    return VersionDescription.of(
        found.name,
        found.version,
        url if spec.part is None else f"{url}/{spec.part}",
        found.manifest,
        aliases.of(found.version),
        part=spec.part,
        files=selection.files,
        empty_directories=selection.folders,
    )


async def _resolved(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> tuple[SealedVersion, AliasTable]:
    if spec.alias is None:
        return await gather2(partial(find_version, store, scheme, spec), partial(shown_aliases, store, spec.name))
    aliases = (await store.read_aliases(spec.name)).table
    target = await alias_target(store, spec.name, spec.alias, aliases)
    return await first_available(store, spec, [target]), aliases


async def log_versions(
    store: AssetStore, scheme: VersioningScheme, name: str | AssetSpec, limit: int | None, *, deleted: bool = False
) -> list[VersionDescription]:
    """Return descriptions of the latest versions that match a name or `name:1`, latest first, without their files.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if a version is given, and none matches.
        VersionDeleted: if an exact version is given that was deleted, unless `deleted` is true.
        UsageError: if the limit isn't a positive integer.
    """
    spec = AssetSpec.series(name)
    exact = exact_version(spec, scheme)
    if limit is not None:
        check_count(limit, "The limit of a log")
    log = _Log(store, spec.name, deleted)
    if exact is not None:
        return [await log.only(exact)]
    state, aliases = await gather2(partial(store.read_index, spec.name), partial(shown_aliases, store, spec.name))
    if not state.exists:
        raise AssetNotFound(spec.name, store.url)
    check_index(state, scheme, spec.name)
    versions = scheme.select(spec.version, log.present(state.index))
    if spec.version is not None and not versions:
        raise nothing_listed(spec, state.index, scheme, store.url)
    return await log.rows(versions[:limit], aliases)


@dataclass(frozen=True, slots=True)
class _Log:
    """A log of an asset's versions.

    Attributes:
        store: the store.
        name: the asset's name.
        deleted: whether to include deleted versions.
    """

    store: AssetStore
    name: str
    deleted: bool

    def present(self, index: VersionIndex) -> list[str]:
        """Return the versions in an index that the log contains."""
        return [version for version in index.numbers if self.deleted or index.fences.get(version) is not Fence.DELETED]

    async def only(self, version: str) -> VersionDescription:
        """Describe one version. Raise `NotFound` if it doesn't exist."""
        read = partial(read_complete if self.deleted else read_manifest, self.store, self.name, version)
        content, aliases = await gather2(read, partial(shown_aliases, self.store, self.name))
        return self._described(version, content, aliases.of(version))

    async def rows(self, versions: Sequence[str], aliases: AliasTable) -> list[VersionDescription]:
        """Describe several versions, including those that can't be read."""
        found: dict[str, VersionDescription] = {}
        by_version = aliases.by_version()

        async def read(version: str) -> None:
            try:
                content = await read_complete(self.store, self.name, version)
            except (StoreCorrupt, NotFound) as error:
                found[version] = VersionDescription(self.name, version, self._url_of(version), error=error)
            else:
                if self.deleted or isinstance(content, Manifest):
                    found[version] = self._described(version, content, by_version.get(version, ()))

        await for_each(versions, read, limit=MANIFESTS_AT_ONCE)
        return [found[version] for version in versions if version in found]

    def _described(self, version: str, content: Manifest | Tombstone, aliases: tuple[str, ...]) -> VersionDescription:
        url = self._url_of(version)
        if isinstance(content, Tombstone):
            return VersionDescription.of_deleted(self.name, version, url, content)
        return VersionDescription.of(self.name, version, url, content, aliases)

    def _url_of(self, version: str) -> str:
        return self.store.url_of(self.name, version)
