"""Fetches from hostile stores: each is complete or one clear error, and writes only to the assets directory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents, store_of
from tools.interposer import Interposer

from aioassets import (
    AioAssetsError,
    AssetVersions,
    CacheError,
    Driver,
    FileEntry,
    IntegrityError,
    InvalidName,
    InvalidSpec,
    InvalidVersion,
    MemoryDriver,
    StoreCorrupt,
    UsageError,
)
from aioassets.drivers.protocol import Expect, Revision
from aioassets.fetch.download import download
from aioassets.fetch.origin import folder_of
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteFile
from aioassets.fetch.sinks import RANGE, RANGES_AT_ONCE, DiskSink
from aioassets.model.files import FileTable
from aioassets.progress import ignore
from aioassets.runtime.batches import SMALL
from aioassets.testing import BytesSource

pytestmark = pytest.mark.once

META = "assets/model/0.0.meta"
INDEX = "assets/model.versions"
DIRECTORY: dict[str, Any] = {"push_date": "2026-05-06T07:08:09Z", "is_directory": True}
FILE: dict[str, Any] = {"push_date": "2026-05-06T07:08:09Z", "is_directory": False}

TRIES = 2
"""Attempts to read a file that arrives damaged."""


async def put(driver: Driver, key: str, document: object) -> None:
    """Write any content, as another program could."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    await driver.write(key, data, expected=Expect.ANYTHING)


async def publish(driver: Driver, meta: object, **content: bytes) -> None:
    """Write a version with this `.meta` and with objects by path. A file asset has the path `""`."""
    await put(driver, INDEX, {"versions": ["0.0"]})
    await put(driver, META, meta)
    for path, data in content.items():
        await driver.upload(f"assets/model/0.0/{path}".rstrip("/"), BytesSource(data))


def entry(path: str, data: bytes, **lies: object) -> dict[str, Any]:
    """Return a row of a manifest, correct except for `lies`."""
    return {"path": path, "size": len(data), "digests": {"sha256": hashlib.sha256(data).hexdigest()}, **lies}


def folder(*entries: Mapping[str, Any], **more: object) -> dict[str, Any]:
    """Return the manifest of a directory."""
    return {**DIRECTORY, "contents": [row["path"] for row in entries], "files": list(entries), **more}


def outside(tmp_path: Path) -> dict[str, Any]:
    """Return all content outside the assets directory."""
    beside = [path for path in tmp_path.iterdir() if path.name != "cache"]
    return {path.name: contents(path) if path.is_dir() else path.read_bytes() for path in beside}


def placed(tmp_path: Path) -> list[str]:
    """Return the paths of all files in the assets directory."""
    return sorted(path for path, (data, _) in contents(tmp_path / "cache").items() if data is not None)


