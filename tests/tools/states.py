"""States of versions and aliases that other processes leave, written without the calls that make them."""

from __future__ import annotations

from datetime import UTC, datetime

from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.store.documents import AssetStore

DATE = datetime(2026, 11, 27, 12, tzinfo=UTC)


def mark(reason: str | None = None) -> Mark:
    """Return a mark by ann on build-7."""
    return Mark("token", DATE, Pusher("ann", "build-7"), reason)


async def point(store: AssetStore, name: str, alias: str, version: str) -> None:
    """Point an alias at a version."""
    state = await store.read_aliases(name)
    await store.swap_aliases(name, state, state.table.moved(alias, version, mark()))


async def mark_yanked(store: AssetStore, name: str, version: str, reason: str | None = None) -> None:
    """Mark a version as yanked, but leave it in the index, as a yank does that was just begun."""
    meta = await store.read_meta(name, version)
    assert isinstance(meta.content, Manifest)
    changed = meta.content.marked(mark(reason), yanked=True)
    await store.driver.write(store.layout.meta(name, version), changed.to_json(), expected=meta.revision)


async def bury(store: AssetStore, name: str, version: str, reason: str | None = None) -> None:
    """Replace a manifest by a tombstone, but leave the version in the index."""
    meta = await store.read_meta(name, version)
    key = store.layout.meta(name, version)
    await store.driver.write(key, Tombstone(mark(reason)).to_json(), expected=meta.revision)
