"""Processes that are killed during a push or a fetch: they leave nothing incomplete, and block no other process.

A store in memory ends with its process, so it isn't tested here.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tools.factories import PART_SIZE, Files, ManagerFactory, driver_at
from tools.inspection import contents
from tools.interposer import Interposer
from tools.relay import Relay, server_of
from tools.withdrawals import check

from aioassets import AssetExists, AssetNotFound, AssetsManager, Driver, VersionDeleted, VersionNotFound
from aioassets.model.index import Fence

pytestmark = pytest.mark.once

VICTIM = Path(__file__).with_name("victim.py")
TESTS = VICTIM.parents[1]
PATIENCE = 60
"""Seconds after which a test stops waiting for a process and fails."""

BASES: Mapping[str, Any] = {"same": ..., "none": None, "other": "elsewhere:0.0"}
"""Names of assets, and the bases of the pushes that continue killed ones."""
MIB = 1024 * 1024

lasting = pytest.mark.parametrize(
    "place",
    ["local", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("s3", "azure", "gcs"))],
    indirect=True,
)


Call = tuple[str, list[str], dict[str, Any]]


def call(method: str, *arguments: object, **options: bool) -> Call:
    """Return a call of a manager's method, as JSON values."""
    return method, [str(argument) for argument in arguments], options


async def kill(place: dict[str, Any], cache: Path, moment: str, *calls: Call) -> None:
    """Start a process that makes these calls, and kill it when all have reached the moment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        VICTIM,
        json.dumps([place, str(cache), moment, calls]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            came = [await process.stdout.readline() for _ in calls]
    finally:
        process.kill()
        _, errors = await process.communicate()
    assert (came, errors.decode()) == ([b"hangs\n"] * len(calls), "")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a tree with two small files and one of three parts."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"second")
    (folder / "big").write_bytes(b"0123456789abcdef" * (PART_SIZE // 16 * 2 + 1000))
    return folder


@pytest.mark.parametrize(
    "moment",
    ["claimed", "between files", "inside a file", "before sealing", "sealed", "before listing", "listed"],
)
@lasting
async def test_a_killed_push_is_in_nobodys_way(
    place: dict[str, Any],
    driver: Driver,
    make_manager: ManagerFactory,
    files: Files,
    source: Path,
    tmp_path: Path,
    moment: str,
) -> None:
    """An unsealed version can't be fetched, a sealed one gets listed. Only the same content resumes the number."""
    manager = make_manager(driver)
    for name in ("resumed", "passed"):
        await manager.create_asset(files("first"), name)
    if moment != "inside a file":
        (source / "big").unlink()
    calls = [call("update_asset", source, name) for name in ("resumed", "passed")]
    await kill(place, tmp_path / "victim", moment, *calls)

    left_open = moment == "inside a file" and place["kind"] in ("local", "s3")  # other stores can't list them
    assert len([upload async for upload in driver.open_uploads("")]) == (2 if left_open else 0)
    sealed = moment in ("sealed", "before listing", "listed")
    for name in ("resumed", "passed"):
        assert await manager.list_versions(name) == (["0.1", "0.0"] if moment == "listed" else ["0.0"])
        if sealed:
            assert contents((await manager.fetch_asset(f"{name}:0.1")).path) == contents(source)
        else:
            with pytest.raises(VersionNotFound):
                await manager.fetch_asset(f"{name}:0.1")

    again = await manager.update_asset(source, "resumed")
    assert again.version == ("0.2" if sealed else "0.1")
    other = await manager.update_asset(files("other"), "passed")
    assert other.version == "0.2"
    assert await manager.list_versions("resumed") == (["0.2", "0.1", "0.0"] if sealed else ["0.1", "0.0"])
    assert await manager.list_versions("passed") == (["0.2", "0.1", "0.0"] if sealed else ["0.2", "0.0"])
    for version in [f"resumed:{again.version}", *(["resumed:0.1", "passed:0.1"] if sealed else [])]:
        assert contents((await manager.fetch_asset(version)).path) == contents(source)
    assert (await manager.fetch_asset("passed")).path.read_text() == "other"


