"""Describing one version, or the latest versions of an asset."""

from __future__ import annotations

from functools import partial
from typing import Final

from aioassets.errors import (
    AioAssetsError,
    AssetNotFound,
    NotFound,
    StoreCorrupt,
    VersionDeleted,
    VersionYanked,
)
from aioassets.fetch.selection import select
from aioassets.model.aliases import AliasTable
from aioassets.model.arguments import check_count
from aioassets.model.description import VersionDescription
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.names import AssetSpec, parse_name
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.tasks import for_each, gather2
from aioassets.store.documents import AssetStore
from aioassets.store.index import check_index
from aioassets.store.resolve import (
    SealedVersion,
    alias_target,
    find_version,
    first_available,
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
    url = store.url_of(found.name, found.version)
    return VersionDescription.of(
        found.name,
        found.version,
        url if spec.part is None else f"{url}/{spec.part}",
        found.manifest,
        aliases.of(found.version),
        part=spec.part,
        files=selection.files,
    )


async def _resolved(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> tuple[SealedVersion, AliasTable]:
    if spec.alias is None:
        return await gather2(partial(find_version, store, scheme, spec), partial(shown_aliases, store, spec.name))
    aliases = (await store.read_aliases(spec.name)).table
    target = await alias_target(store, spec.name, spec.alias, aliases)
    return await first_available(store, spec, [target]), aliases


async def log_versions(
    store: AssetStore, scheme: VersioningScheme, name: str, limit: int | None
) -> list[VersionDescription]:
    """Return descriptions of the latest versions of an asset, latest first, without their files.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        UsageError: if the limit isn't a positive integer.
    """
    parse_name(name)
    if limit is not None:
        check_count(limit, "The limit of a log")
    state, aliases = await gather2(partial(store.read_index, name), partial(shown_aliases, store, name))
    if not state.exists:
        raise AssetNotFound(name, store.url)
    check_index(state, scheme, name)
    versions = scheme.select(None, _present(state.index))[:limit]
    found: dict[str, VersionDescription] = {}
    by_version = aliases.by_version()

    async def read(version: str) -> None:
        try:
            found[version] = await _summary(store, name, version, by_version.get(version, ()))
        except (StoreCorrupt, NotFound) as error:
            if not isinstance(error, VersionDeleted):
                found[version] = _unreadable(store, name, version, error)

    await for_each(versions, read, limit=MANIFESTS_AT_ONCE)
    return [found[version] for version in versions if version in found]


def _present(index: VersionIndex) -> list[str]:
    """Return the versions that are listed or yanked."""
    return [version for version in index.numbers if index.fences.get(version) is not Fence.DELETED]


async def _summary(store: AssetStore, name: str, version: str, aliases: tuple[str, ...]) -> VersionDescription:
    manifest = await read_manifest(store, name, version)
    return VersionDescription.of(name, version, store.url_of(name, version), manifest, aliases)


def _unreadable(store: AssetStore, name: str, version: str, error: AioAssetsError) -> VersionDescription:
    return VersionDescription(name, version, store.url_of(name, version), error=error)
