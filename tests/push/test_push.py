"""Pushes publish the next version, complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, keys, store_of

from aioassets import (
    AssetExists,
    AssetNotFound,
    BucketNotFound,
    BulkUpdateError,
    Driver,
    InvalidName,
    InvalidSetting,
    InvalidVersion,
    LocalDriver,
    Manifest,
    MemoryDriver,
    SourceError,
    SourceNotFound,
    UsageError,
    VersionNotFound,
)
from aioassets.drivers.protocol import Expect


async def list_in_index(driver: Driver, name: str, *versions: str, **extra: object) -> None:
    data = json.dumps({"versions": versions, **extra}).encode()
    await driver.write(f"assets/{name}.versions", data, expected=Expect.ABSENT)


async def test_a_tree_comes_back_as_it_was(driver: Driver, make_manager: ManagerFactory, tree: Path) -> None:
    """Hidden files, empty files and directories, links and executable bits survive the round trip."""
    manager = make_manager(driver)
    pushed = await manager.create_asset(tree, "team/model", message="first", labels={"stage": "test"})
    assert (pushed.name, pushed.version, pushed.files) == ("team/model", "0.0", 7)
    assert pushed.url == f"{driver.url}/assets/team/model/0.0"
    fetched = await manager.fetch_asset("team/model")
    assert contents(fetched.path) == contents(tree)
    assert (fetched.manifest.message, fetched.manifest.labels) == ("first", {"stage": "test"})
    assert fetched.manifest.size == pushed.size
    assert fetched.verified


async def test_a_file_comes_back_as_it_was(driver: Driver, make_manager: ManagerFactory, tmp_path: Path) -> None:
    """Also if the file needs several parts and ranges."""
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * 70_000)
    manager = make_manager(driver)
    await manager.create_asset(source, "model")
    fetched = await manager.fetch_asset("model")
    assert Path(fetched).read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("listed", "bump", "expected"),
    [
        (["1.1", "0.1"], {}, "1.2"),
        (["1.0", "0.1"], {"bump_major": True}, "2.0"),
        (["1.0", "0.1"], {"major": 0}, "0.2"),
        (["1.0", "0.1"], {"major": "0"}, "0.2"),
        (["10.3", "9.0", "1.4"], {"major": 1}, "1.5"),
        (["10.3", "9.0"], {}, "10.4"),
    ],
)
async def test_an_update_gets_the_next_number(
    driver: Driver,
    make_manager: ManagerFactory,
    files: Files,
    listed: list[str],
    bump: dict[str, object],
    expected: str,
) -> None:
    """`V.v` becomes `V.(v+1)`. Numbers are compared as numbers."""
    await list_in_index(driver, "model", *listed)
    manager = make_manager(driver)
    pushed = await manager.update_asset(files("content"), "model", **bump)  # type: ignore[arg-type]
    assert pushed.version == expected
    assert set(await manager.list_versions("model")) == {*listed, expected}


async def test_unknown_fields_of_an_index_survive(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    await list_in_index(driver, "model", "0.0", owner={"team": "a"})
    await make_manager(driver).update_asset(files("content"), "model")
    index = json.loads((await driver.read("assets/model.versions")).data)
    assert index == {"versions": ["0.1", "0.0"], "owner": {"team": "a"}}


async def test_creating_an_existing_asset_is_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The error says how to go on."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    with pytest.raises(AssetExists, match="Push a new version with `update`"):
        await manager.create_asset(files("b"), "model")


async def test_updating_a_missing_asset_is_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    with pytest.raises(AssetNotFound, match="Push its first version with `new`"):
        await make_manager(memory).update_asset(files("a"), "model")
    assert await keys(memory) == []


async def test_a_major_that_is_not_listed_is_not_found(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The error names the listed versions."""
    await list_in_index(memory, "model", "10.3", "9.0")
    with pytest.raises(VersionNotFound, match=r"10\.3, 9\.0"):
        await make_manager(memory).update_asset(files("a"), "model", major=1)