def nested(depth: int) -> Any:
    """Return nested lists, so that the whole document has this depth."""
    value: Any = 1
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        (
            folder(entry("../../../escaped", b"x")),
            r"the path '\.\./\.\./\.\./escaped': it must be a relative path without",
        ),
        (folder(entry("a/../../../../escaped", b"x")), "it must be a relative path without empty"),
        (folder(entry("/tmp/escaped", b"x")), "it must be a relative path without empty"),
        (folder(entry("..\\escaped", b"x")), "it contains a backslash"),
        (folder(entry("C:/escaped", b"x")), "it begins with a Windows drive letter"),
        (folder(entry("c:escaped", b"x")), "it begins with a Windows drive letter"),
        (folder(entry("a\0b", b"x")), "it contains a control character"),
        (folder(entry("a\x1b[31mb", b"x")), "it contains a control character"),
        (folder(entry("a\udc80", b"x")), "surrogates not allowed"),
        (folder(entry("a" * 256, b"x")), "segment longer than 255 bytes"),
        (folder(entry("a", b"x"), entry("a", b"y")), "the path 'a' twice"),
        (folder(entry("a", b"x"), entry("a/b", b"x")), "'a' both as a file and as a folder"),
        (folder(entry("a", b"x"), empty_directories=["a"]), "'a' both as a file and as a folder"),
        (folder(entry("a", b"x"), empty_directories=["../../escaped"]), r"the folder '\.\./\.\./escaped'"),
        (folder(entry("a", b"x"), contents=["b"]), "list different paths"),
        (folder(entry("a", b"x", size=-1)), "negative"),
        (folder(entry("a", b"x", size=2**63)), r"2\*\*63 bytes or more"),
        (folder(entry("a", b"x", size=10**5000 // 10**4900)), "more than 100 digits"),
        (folder(entry("a", b"x", size=True)), "file size must be an integer"),
        (folder(entry("a", b"x", size="1")), "file size must be an integer"),
        (folder(entry("a", b"x", digests={"sha256": ["x"]})), "digest must be a string"),
        ({**FILE, "files": [entry("../escaped", b"x")]}, "its fields 'contents' and 'files' list different paths"),
        ({**FILE, "empty_directories": ["/tmp/escaped"]}, "it describes a single file, but lists empty folders"),
        ({**FILE, "push_date": "a long time ago"}, "push_date isn't a valid ISO 8601 date and time"),
        ({**FILE, "push_date": 10**90}, "push_date isn't a valid ISO 8601 date and time"),
        ({**FILE, "labels": {"a": 1}}, "label must be a string"),
        ({**FILE, "labels": ["a"]}, "labels must be an object"),
        ({**FILE, "extra": nested(33)}, "nested more than 32 levels deep"),
        (b'{"a":' * 200_000, "nested more than 32 levels deep"),
        (json.dumps(FILE).encode()[:-1], "it isn't valid JSON"),
        (b"", "it isn't valid JSON"),
        (b"\x80\x04", "it isn't valid JSON"),
        (b"[]", "it isn't a JSON object"),
        (b'"text"', "it isn't a JSON object"),
        ({"aioassets_claim": "mine"}, "claim must be an object"),
        (b'{"push_date": "2026-05-06T07:08:09Z", "is_directory": false, "x": NaN}', "not a finite number"),
    ],
    ids=range(36),
)
async def test_a_manifest_that_is_not_sound_is_one_error(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, meta: object, reason: str
) -> None:
    """The error names the object and the reason. The version stays listed."""
    await publish(memory, meta, a=b"x")
    before = outside(tmp_path)
    manager = make_manager(memory)
    for spec in ("model", "model:0.0", "model[a]"):
        with pytest.raises(StoreCorrupt, match=rf"^memory://memory/{META} is invalid: .*{reason}") as caught:
            await manager.fetch_asset(spec)
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()
    assert (outside(tmp_path), placed(tmp_path)) == (before, [])
    assert await manager.list_versions("model") == ["0.0"]


async def test_a_manifest_just_within_the_limits_is_fetched(
    driver: Driver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    paths = ["a" * 255, "con", "xy:z/C:z", "...", "-rf", "~", "$(id)", "a[0]", "\u202eexe.txt", " ", "%2e%2e%2fa"]
    rows = [entry(path, path.encode()) for path in paths]
    await publish(driver, folder(*rows, extra=nested(30)), **{path: path.encode() for path in paths})
    fetched = await make_manager(driver).fetch_asset("model")
    assert contents(fetched.path) == {path: (path.encode(), False) for path in paths}


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ({"versions": ["../../x"]}, r"the version '\.\./\.\./x': it must consist of letters, digits"),
        ({"versions": ["0.0", ".."]}, r"the version '\.\.': it consists of dots only"),
        ({"versions": ["0.0\x1b[2J"]}, r"the version '0\.0\\x1b\[2J'"),
        ({"versions": ["1" * 10_000_000]}, "it is longer than 128 characters"),
        ({"versions": [0.0]}, "its versions must be a string"),
        ({"versions": {"0.0": 1}}, "its versions must be a list"),
        ({"versions": None}, "its versions must be a list"),
        ({"versions": ["0"] * 1_000_001}, "it has more than 1,000,000 versions"),
        ({}, "it has no field 'versions'"),
        (b'{"versions": ["0.0"]', "it isn't valid JSON"),
        (b'{"versions": ["0.0"], "x": 1e999}', "'1e999' is not a finite number"),
        (b'{"versions": [' + b"[" * 100 + b"]" * 100 + b"]}", "nested more than 32 levels deep"),
        (b"<html>Sign in</html>", "it isn't valid JSON"),
    ],
    ids=range(13),
)
async def test_an_index_that_is_not_sound_is_one_error(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tmp_path: Path, index: object, reason: str
) -> None:
    """Every call names it, and no push changes it."""
    source = files("a")
    await put(memory, INDEX, index)
    before, driver = outside(tmp_path), Interposer(memory)
    manager = make_manager(driver, single_writer=True)
    for call in (
        lambda: manager.fetch_asset("model"),
        lambda: manager.list_versions("model"),
        lambda: manager.update_asset(source, "model"),
        lambda: manager.create_asset(source, "model"),
    ):
        with pytest.raises(StoreCorrupt, match=f"^memory://memory/{INDEX} is invalid: .*{reason}") as caught:
            await call()
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()
    assert {method for method, _ in driver.calls} == {"read"}
    assert (outside(tmp_path), placed(tmp_path)) == (before, [])


