"""Fetches log what they do to the assets directory, and why they read or wait again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import store_folder, store_of
from tools.interposer import Interposer

from aioassets import IntegrityError, MemoryDriver
from aioassets.drivers.protocol import Data, Revision
from aioassets.fetch.entry import CacheEntry
from aioassets.fetch.origin import folder_of


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of the fetch room, from INFO on."""
    caplog.set_level(logging.INFO, "aioassets.fetch")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Return level and message of each record, without those of other libraries."""
    return [(record.levelname, record.getMessage()) for record in log.records if record.name.startswith("aioassets.")]


class DamagedOnce(Interposer):
    """A store whose first response to a read is damaged."""

    damaged = False

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        async for chunk in super().read_range(key, start, stop, revision=revision):
            yield chunk if self.damaged else b"x" * len(chunk)
            self.damaged = True


async def test_an_undisturbed_fetch_logs_nothing(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, log: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model[weights]")
    await manager.fetch_asset("model")
    await manager.fetch_asset("model", force_download=True)
    await manager.verify_asset("model")

    assert lines(log) == []


async def test_a_repeated_read_is_logged_with_its_reason(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, log: pytest.LogCaptureFixture
) -> None:
    await make_manager(memory).create_asset(files("a"), "model")
    fetched = await make_manager(DamagedOnce(memory)).fetch_asset("model")

    assert fetched.path.read_text() == "a"
    ((level, message),) = lines(log)
    assert level == "WARNING"
    assert message.startswith(
        "Reading a damaged file again from memory://memory: model:0.0 differs from what was pushed: expected sha"
    )


async def test_an_adopted_payload_is_logged(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    CacheEntry(store_folder(tmp_path / "cache"), "model", "0.0").record_file.unlink()
    await manager.fetch_asset("model")

    assert lines(log) == [("INFO", f"Adopted {str(fetched.path)!r} as model:0.0 without a download")]


def damage(payload: Path) -> None:
    (payload / ".hidden").write_text("damage")


def add(payload: Path) -> None:
    (payload / "added").touch()


def empty(payload: Path) -> None:
    (payload / "empty directory" / "inner").rmdir()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damage, "model:0.0[.hidden] differs from what was pushed: expected sha256"),
        (add, "'added' was added to it"),
        (empty, "the folder 'empty directory/inner' is missing"),
    ],
)
async def test_a_payload_that_is_put_aside_is_logged_with_both_paths_and_the_reason(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    tree: Path,
    tmp_path: Path,
    log: pytest.LogCaptureFixture,
    change: object,
    reason: str,
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    entry = CacheEntry(store_folder(tmp_path / "cache"), "model", "0.0")
    entry.record_file.unlink()
    assert callable(change)
    change(fetched.path)
    await manager.fetch_asset("model")

    ((level, message),) = lines(log)
    (aside,) = entry.record_file.parent.glob("*.aside-*")
    assert level == "WARNING"
    assert message.startswith(f"Moved {str(fetched.path)!r} aside to {str(aside)!r}: {reason}")


async def test_a_payload_of_another_push_that_is_replaced_is_logged(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, log: pytest.LogCaptureFixture
) -> None:
    """The store was emptied, and another push took the same number."""
    manager = make_manager(memory)
    await manager.create_asset(files("one"), "model")
    await manager.fetch_asset("model")
    await memory.delete(["assets/model.versions", "assets/model/0.0.meta", "assets/model/0.0"])
    await manager.create_asset(files("other"), "model")
    await manager.fetch_asset("model", force_download=True)

    ((level, message),) = lines(log)
    assert level == "WARNING"
    assert message.endswith(": it differs from the downloaded model:0.0")


async def test_damaged_files_are_logged_when_they_are_found_and_when_they_are_replaced(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, log: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    fetched = await manager.fetch_asset("model")
    damage(fetched.path)
    with pytest.raises(IntegrityError) as caught:
        await make_manager(None).fetch_asset("model", verify=True)
    await manager.fetch_asset("model", verify=True)

    found = ("WARNING", f"Damaged in the assets directory: {caught.value}")
    assert lines(log) == [
        *[found] * 3,  # once more under the lock
        ("WARNING", f"Replacing 1 of 7 files in {str(fetched.path)!r} because of damage"),
    ]


async def test_waiting_for_the_lock_of_another_process_is_logged_once(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(files("a"), "model")
    entry = CacheEntry(folder_of(tmp_path / "cache", store_of(memory)), "model", "0.0")
    held = await asyncio.to_thread(entry.try_lock)
    assert held is not None
    refused = asyncio.Event()
    attempts = 0
    loop, try_lock = asyncio.get_running_loop(), CacheEntry.try_lock

    def note(entry: CacheEntry) -> int | None:
        nonlocal attempts
        descriptor = try_lock(entry)
        attempts += descriptor is None
        if attempts == 3:
            loop.call_soon_threadsafe(refused.set)
        return descriptor

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CacheEntry, "try_lock", note)
        fetching = asyncio.ensure_future(manager.fetch_asset("model"))
        await refused.wait()
        await asyncio.to_thread(entry.unlock, held)
        await fetching

    assert lines(log) == [
        ("INFO", f"Waiting for another fetch of model:0.0, which holds the lock {str(entry.lock_file)!r}")
    ]