async def test_bump_major_excludes_a_major(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> None:
    with pytest.raises(UsageError):
        await make_manager(memory).update_asset(files("a"), "model", bump_major=True, major=0)


async def test_an_index_of_another_scheme_is_listed_but_not_pushed_to(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """Versions of two schemes have no common order."""
    await list_in_index(memory, "model", "2024-01-01T00-00-00Z")
    manager = make_manager(memory)
    assert await manager.list_versions("model") == ["2024-01-01T00-00-00Z"]
    with pytest.raises(InvalidVersion, match="scheme"):
        await manager.update_asset(files("a"), "model")


async def test_dates_count_on_by_seconds(memory: MemoryDriver, make_manager: ManagerFactory, files: Files) -> None:
    await list_in_index(memory, "model", "2999-12-31T23-59-59Z")
    manager = make_manager(memory, versioning="simple_date")
    pushed = await manager.update_asset(files("a"), "model")
    assert pushed.version == "3000-01-01T00-00-00Z"


@pytest.mark.parametrize(
    "name", ["a/1.0", "1.0", "a.meta", "a.versions/b", "a/../b", "a//b", "/a", "a/", "-a", "a b", "a:1", "ä", ""]
)
async def test_bad_names_are_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, name: str
) -> None:
    """A name must not look like a version, a document of aioassets or another path."""
    with pytest.raises(InvalidName):
        await make_manager(memory).create_asset(files("a"), name)
    assert await keys(memory) == []


@pytest.mark.parametrize("name", [b"not \xff utf-8", b"tab\t", b"back\\slash", b"x.versions", b"n" * 250])
async def test_bad_file_names_are_refused_before_anything_is_claimed(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, name: bytes
) -> None:
    root = bytes(tmp_path / "bad")
    folder = b"/".join([root, *[b"d" * 200] * 4]) if name.startswith(b"nn") else root
    Path(folder.decode()).mkdir(parents=True)
    with open(folder + b"/" + name, "wb"):
        pass
    with pytest.raises(SourceError):
        await make_manager(memory).create_asset(root.decode(), "model")
    assert await keys(memory) == []


async def test_a_missing_source_is_not_found(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    with pytest.raises(SourceNotFound, match="nowhere"):
        await make_manager(memory).create_asset("nowhere", "model")


async def test_a_dry_run_writes_nothing(driver: Driver, make_manager: ManagerFactory, tree: Path) -> None:
    would = await make_manager(driver).create_asset(tree, "model", dry_run=True)
    assert (would.version, would.files, would.dry_run) == ("0.0", 7, True)
    if not isinstance(driver, LocalDriver):  # its folder doesn't exist yet
        assert await keys(driver) == []


async def test_a_missing_folder_is_made_by_create_alone(
    make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    manager = make_manager(LocalDriver(tmp_path / "store"))
    for attempt in (manager.update_asset(files("a"), "model"), manager.list_versions("model")):
        with pytest.raises(BucketNotFound):
            await attempt
    await manager.create_asset(files("a"), "model", dry_run=True)
    assert not (tmp_path / "store").exists()
    await manager.create_asset(files("a"), "model")
    assert await manager.list_versions("model") == ["0.0"]


async def test_patterns_select_files(memory: MemoryDriver, make_manager: ManagerFactory, tree: Path) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model", include=["weights/", "*.sh"], exclude=["deeper/"])
    fetched = await manager.fetch_asset("model")
    assert set(contents(fetched.path)) == {"weights/w.bin", "run.sh"}


async def test_the_manifest_names_user_and_host_unless_switched_off(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """Users of public buckets may want to hide both."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "open")
    private = make_manager(memory, record_user=False, record_host=False)
    await private.create_asset(files("a"), "private")
    found = {name: (await store_of(memory).read_meta(name, "0.0")).content for name in ("open", "private")}
    assert isinstance(found["open"], Manifest)
    assert isinstance(found["private"], Manifest)
    assert found["open"].pushed_by.host
    assert str(found["private"].pushed_by) == "an unknown user"
    assert found["open"].tool is not None
    assert found["open"].tool.startswith("aioassets/")


async def test_many_assets_are_pushed_at_once(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("old"), "team/old")
    results = await manager.update_assets(
        {"team/old": files("new"), **{f"team/m{i}": files(str(i)) for i in range(20)}}, create_missing=True
    )
    assert results["team/old"].version == "0.1"
    assert {r.version for name, r in results.items() if name != "team/old"} == {"0.0"}
    assert len([asset async for asset in manager.list_assets("team/")]) == 21


async def test_one_failure_does_not_stop_the_others(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The error has the results and the failures."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "a")
    with pytest.raises(BulkUpdateError) as caught:
        await manager.update_assets({"a": files("b"), "missing": files("c"), "x": "nowhere"})
    assert {name: result.version for name, result in caught.value.published.items()} == {"a": "0.1"}
    assert {name: type(error) for name, error in caught.value.failed.items()} == {
        "missing": AssetNotFound,
        "x": SourceNotFound,
    }


async def test_without_a_bucket_a_push_says_how_to_name_one(make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(None)
    with pytest.raises(InvalidSetting, match=r"--bucket \./store"):
        await manager.create_asset(files("a"), "model")
