"""Work that grows with the number of files runs in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory

import aioassets.fetch.verify
import aioassets.model.manifest
import aioassets.push.scan
from aioassets import Manifest, MemoryDriver, Verification
from aioassets.fetch.lookup import CachedFiles
from aioassets.fetch.plan import DownloadPlan
from aioassets.fetch.record import Record
from aioassets.fetch.selection import Selection
from aioassets.model.files import FileTable
from aioassets.push.base import copying_from
from aioassets.push.reuse import Reuse

OVER_ALL_FILES = [
    (Manifest, "to_fields"),
    (FileTable, "of"),
    (Record, "read_from"),
    (CachedFiles, "as_fetched"),
    (DownloadPlan, "of"),
    (Verification, "of"),
    (aioassets.model.manifest, "best_of"),
    (aioassets.push.scan, "tree_of_directory"),
    (aioassets.fetch.verify, "best_of"),
]


def threads_of(home: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> set[threading.Thread]:
    """Record the threads that a function runs in from now on."""
    threads: set[threading.Thread] = set()
    original = vars(home)[name]

    def watching(function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            threads.add(threading.current_thread())
            return function(*args, **options)

        return watched

    bound = isinstance(original, classmethod)
    monkeypatch.setattr(home, name, classmethod(watching(original.__func__)) if bound else watching(original))
    return threads


@pytest.mark.parametrize(("home", "name"), OVER_ALL_FILES)
async def test_no_loop_over_all_files_runs_on_the_event_loop(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: Any,
    name: str,
) -> None:
    threads = threads_of(home, name, monkeypatch)
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model", verify=True)
    await manager.fetch_asset("model:0.0")
    await manager.fetch_asset("model:0.0", force_download=True)
    await manager.verify_asset("model")
    await manager.verify_asset("model", cached=True)

    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("name", ["_candidates", "_has_large_files"])
async def test_the_files_of_a_push_are_compared_with_its_base_in_a_thread(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    threads = threads_of(Reuse, name, monkeypatch)
    manager = make_manager(memory)
    with copying_from(1000):
        await manager.create_asset(tree, "model")
        assert (await manager.plan_update(tree, "model")).copied >= 3000
    assert threads
    assert threading.main_thread() not in threads


async def test_the_files_of_a_part_are_selected_in_a_thread(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = threads_of(Selection, "of", monkeypatch)
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    await manager.verify_asset("model[weights]")
    await manager.fetch_asset("model[weights]")
    await manager.verify_asset("model[weights]", cached=True)

    assert threads
    assert threading.main_thread() not in threads