@pytest.mark.parametrize(
    ("place", "moment"),
    [
        ("local", "composing"),
        ("local", "with chunks"),
        pytest.param("s3", "composing", marks=pytest.mark.servers),
    ],
    indirect=["place"],
)
async def test_a_killed_composition_is_continued_with_any_base(
    place: dict[str, Any], driver: Driver, make_manager: ManagerFactory, tmp_path: Path, moment: str
) -> None:
    """With the same one, another one or none. No part of the killed composition gets to where it doesn't belong."""
    draw, source = random.Random(1), tmp_path / "large"
    quarter = 4 * MIB
    data = draw.randbytes(4 * quarter + MIB)
    source.write_bytes(data)
    manager = make_manager(driver)
    bases = BASES if place["kind"] == "local" else {name: BASES[name] for name in ("none", "other")}
    for name in bases:
        await manager.create_asset(source, name)
    for at in (quarter, 3 * quarter):
        data = data[:at] + draw.randbytes(1000) + data[at + 1000 :]
    source.write_bytes(data[quarter // 2 :])
    await manager.create_asset(source, "elsewhere")
    source.write_bytes(data)

    async with Relay(server_of(place) or "http://127.0.0.1:1") as relay:
        through = relay.through(place)
        calls = [call("update_asset", source, name) for name in bases]
        await kill(through, tmp_path / "victim", moment, *calls)
        again = driver_at(through)
        for name, base in bases.items():
            pushed = await make_manager(again).update_asset(source, name, base=base)
            assert (pushed.version, pushed.base) == ("0.1", f"{name}:0.0" if base is ... else base)
            other = make_manager(driver, assets_dir=tmp_path / name)
            fetched = await other.fetch_asset(name)
            assert fetched.path.read_bytes() == data
            assert (await manager.plan_clean(name)).leftovers == ()
        await again.aclose()
    left = [upload async for upload in driver.open_uploads("")]
    assert len(left) == (len(bases) if (place["kind"], moment) == ("local", "composing") else 0)  # files without a key


@pytest.mark.parametrize("moment", ["claimed", "between files", "sealed"])
@lasting
async def test_a_killed_creation_is_in_nobodys_way(
    place: dict[str, Any],
    driver: Driver,
    make_manager: ManagerFactory,
    files: Files,
    source: Path,
    tmp_path: Path,
    moment: str,
) -> None:
    """After a sealed creation, the next one fails with AssetExists."""
    manager = make_manager(driver)
    (source / "big").unlink()
    calls = [call("create_asset", source, name) for name in ("resumed", "passed")]
    await kill(place, tmp_path / "victim", moment, *calls)
    assert [asset async for asset in manager.list_assets()] == []
    if moment == "sealed":
        for name in ("resumed", "passed"):
            with pytest.raises(AssetExists, match=r"0\.0 has just been published"):
                await manager.create_asset(source if name == "resumed" else files("other"), name)
            assert await manager.list_versions(name) == ["0.0"]
            assert contents((await manager.fetch_asset(name)).path) == contents(source)
        return
    with pytest.raises(AssetNotFound):
        await manager.fetch_asset("resumed:0.0")
    assert (await manager.create_asset(source, "resumed")).version == "0.0"
    assert (await manager.create_asset(files("other"), "passed")).version == "0.1"
    assert contents((await manager.fetch_asset("resumed")).path) == contents(source)
    assert (await manager.fetch_asset("passed")).path.read_text() == "other"


@pytest.mark.parametrize("again", ["repeated", "cleaned"])
@pytest.mark.parametrize("moment", ["marked", "fenced", "buried", "fenced for good", "deleting"])
@lasting
async def test_a_killed_deletion_is_finished(
    place: dict[str, Any],
    driver: Driver,
    make_manager: ManagerFactory,
    files: Files,
    source: Path,
    tmp_path: Path,
    moment: str,
    again: str,
) -> None:
    """A repetition deletes the version. `clean` does so from the tombstone on; until then, the version is yanked."""
    manager = make_manager(driver)
    (source / "big").unlink()
    await manager.create_asset(files("first"), "model")
    await manager.update_asset(source, "model")
    await kill(place, tmp_path / "victim", moment, call("delete_version", "model", "0.1"))

    buried = moment not in ("marked", "fenced")
    assert (await manager.fetch_asset("model")).version == "0.0"
    if buried:
        with pytest.raises(VersionDeleted):
            await manager.fetch_asset("model:0.1")
    else:
        assert contents((await manager.fetch_asset("model:0.1")).path) == contents(source)
    if again == "repeated":
        assert (await manager.delete_version("model", "0.1")).files == 2
    else:
        await manager.clean(await manager.plan_clean("model"))
    deleted = buried or again == "repeated"
    assert await check(driver) == {"0.0": None, "0.1": Fence.DELETED if deleted else Fence.YANKED}
    left = [item async for item in driver.list("assets/model/0.1/")]
    assert len(left) == (0 if deleted else 2)
    assert (await manager.plan_clean("model")).leftovers == ()
    assert (await manager.update_asset(files("next"), "model")).version == "0.2"


@pytest.mark.parametrize("moment", ["claimed", "before sealing", "sealed", "before listing", "listed"])
async def test_a_killed_copy_is_continued_under_its_number(
    make_manager: ManagerFactory, source: Path, tmp_path: Path, moment: str
) -> None:
    """The next copy lists the version that it sealed. No other push takes its number."""
    place = {"kind": "local", "path": str(tmp_path / "store")}
    manager = make_manager(driver_at(place))
    await manager.create_asset(source, "model")
    await kill(place, tmp_path / "victim", moment, call("copy_to_name", "model:0.0", "copy"))
    sealed = moment in ("sealed", "before listing", "listed")
    if not sealed:
        await serves_nothing(manager, "copy:0.0")
    copied = await manager.copy_version("model:0.0", manager, name="copy")
    assert (copied.version, copied.unchanged) == ("0.0", sealed)
    assert await manager.list_versions("copy") == ["0.0"]
    assert contents((await manager.fetch_asset("copy")).path) == contents(source)


@pytest.mark.servers
@pytest.mark.parametrize("place", ["s3", "azure", "gcs"], indirect=True)
async def test_a_killed_copy_by_the_store_is_continued_under_its_number(
    place: dict[str, Any], driver: Driver, make_manager: ManagerFactory, source: Path, tmp_path: Path
) -> None:
    """Wherever it was killed. No other number is used, and `clean` finds nothing afterwards."""
    manager = make_manager(driver)
    original = await manager.create_asset(source, "model")
    moments = ["claimed", "copying", "copied", "before sealing", "sealed"]
    for name in [moment.replace(" ", "-") for moment in moments]:
        await kill(place, tmp_path / "victim", name.replace("-", " "), call("copy_to_name", "model:0.0", name))
        copied = await manager.copy_version("model:0.0", manager, name=name)
        assert (copied.version, copied.unchanged) == ("0.0", name == "sealed")
        assert copied.content_digest == (await manager.describe_asset("model:0.0")).content_digest
        assert await manager.list_versions(name) == [original.version]
        assert contents((await manager.fetch_asset(name)).path) == contents(source)
        assert (await manager.plan_clean(name)).removable == ()


async def serves_nothing(manager: AssetsManager, *specs: str) -> None:
    """Check that none of these specs is cached."""
    for spec in specs:
        with pytest.raises((VersionNotFound, AssetNotFound)):
            await manager.fetch_asset(spec, offline=True)


@pytest.mark.parametrize("moment", ["between files", "inside a file", "staged", "placed"])
@lasting
async def test_a_killed_fetch_is_in_nobodys_way(
    place: dict[str, Any], driver: Driver, make_manager: ManagerFactory, source: Path, tmp_path: Path, moment: str
) -> None:
    """Its lock is free. Staged files are downloaded again, and a placed payload is verified and adopted."""
    interposer = Interposer(driver)
    manager = make_manager(interposer)
    await manager.create_asset(source, "model")
    await kill(place, tmp_path / "cache", moment, call("fetch_asset", "model:0.0"))
    await serves_nothing(manager, "model", "model:0.0", "model:0.0[a]")
    interposer.calls.clear()
    fetched = await manager.fetch_asset("model:0.0")
    assert contents(fetched.path) == contents(source)
    assert fetched.from_cache is (moment == "placed")
    assert ("read_range" in {method for method, _ in interposer.calls}) is (moment != "placed")
    assert not list((tmp_path / "cache").rglob("*.staging*"))


@pytest.mark.parametrize("moment", ["between files", "parts staged", "parts placed"])
async def test_a_killed_fetch_of_parts_is_in_nobodys_way(
    make_manager: ManagerFactory, source: Path, tmp_path: Path, moment: str
) -> None:
    """Nothing is cached, and both the parts and the whole can be fetched."""
    place = {"kind": "local", "path": str(tmp_path / "store")}
    manager = make_manager(driver_at(place))
    await manager.create_asset(nested(source), "model")
    await kill(place, tmp_path / "cache", moment, call("fetch_asset", "model:0.0[deep]"))
    await serves_nothing(manager, "model", "model:0.0[deep]", "model:0.0[deep/b]")
    assert contents((await manager.fetch_asset("model[deep]")).path) == contents(source)
    assert contents((await manager.fetch_asset("model")).path / "deep") == contents(source)
    assert not list((tmp_path / "cache").rglob("*.staging*"))


def nested(folder: Path) -> Path:
    """Return a new folder that contains the given one."""
    outer = folder.with_name("outer")
    outer.mkdir()
    (outer / "deep").symlink_to(folder)
    return outer


@pytest.mark.parametrize("moment", ["staged", "placed"])
async def test_a_killed_replacement_is_not_taken_for_what_it_replaced(
    make_manager: ManagerFactory, files: Files, tmp_path: Path, moment: str
) -> None:
    """The store was emptied, and another push took the same number. Readers find the earlier payload or the new one."""
    place = {"kind": "local", "path": str(tmp_path / "store")}
    manager = make_manager(driver_at(place))
    await manager.create_asset(files("first"), "model")
    await manager.fetch_asset("model:0.0")
    shutil.rmtree(tmp_path / "store" / "assets")
    await manager.create_asset(files("second"), "model")
    await kill(place, tmp_path / "cache", moment, call("fetch_asset", "model:0.0", force_download=True))
    cached = await manager.fetch_asset("model:0.0", offline=True, verify=True)
    assert cached.path.read_text() in ("first", "second")
    assert (await manager.fetch_asset("model:0.0", force_download=True)).path.read_text() == "second"
