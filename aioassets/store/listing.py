"""Listing assets and their versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from aioassets.errors import AssetNotFound, InvalidName, StoreCorrupt
from aioassets.model.names import parse_name
from aioassets.runtime.tasks import for_each
from aioassets.store.documents import AssetStore

INDEXES_AT_ONCE: Final = 64
"""Maximum number of indexes that a listing reads concurrently."""


@dataclass(frozen=True, slots=True)
class AssetVersions:
    """An asset in a listing.

    Attributes:
        name: the asset's name.
        versions: the versions in its index, latest first; empty if the index is invalid.
        error: the error for an invalid index; `None` if the index is valid.
    """

    name: str
    versions: tuple[str, ...]
    error: StoreCorrupt | None = None


async def list_versions(store: AssetStore, name: str) -> list[str]:
    """Return the versions in an asset's index, latest first.

    Raises:
        AssetNotFound: if the asset doesn't exist.
    """
    parse_name(name)
    state = await store.read_index(name)
    if not state.exists:
        raise AssetNotFound(name, store.url)
    return list(state.index.versions)


async def list_assets(store: AssetStore, prefix: str) -> AsyncIterator[Sequence[AssetVersions]]:
    """Yield batches of the assets whose names start with `prefix`, sorted by name.

    Raises:
        InvalidName: if the prefix contains `..` segments.
    """
    if ".." in prefix.split("/"):
        raise InvalidName(prefix, "a name prefix must not have '..' segments")
    names = await store.asset_names(prefix)
    for start in range(0, len(names), INDEXES_AT_ONCE):
        yield await _read_indexes(store, names[start : start + INDEXES_AT_ONCE])


async def _read_indexes(store: AssetStore, names: Sequence[str]) -> list[AssetVersions]:
    found: dict[str, AssetVersions] = {}

    async def read(name: str) -> None:
        try:
            state = await store.read_index(name)
        except StoreCorrupt as error:
            found[name] = AssetVersions(name, (), error)
            return
        if state.exists:
            found[name] = AssetVersions(name, state.index.versions)

    await for_each(names, read, limit=INDEXES_AT_ONCE)
    return [found[name] for name in names if name in found]
