"""What takes longer with more files runs beside the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import ManagerFactory

import aioassets.manifest
import aioassets.tree
import aioassets.verification
from aioassets import Manifest, MemoryDriver, Verification
from aioassets.cache import Record
from aioassets.entries import FileTable
from aioassets.retrieval import Retrieval

OVER_ALL_FILES = [
    (Manifest, "to_json"),
    (FileTable, "of"),
    (Record, "from_json"),
    (Retrieval, "_fetched"),
    (Retrieval, "_missing"),
    (Verification, "of"),
    (aioassets.manifest, "best_of"),
    (aioassets.tree, "_tree"),
    (aioassets.verification, "best_of"),
]


@pytest.mark.parametrize(("home", "name"), OVER_ALL_FILES)
async def test_nothing_goes_over_all_files_on_the_loop(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: Any,
    name: str,
) -> None:
    threads: set[threading.Thread] = set()
    original = vars(home)[name]

    def watching(function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            threads.add(threading.current_thread())
            return function(*args, **options)

        return watched

    bound = isinstance(original, classmethod)
    monkeypatch.setattr(home, name, classmethod(watching(original.__func__)) if bound else watching(original))
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    await manager.fetch_asset("model", verify=True)
    await manager.fetch_asset("model:0.0")
    await manager.fetch_asset("model:0.0", force_download=True)
    await manager.verify_asset("model")
    await manager.verify_asset("model", cached=True)

    assert threads
    assert threading.main_thread() not in threads
