"""Large files that changed are composed and assembled on real stores, whatever faults occur."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools.azure_blocks import copies_blocks
from tools.factories import ManagerFactory, driver_at
from tools.inspection import contents
from tools.interposer import Fail, Interposer
from tools.relay import Relay, server_of

from aioassets import (
    AssetsManager,
    BytesTransferred,
    Dispatcher,
    Driver,
    Event,
    FileTransferred,
    RetryPolicy,
    StoreUnavailable,
)
from aioassets.drivers.azure.driver import LEAST_COPIED
from aioassets.drivers.s3.driver import MIN_PART_SIZE
from aioassets.model.chunks import CHUNKING
from aioassets.runtime.chunking import dividing_from

pytestmark = pytest.mark.once

MIB = 1024 * 1024
SIZE = 24 * MIB
EDIT = 1000
"""Bytes of an edit."""
CHANGED = 2 * CHUNKING.max_size
"""Maximum of bytes in the chunks around one edit."""
DOCUMENTS = 80_000
"""Maximum of bytes for claims, manifests, lists of chunks, indexes and the framing of requests."""
SENT = {
    "local": CHANGED,
    "s3": MIN_PART_SIZE + CHANGED,
    "azure": LEAST_COPIED + CHANGED,
    "gcs": SIZE + EDIT,
}
"""Maximum of bytes of the large file that a push sends, by store."""
KINDS = ["local", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("s3", "azure", "gcs"))]


@dataclass(frozen=True)
class Wire:
    """Store with a version of a large file.

    Attributes:
        kind: the kind of the store.
        manager: a manager whose requests to a server pass a relay.
        driver: the store, without the relay.
        relay: the relay; `None` for a folder.
        source: the source of further versions.
    """

    kind: str
    manager: AssetsManager
    driver: Driver
    relay: Relay | None
    source: Path

    def edit(self, change: str) -> None:
        """Overwrite bytes in the middle, or insert some near the start."""
        data = self.source.read_bytes()
        at = 1000 if change == "insert" else SIZE // 2
        rest = at if change == "insert" else at + EDIT
        self.source.write_bytes(data[:at] + random.Random(change).randbytes(EDIT) + data[rest:])

    def moved(self) -> int:
        """Return the bytes of bodies that were sent in either direction since the last call."""
        if self.relay is None:
            return 0
        nbytes = sum(each.sent + each.received for each in self.relay.exchanges)
        self.relay.forget()
        return nbytes


@pytest.fixture(autouse=True)
def smaller_files() -> Iterator[None]:
    with dividing_from(MIB):
        yield


@pytest.fixture
async def wire(
    place: dict[str, Any], driver: Driver, make_manager: ManagerFactory, tmp_path: Path
) -> AsyncIterator[Wire]:
    source = tmp_path / "source"
    source.write_bytes(random.Random(1).randbytes(SIZE))
    retry = RetryPolicy(jitter=lambda: 0.0)
    url = server_of(place)
    await make_manager(driver).create_asset(source, "model")
    if url is None:
        yield Wire("local", make_manager(driver), driver, None, source)
        return
    async with Relay(url) as relay:
        if place["kind"] == "azure":
            copies_blocks(relay)
        counted = driver_at(relay.through(place), Dispatcher(retry=retry))
        yield Wire(place["kind"], make_manager(counted, retry=retry), driver, relay, source)
        await counted.aclose()


@pytest.mark.parametrize("place", KINDS, indirect=True)
async def test_only_what_changed_travels(wire: Wire, make_manager: ManagerFactory, tmp_path: Path) -> None:
    """A folder is on this machine, so a fetch doesn't compare chunks."""
    await wire.manager.fetch_asset("model")
    for change in ("overwrite", "insert"):
        wire.edit(change)
        wire.moved()
        plan = await wire.manager.plan_update(wire.source, "model")
        wire.moved()
        pushed = await wire.manager.push(plan)
        assert 0 < pushed.uploaded <= SENT[wire.kind]
        assert pushed.uploaded + pushed.copied == pushed.size
        assert wire.moved() <= pushed.uploaded + DOCUMENTS
        assert (plan.uploaded, plan.copied) == (pushed.uploaded, pushed.copied)
        fetched = await wire.manager.fetch_asset("model")
        assert contents(fetched.path) == contents(wire.source)
        assert fetched.verified
        assert wire.moved() <= fetched.downloaded + DOCUMENTS
        assert fetched.downloaded <= (SIZE + EDIT if wire.kind == "local" else CHANGED)
        elsewhere = await make_manager(wire.driver, assets_dir=tmp_path / change).fetch_asset("model")
        assert contents(elsewhere.path) == contents(wire.source)


@pytest.mark.parametrize("place", [pytest.param("s3", marks=pytest.mark.servers)], indirect=True)
async def test_a_composed_file_that_a_push_left_is_recognized_without_reading_it(
    wire: Wire, make_manager: ManagerFactory
) -> None:
    """By its ETag, which depends on its parts."""
    wire.edit("overwrite")
    interrupted = Interposer(wire.driver, Fail("before", "upload", ".chunks"))
    with pytest.raises(StoreUnavailable):
        await make_manager(interrupted).update_asset(wire.source, "model")
    wire.moved()
    events: list[Event] = []
    pushed = await wire.manager.update_asset(wire.source, "model", progress=events.append)
    assert (pushed.version, pushed.uploaded, pushed.copied) == ("0.1", 0, 0)
    assert wire.moved() < DOCUMENTS
    assert [event.skipped for event in events if isinstance(event, FileTransferred)] == [True]
    assert not [event for event in events if isinstance(event, BytesTransferred)]
    assert contents((await wire.manager.fetch_asset("model")).path) == contents(wire.source)
