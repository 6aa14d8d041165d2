"""States of withdrawn versions, written without the calls under test, and checks of them."""

from __future__ import annotations

from typing import Any

from aioassets import Driver, Manifest
from aioassets.drivers.protocol import Expect
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.store.documents import IndexState
from aioassets.store.marks import new_mark
from aioassets.store.settling import fence_of
from tools.inspection import store_of

ANN = Pusher("ann", "host")
NAME = "model"


async def index_of(driver: Driver) -> VersionIndex:
    """Return the index of the asset."""
    return (await store_of(driver).read_index(NAME)).index


async def meta_of(driver: Driver, version: str) -> Manifest | Tombstone:
    """Return the manifest or tombstone of a version."""
    content = (await store_of(driver).read_meta(NAME, version)).content
    assert isinstance(content, Manifest | Tombstone)
    return content


async def mark_only(driver: Driver, version: str, *, yanked: bool = True) -> None:
    """Mark a version, as a process does that is killed after its first step."""
    store = store_of(driver)
    meta = await store.read_meta(NAME, version)
    assert isinstance(meta.content, Manifest)
    changed = meta.content.marked(new_mark(ANN, "interrupted"), yanked=yanked)
    await driver.write(store.layout.meta(NAME, version), changed.to_json(), expected=meta.revision)


async def bury_only(driver: Driver, version: str) -> None:
    """Replace a manifest by a tombstone, as a process does that is killed before it fences the version for good."""
    store = store_of(driver)
    meta = await store.read_meta(NAME, version)
    tombstone = Tombstone(new_mark(ANN, "interrupted"))
    await driver.write(store.layout.meta(NAME, version), tombstone.to_json(), expected=meta.revision)


async def point_at(driver: Driver, version: str, alias: str = "prod") -> None:
    """Point an alias at a version, without a look at the version."""
    store = store_of(driver)
    state = await store.read_aliases(NAME)
    await store.swap_aliases(NAME, state, state.table.moved(alias, version, new_mark(ANN, None)))


async def put_index(driver: Driver, index: VersionIndex) -> None:
    """Replace the index, as another program does."""
    await driver.write(f"assets/{NAME}.versions", index.to_json(), expected=Expect.ANYTHING)


async def check(driver: Driver, *, settled: bool = True) -> dict[str, Any]:
    """Check that no version is listed that is withdrawn, and none is incomplete that isn't deleted.

    Args:
        driver: the driver of the store.
        settled: whether no process died, so that the index agrees with each version.

    Returns:
        The fence of each version; `None` for those that aren't withdrawn.
    """
    store = store_of(driver)
    state: IndexState = await store.read_index(NAME)
    fences: dict[str, Fence | None] = {}
    for version in await store.numbers(NAME):
        content = await meta_of(driver, version)
        present = {info.key async for info in store.content(NAME, version)}
        fences[version] = fence_of(content)
        if isinstance(content, Manifest):
            assert present >= {store.layout.content(NAME, version, file.path) for file in content.files}
        elif not present:
            assert version not in state.index.versions
        if settled:
            assert state.index.fences.get(version) is fence_of(content)
            assert (version in state.index.versions) is (fence_of(content) is None)
            assert not (fence_of(content) and (await store.read_aliases(NAME)).table.of(version))
    return fences