async def test_versions_of_another_scheme_raise_an_error_that_names_the_setting(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """The setting of the scheme may be wrong, not the store."""
    await put(memory, INDEX, {"versions": ["0.0", "2026-05-06T07-08-09Z"]})
    manager = make_manager(memory)
    for call in (lambda: manager.fetch_asset("model"), lambda: manager.update_asset(files("a"), "model")):
        with pytest.raises(InvalidVersion, match=r"'2026-05-06T07-08-09Z'.*select the scheme that it uses"):
            await call()
    assert await manager.list_versions("model") == ["0.0", "2026-05-06T07-08-09Z"]


# Sizes


@pytest.mark.parametrize(
    ("size", "more"),
    [
        (size, more)
        for size in (0, 1, 1000, SMALL, SMALL + 1, RANGE, RANGE + 1, 2 * RANGE)
        for more in (-1, 1, RANGE)
        if size + more >= 0
    ],
)
@pytest.mark.parametrize("recorded", ["digest", "nothing"])
async def test_a_size_that_lies_is_named(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, size: int, more: int, recorded: str
) -> None:
    """Sizes are checked with and without a digest."""
    data = bytes(size + more)
    lie = {"size": size, **({} if recorded == "digest" else {"digests": {}})}
    await publish(memory, folder(entry("a", data, **lie), entry("b", b"x")), a=data, b=b"x")
    with pytest.raises(IntegrityError, match=r"^model:0\.0\[a\] differs from what was pushed: expected "):
        await make_manager(memory).fetch_asset("model")
    assert placed(tmp_path) == []


class Flood(MemoryDriver):
    """Store that sends ten times the requested bytes, and counts those that were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[bytes, None]:
        for _ in range(start, stop + 9 * (stop - start), 1000):
            self.taken += 1000
            yield bytes(1000)


@pytest.mark.parametrize("size", [1000, 2 * RANGE])
async def test_a_store_that_sends_more_than_was_asked_for_fills_no_disk(
    make_manager: ManagerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """No file ever grows beyond its recorded size."""
    written: list[int] = []
    pwrite = os.pwrite

    def watch(descriptor: int, data: bytes, offset: int) -> int:
        written.append(offset + len(data))
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr("aioassets.fetch.sinks.os.pwrite", watch)
    driver = Flood()
    await publish(driver, folder(entry("a", bytes(size))), a=b"x")
    with pytest.raises(IntegrityError, match=f"expected {size} bytes, found more"):
        await make_manager(driver).fetch_asset("model")
    assert max(written, default=0) <= size
    assert driver.taken <= TRIES * (size + 2 * 1000)
    assert placed(tmp_path) == []


async def test_a_size_beyond_every_disk_is_refused_before_anything_is_asked_for(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    await publish(memory, folder(entry("a", b"x", size=2**62)), a=b"x")
    driver = Interposer(memory)
    with pytest.raises(CacheError, match=r"model:0\.0 needs 4,611,686,018,427,387,904 bytes, but only"):
        await make_manager(driver).fetch_asset("model")
    assert "read_range" not in {method for method, _ in driver.calls}
    assert placed(tmp_path) == []


async def test_a_file_of_any_size_starts_with_a_few_ranges(memory: MemoryDriver, tmp_path: Path) -> None:
    """This protects file systems that don't report their free space."""
    await memory.upload("a", BytesSource(b"x"))
    driver = Interposer(memory)
    file = RemoteFile(FileEntry("a", 2**62, {"sha256": "ab"}), "a", "model:0.0[a]", 2**62)
    reader = FileReader(driver, "model", ignore)
    sink = DiskSink(str(tmp_path / "a"))
    with anyio.fail_after(60), pytest.raises(IntegrityError, match="expected 4611686018427387904 bytes, found"):
        await download(reader, FileTable([file.entry]), lambda _: file, lambda _: sink)
    assert len(driver.calls) <= TRIES * RANGES_AT_ONCE


# Names


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("model:../../x", InvalidVersion),
        ("model:..", InvalidVersion),
        ("model:/etc", InvalidVersion),
        ("model:" + "1" * 5000, InvalidVersion),
        ("model:1." + "1" * 5000, InvalidVersion),
        ("../model", InvalidName),
        ("a/../../model", InvalidName),
        ("/model", InvalidName),
        ("a\0b", InvalidName),
        ("a" * 256, InvalidName),
        ("model:0.0[../x]", InvalidSpec),
        ("model:0.0[/../x]", InvalidSpec),
        ("model:0.0[a//b]", InvalidSpec),
    ],
    ids=range(13),
)
async def test_a_spec_can_not_lead_outside(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, spec: str, error: type[UsageError]
) -> None:
    driver = Interposer(memory)
    before = outside(tmp_path)
    with pytest.raises(error):
        await make_manager(driver).fetch_asset(spec)
    assert driver.calls == []
    assert (outside(tmp_path), placed(tmp_path)) == (before, [])


