"""Listing assets and their versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from aioassets.errors import AssetNotFound, InvalidName, StoreCorrupt, VersionNotFound, VersionYanked
from aioassets.model.aliases import AliasTable
from aioassets.model.arguments import check_labels, check_text
from aioassets.model.description import VersionDescription
from aioassets.model.names import AssetSpec, parse_alias
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.tasks import for_each, gather2
from aioassets.store.documents import AssetStore
from aioassets.store.index import check_index
from aioassets.store.resolve import exact_version, first_available, nothing_listed, shown_aliases

INDEXES_AT_ONCE: Final = 64
"""Maximum number of indexes that a listing reads concurrently."""


@dataclass(frozen=True, slots=True)
class AssetVersions:
    """An asset in a listing.

    Attributes:
        name: the asset's name.
        versions: the versions in its index, latest first; empty if the index is invalid.
        error: the error for an invalid document of the asset; `None` if all documents are valid.
        described: the latest version, or the version that the requested alias points at, without its files; `None` if
            descriptions weren't requested, or there is no such version.
    """

    name: str
    versions: tuple[str, ...]
    error: StoreCorrupt | None = None
    described: VersionDescription | None = None


@dataclass(frozen=True, slots=True)
class ListingRequest:
    """Request for a listing.

    Attributes:
        prefix: the prefix of the names to list.
        labels: the labels that the described version of each asset must have.
        alias: the alias whose version to describe; `None` to describe the latest version.
        describe: whether to describe versions even if neither labels nor an alias are given.
    """

    prefix: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    alias: str | None = None
    describe: bool = False

    def __post_init__(self) -> None:
        check_text(self.prefix, "name prefix")
        object.__setattr__(self, "labels", check_labels(self.labels))
        if ".." in self.prefix.split("/"):
            raise InvalidName(self.prefix, "a name prefix must not have '..' segments")
        if self.alias is not None:
            parse_alias(self.alias)

    @property
    def describes(self) -> bool:
        """Whether manifests have to be read."""
        return bool(self.labels) or self.alias is not None or self.describe

    def wants(self, asset: AssetVersions) -> bool:
        """Return whether to list an asset. Assets with an error are always listed."""
        if asset.error is not None:
            return True
        if asset.described is None:
            return self.alias is None and not self.labels
        return self.labels.items() <= asset.described.labels.items()


async def list_versions(store: AssetStore, scheme: VersioningScheme, name: str | AssetSpec) -> list[str]:
    """Return the versions in an asset's index that match a name or `name:1`, latest first.

    Raises:
        AssetNotFound: if the asset doesn't exist.
        VersionNotFound: if a version is given, and no listed one matches.
        InvalidVersion: if a version is given that the versioning scheme doesn't allow.
    """
    spec = AssetSpec.series(name)
    exact_version(spec, scheme)  # checks it
    state = await store.read_index(spec.name)
    if not state.exists:
        raise AssetNotFound(spec.name, store.url)
    if spec.version is None:
        return list(state.index.versions)
    check_index(state, scheme, spec.name)
    found = list(scheme.select(spec.version, state.index.versions))
    if not found:
        raise nothing_listed(spec, state.index, scheme, store.url)
    return found


async def list_assets(store: AssetStore, request: ListingRequest) -> AsyncIterator[Sequence[AssetVersions]]:
    """Yield batches of the requested assets, sorted by name."""
    names = await store.asset_names(request.prefix)
    look = partial(_described, store, request.alias) if request.describes else partial(_indexed, store)
    for start in range(0, len(names), INDEXES_AT_ONCE):
        yield await _read(names[start : start + INDEXES_AT_ONCE], look, request)


async def _read(
    names: Sequence[str], look: Callable[[str], Awaitable[AssetVersions | None]], request: ListingRequest
) -> list[AssetVersions]:
    found: dict[str, AssetVersions] = {}

    async def read(name: str) -> None:
        try:
            asset = await look(name)
        except StoreCorrupt as error:
            asset = AssetVersions(name, (), error)
        if asset is not None and request.wants(asset):
            found[name] = asset

    await for_each(names, read, limit=INDEXES_AT_ONCE)
    return [found[name] for name in names if name in found]


async def _indexed(store: AssetStore, name: str) -> AssetVersions | None:
    state = await store.read_index(name)
    return AssetVersions(name, state.index.versions) if state.exists else None


async def _required_aliases(store: AssetStore, name: str) -> AliasTable:
    return (await store.read_aliases(name)).table


async def _described(store: AssetStore, alias: str | None, name: str) -> AssetVersions | None:
    read_aliases = shown_aliases if alias is None else _required_aliases
    asset, aliases = await gather2(partial(_indexed, store, name), partial(read_aliases, store, name))
    if asset is None:
        return None
    target = aliases.target(alias) if alias is not None else None
    versions = asset.versions if alias is None else [target] if target is not None else []
    if not versions:
        return asset
    try:
        found = await first_available(store, AssetSpec(name, alias=alias), versions)
    except (VersionNotFound, VersionYanked):  # withdrawn since the index or the aliases were read
        return asset
    except StoreCorrupt as error:
        return replace(asset, error=error)
    where = store.url_of(name, found.version)
    described = VersionDescription.of(name, found.version, where, found.manifest, aliases.of(found.version))
    return replace(asset, described=described)
