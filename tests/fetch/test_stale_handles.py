"""An assets directory on a network file system, whose server replaces files while they are found and opened."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.inspection import contents
from tools.oserrors import failing

from aioassets import CacheError, MemoryDriver

CALLS = ["fcntl.flock", "os.open", "os.stat", "os.rename", "os.replace", "os.pwrite", "os.mkdir", "io.open"]


@pytest.mark.parametrize("name", CALLS)
async def test_one_stale_handle_ends_no_fetch(
    make_manager: ManagerFactory, tree: Path, memory: MemoryDriver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    module, _, function = name.partition(".")
    monkeypatch.setattr(
        name, failing(errno.ESTALE, 1, getattr({"os": os, "io": io}.get(module) or __import__(module), function))
    )
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == contents(tree)


async def test_an_error_that_stays_comes_with_a_hint(
    make_manager: ManagerFactory, tree: Path, memory: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    monkeypatch.setattr("fcntl.flock", failing(errno.ESTALE, 99, bool))
    with pytest.raises(CacheError, match=rf"{os.strerror(errno.ESTALE)}; .*file system"):
        await manager.fetch_asset("model")
