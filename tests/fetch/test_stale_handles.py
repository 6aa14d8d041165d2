"""An assets directory on a network file system, whose server replaces files while they are found and opened."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.factories import ManagerFactory
from tools.inspection import contents

from aioassets import CacheError, MemoryDriver


def failing(times: float, real: Callable[..., Any], number: int = errno.ESTALE) -> Callable[..., Any]:
    """Return a function that raises this error some times, and then calls the real one."""
    left = times

    def call(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left > 0:
            left -= 1
            raise OSError(number, os.strerror(number))
        return real(*args, **options)

    return call


CALLS = ["fcntl.flock", "os.open", "os.stat", "os.rename", "os.replace", "os.pwrite", "os.mkdir", "io.open"]


@pytest.mark.parametrize("name", CALLS)
async def test_one_stale_handle_ends_no_fetch(
    make_manager: ManagerFactory, tree: Path, memory: MemoryDriver, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    module, _, function = name.partition(".")
    monkeypatch.setattr(name, failing(1, getattr({"os": os, "io": io}.get(module) or __import__(module), function)))
    fetched = await manager.fetch_asset("model")
    assert contents(fetched.path) == contents(tree)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_an_error_that_stays_comes_with_a_hint(
    make_manager: ManagerFactory, tree: Path, memory: MemoryDriver, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    manager = make_manager(memory)
    await manager.create_asset(tree, "model")
    monkeypatch.setattr("fcntl.flock", failing(99, bool, number))
    with pytest.raises(CacheError, match=rf"{os.strerror(number)}; .*file system"):
        await manager.fetch_asset("model")
