"""The probe for conditional writes, and stores without them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anyio
import pytest
from tools.interposer import Interposer

from aioassets import AccessDenied, AssetsManager, LocalDriver, MemoryDriver, PreconditionFailed, StoreUnsuitable
from aioassets.drivers.protocol import Expect, Revision, StreamedDocument
from aioassets.model.keys import Layout
from aioassets.runtime.effects import Effects
from aioassets.store.probe import PROBE_LIFETIME, ProbeCache, probe
from aioassets.store.single_writer import SingleWriter
from aioassets.testing import BytesSource

LAYOUT = Layout("assets")


class Ignoring(MemoryDriver):
    """Store that accepts conditions and ignores some."""

    def __init__(self, *ignored: str) -> None:
        super().__init__()
        self.ignored = ignored
        self.writes: list[str] = []

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        self.writes.append(key)
        kind = "create" if expected is Expect.ABSENT else "swap"
        return await super().write(
            key, data, expected=Expect.ANYTHING if kind in self.ignored else expected, effects=effects
        )


class Refusing(MemoryDriver):
    """Store that refuses every swap."""

    async def write(
        self, key: str, data: bytes | StreamedDocument, *, expected: Revision | Expect, effects: Effects | None = None
    ) -> Revision:
        if not isinstance(expected, Expect):
            raise PreconditionFailed(key)
        return await super().write(key, data, expected=expected, effects=effects)


async def keys(driver: MemoryDriver) -> list[str]:
    return [item.key async for item in driver.list("")]  # type: ignore[union-attr]


async def test_a_suitable_store_passes_and_is_left_clean() -> None:
    driver = MemoryDriver()
    await probe(driver, LAYOUT)
    assert await keys(driver) == []


@pytest.mark.parametrize(
    ("driver", "observed"),
    [
        (Ignoring("create"), "it let an existing object be created again"),
        (Ignoring("swap"), "it replaced an object despite an outdated revision"),
        (Refusing(), "it refused to replace an object, even given its current revision"),
    ],
)
async def test_an_unsuitable_store_is_refused_with_the_reason(driver: MemoryDriver, observed: str) -> None:
    with pytest.raises(StoreUnsuitable, match=observed):
        await probe(driver, LAYOUT)
    assert await keys(driver) == []


async def test_a_push_to_an_unsuitable_store_writes_only_the_probe(tmp_path: Path) -> None:
    driver = Ignoring("create", "swap")
    (tmp_path / "a").write_text("a")
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
        with pytest.raises(StoreUnsuitable, match="single_writer"):
            await manager.create_asset(tmp_path / "a", "model")
    assert await keys(driver) == []
    assert {key.rpartition("/")[0] for key in driver.writes} == {"assets/.aioassets-probe"}


async def test_an_unsuitable_store_works_with_a_declared_single_writer(tmp_path: Path) -> None:
    driver = Ignoring("create", "swap")
    (tmp_path / "a").write_text("a")
    async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache", single_writer=True) as manager:
        await manager.create_asset(tmp_path / "a", "model")
        await manager.update_asset(tmp_path / "a", "model")
        assert await manager.list_versions("model") == ["0.1", "0.0"]
        assert (await manager.fetch_asset("model:0.1")).path.read_text() == "a"


async def test_a_single_writer_checks_conditions_before_it_writes() -> None:
    driver = SingleWriter(Ignoring("create", "swap"))
    revision = await driver.write("a", b"1", expected=Expect.ABSENT)
    for expected in (Expect.ABSENT, Revision("other")):
        with pytest.raises(PreconditionFailed):
            await driver.write("a", b"2", expected=expected)
    await driver.write("a", b"2", expected=revision)
    assert (await driver.upload("b", BytesSource(b"1"))).created
    assert not (await driver.upload("b", BytesSource(b"1"))).created
    with pytest.raises(PreconditionFailed):
        await driver.upload("b", BytesSource(b"2"))


async def test_a_successful_probe_is_remembered_for_a_week(tmp_path: Path) -> None:
    driver = Interposer(MemoryDriver())
    now = 1000.0

    async def probes() -> int:
        driver.calls.clear()
        await ProbeCache(tmp_path, now=lambda: now).require(driver, LAYOUT)
        return len(driver.calls)

    assert await probes() > 0
    assert await probes() == 0
    now += PROBE_LIFETIME + 1
    assert await probes() > 0
    now -= 1
    assert await probes() > 0  # the clock has stepped back, so the age of the result is unknown
    assert await probes() == 0
    (note,) = tmp_path.iterdir()
    note.write_text(json.dumps({"probed": "nonsense"}))
    assert await probes() > 0


async def test_a_result_that_cannot_be_remembered_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    await ProbeCache(tmp_path / "file" / "stores").require(MemoryDriver(), LAYOUT)


async def test_a_single_writer_creates_a_new_folder(tmp_path: Path) -> None:

    (tmp_path / "a").write_text("a")
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache", single_writer=True) as manager:
        assert (await manager.create_asset(tmp_path / "a", "model")).version == "0.0"


async def test_a_single_writer_compares_bytes_without_a_checksum(tmp_path: Path) -> None:
    """If the store reports no checksum, the existing object is read."""
    driver = SingleWriter(LocalDriver(tmp_path))
    assert (await driver.upload("b", BytesSource(b"1"))).created
    assert not (await driver.upload("b", BytesSource(b"1"))).created
    with pytest.raises(PreconditionFailed):
        await driver.upload("b", BytesSource(b"2"))


async def test_a_push_needs_no_permission_to_delete(tmp_path: Path) -> None:
    """The scratch object of the probe is left then."""

    async def deny(moment: str, method: str, key: str) -> None:
        if method == "delete":
            raise AccessDenied("the store", "delete", "A test says so.")

    await probe(Interposer(MemoryDriver(), deny), LAYOUT)


async def test_a_probe_without_permissions_reports_the_failed_write(tmp_path: Path) -> None:
    """The failure to delete the scratch object doesn't replace it."""

    async def deny(moment: str, method: str, key: str) -> None:
        if method in ("write", "delete"):
            raise AccessDenied("the store", method, "A test says so.")

    with pytest.raises(AccessDenied, match=r"^Cannot change assets in memory://[^ ]*/assets: A test says so\."):
        await probe(Interposer(MemoryDriver(), deny), LAYOUT)


async def test_a_cancelled_probe_deletes_its_scratch_object() -> None:

    memory = MemoryDriver()
    seen: list[str] = []

    async def cancel(moment: str, method: str, key: str) -> None:
        seen.append(method)
        if (moment, method) == ("after", "write"):
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    with anyio.CancelScope() as scope:
        await probe(Interposer(memory, cancel), LAYOUT)
    assert scope.cancelled_caught
    assert "delete" in seen
    assert await keys(memory) == []


async def test_a_deleted_folder_is_created_again(tmp_path: Path) -> None:
    """Although the result of its probe is remembered."""
    (tmp_path / "a").write_text("a")
    for _ in range(2):
        async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
            assert (await manager.create_asset(tmp_path / "a", "model")).version == "0.0"
        shutil.rmtree(tmp_path / "store")