async def test_a_listing_shows_only_names_that_can_be_fetched(
    memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    """Other keys that end like an index are ignored, and folders that no valid name leads to aren't listed."""
    odd = ["../x", "a/../../x", "\x1b[31mred", "a b", "-x", "x-", "a//x", "", "line\nbreak", "\u202ex", "x" * 256]
    for name in (*odd, "good", "team/-good", "1.0/inner"):
        await put(memory, f"assets/{name}.versions", {"versions": ["0.0"]})
    driver = Interposer(memory)
    assert [asset.name async for asset in make_manager(driver).list_assets()] == ["good", "team/-good"]
    assert ("list", "assets/../") not in driver.calls


async def test_a_listing_goes_on_past_an_index_that_can_not_be_read(
    driver: Driver, make_manager: ManagerFactory
) -> None:
    await put(driver, "assets/a.versions", {"versions": ["0.0"]})
    await put(driver, "assets/b.versions", {"versions": ["../x"]})
    await put(driver, "assets/c.versions", {"versions": ["0.1", "0.0"]})
    first, second, third = [asset async for asset in make_manager(driver).list_assets()]
    assert (first, third) == (AssetVersions("a", ("0.0",)), AssetVersions("c", ("0.1", "0.0")))
    assert (second.name, second.versions) == ("b", ())
    assert isinstance(second.error, StoreCorrupt)
    assert f"{driver.url}/assets/b.versions is invalid: it lists the version '../x'" in str(second.error)


# Assets directory


@pytest.mark.parametrize("there", [True, False], ids=["elsewhere", "nowhere"])
async def test_a_link_that_was_planted_for_staging_is_not_followed(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tmp_path: Path, there: bool
) -> None:
    """Staging folders are created anew, and the target of the link is not changed."""
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    target = tmp_path / "elsewhere"
    if there:
        target.mkdir()
        (target / "precious").write_text("x")
    staging = folder_of(tmp_path / "cache", store_of(memory)) / ".aioassets" / "model" / "0.0.staging-01234567"
    staging.parent.mkdir(parents=True)
    staging.symlink_to(target)
    before = outside(tmp_path)
    assert (await manager.fetch_asset("model")).path.read_text() == "a"
    assert outside(tmp_path) == before
    assert not staging.is_symlink()


async def test_every_error_is_one_of_ours(memory: MemoryDriver, make_manager: ManagerFactory) -> None:
    """A claim with an absurd process id is still a claim, and no version."""
    claim = {"state": "claimed", "token": "t", "operation": "update", "fingerprint": "f", "machine": "m", "started": ""}
    for pid in (-1, 0, 2**64, 10**99):
        await publish(memory, {"aioassets_claim": {**claim, "pid": pid}})
        with pytest.raises(AioAssetsError, match=r"its manifest is missing"):
            await make_manager(memory).fetch_asset("model")
