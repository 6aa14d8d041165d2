"""Resolving a spec to a version in the store, and reading the version's manifest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from aioassets.errors import (
    AccessDenied,
    AliasNotFound,
    AssetNotFound,
    InvalidVersion,
    ObjectNotFound,
    StoreCorrupt,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
)
from aioassets.model.aliases import AliasTable
from aioassets.model.claim import Claim
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec, alias_problem
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.model.withdrawals import withdrawn_text
from aioassets.runtime.notices import NOTICE
from aioassets.store.documents import AssetStore
from aioassets.store.index import check_index
from aioassets.store.settling import deletion_error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SealedVersion:
    """A complete version in the store.

    Attributes:
        name: the asset's name.
        version: the version.
        manifest: its manifest.
    """

    name: str
    version: str
    manifest: Manifest


def exact_version(spec: AssetSpec, scheme: VersioningScheme) -> str | None:
    """Return the version that a spec names exactly, or `None` if the store must be asked.

    Raises:
        InvalidVersion: if the versioning scheme doesn't allow the version.
    """
    if spec.version is None:
        return None
    try:
        scheme.check(spec.version)
    except InvalidVersion as error:
        if alias_problem(spec.version) is not None:
            raise
        advice = f"{error.reason}; an alias is written {spec.name}@{spec.version}"
        raise InvalidVersion(spec.version, advice) from None
    return spec.version if scheme.is_version(spec.version) else None


async def candidates(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> Sequence[str]:
    """Return the versions that a spec may refer to, in order of preference. There is at least one.

    An exact version and an alias give one version. Otherwise, these are all listed versions that match,
    latest first: the index may lag behind, so a reader that finds that a version is yanked or deleted takes
    the next one.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if no listed version matches.
        AliasNotFound: if the asset has no such alias.
        InvalidVersion: if the asset uses a different versioning scheme.
    """
    exact = exact_version(spec, scheme)
    if exact is not None:
        return [exact]
    if spec.alias is not None:
        return [await alias_target(store, spec.name, spec.alias)]
    state = await store.read_index(spec.name)
    if not state.exists:
        raise AssetNotFound(spec.name, store.url)
    check_index(state, scheme, spec.name)
    selected = scheme.select(spec.version, state.index.versions)
    if not selected:
        raise nothing_listed(spec, state.index, scheme, store.url)
    return selected


async def shown_aliases(store: AssetStore, name: str) -> AliasTable:
    """Return an asset's aliases for a description, or an empty table and a warning if access is denied.

    S3 denies access to a missing object, and so to the aliases of an asset without any, unless listing is permitted.
    """
    try:
        return (await store.read_aliases(name)).table
    except AccessDenied as error:
        logger.warning("Showing no aliases of %s: %s", name, error, extra=NOTICE)
        return AliasTable()


async def alias_target(store: AssetStore, name: str, alias: str, known: AliasTable | None = None) -> str:
    """Return the version that an alias points at.

    Args:
        store: the store.
        name: the asset's name.
        alias: the alias.
        known: the asset's aliases, if they were just read.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        AliasNotFound: if the asset has no such alias.
    """
    table = known if known is not None else (await store.read_aliases(name)).table
    target = table.target(alias)
    if target is not None:
        return target
    if not table.current and not (await store.read_index(name)).exists:
        raise AssetNotFound(name, store.url)
    raise AliasNotFound(name, alias, store.url, tuple(sorted(table.current)))


async def find_version(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> SealedVersion:
    """Resolve a spec and read the manifest.

    An exact version is found even if it is yanked. An alias whose target was yanked or deleted in the meantime is
    resolved once more.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if no version matches, or it isn't complete.
        VersionDeleted: if the version was deleted.
        VersionYanked: if the alias points at a version that is yanked.
        AliasNotFound: if the asset has no such alias.
        InvalidVersion: if the asset uses a different versioning scheme.
        StoreCorrupt: if a listed version has no manifest.
    """
    try:
        return await first_available(store, spec, await candidates(store, scheme, spec))
    except (VersionDeleted, VersionYanked):
        if spec.alias is None:
            raise
    return await first_available(store, spec, await candidates(store, scheme, spec))


async def first_available(store: AssetStore, spec: AssetSpec, versions: Sequence[str]) -> SealedVersion:
    """Return the first of several candidates that is neither yanked nor deleted. An exact version may be yanked.

    Raises:
        VersionNotFound: if none is available.
        VersionDeleted: if the spec names a version exactly or by an alias, and it was deleted.
        VersionYanked: if the spec names a version by an alias, and it is yanked.
    """
    yanked: list[str] = []
    for version in versions:
        try:
            manifest = await read_manifest(store, spec.name, version)
        except VersionDeleted:
            if spec.alias is not None or spec.version == version:
                raise
            continue
        if not manifest.is_yanked or spec.version == version:
            return SealedVersion(spec.name, version, manifest)
        if spec.alias is not None:
            raise yanked_error(spec.name, version, manifest, spec.alias)
        yanked.append(version)
    raise all_withdrawn(spec, yanked, store.url)


def yanked_error(name: str, version: str, manifest: Manifest, alias: str | None = None) -> VersionYanked:
    """Return the error, or warning, for a version that is yanked but was asked for, maybe by an alias."""
    reason = None if manifest.yanked is None else manifest.yanked.reason
    advice = "use another version if you can."
    if alias is not None:
        advice = f"it must be named exactly. Move the alias {alias}, or request {name}:{version}."
    return VersionYanked(name, version, reason, advice)


async def read_manifest(store: AssetStore, name: str, version: str) -> Manifest:
    """Read the manifest of a version.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if the version doesn't exist or isn't complete.
        VersionDeleted: if the version was deleted.
        StoreCorrupt: if the index lists the version, but it has no manifest.
    """
    content = await read_complete(store, name, version)
    if isinstance(content, Tombstone):
        raise deletion_error(store, name, version, content)
    return content


async def read_complete(store: AssetStore, name: str, version: str) -> Manifest | Tombstone:
    """Read the manifest of a version, or its tombstone if it was deleted.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if the version doesn't exist or isn't complete.
        StoreCorrupt: if the index lists the version, but it has no manifest.
    """
    found = await _complete_if_any(store, name, version)
    if found is not None:
        return found
    state = await store.read_index(name)
    if not state.exists:
        raise AssetNotFound(name, store.url)
    if version not in state.index.versions:
        raise VersionNotFound(name, version, store.url, state.index.versions)
    found = await _complete_if_any(store, name, version)  # it may have been published in the meantime
    if found is not None:
        return found
    key = store.layout.meta(name, version)
    raise StoreCorrupt(
        f"{store.driver.url}/{key}",
        f"the index lists {name}:{version}, but its manifest is missing; restore this object from a backup, "
        "fetch another version, or push a new one",
    )


async def _complete_if_any(store: AssetStore, name: str, version: str) -> Manifest | Tombstone | None:
    try:
        content = (await store.read_meta(name, version)).content
    except ObjectNotFound:
        return None
    return None if isinstance(content, Claim) else content


def nothing_listed(
    spec: AssetSpec, index: VersionIndex, scheme: VersioningScheme, where: str
) -> AssetNotFound | VersionNotFound:
    """Return the error for a spec that matches no version in an index."""
    if not index.numbers:
        return AssetNotFound(spec.name, where)
    fenced = scheme.select(spec.version, index.fences)
    if not fenced:
        return VersionNotFound(spec.name, spec.version or "", where, index.versions)
    yanked = [version for version in fenced if index.fences[version] is Fence.YANKED]
    return all_withdrawn(spec, yanked, where, index.versions)


def all_withdrawn(
    spec: AssetSpec, yanked: Sequence[str], where: str, available: tuple[str, ...] = ()
) -> VersionNotFound:
    """Return the error for a spec whose versions are all yanked or deleted.

    Args:
        spec: the spec, without an exact version.
        yanked: the yanked ones of its versions, latest first.
        where: the URL of the store.
        available: other versions of the asset, latest first.
    """
    return VersionNotFound(spec.name, spec.version or "", where, available, problem=withdrawn_text(yanked))
