"""Pushes that run out of threads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup

from aioassets import AssetsManager, MemoryDriver, NotFound, OutOfThreads
from aioassets.drivers.protocol import Uploaded


class Starved(MemoryDriver):
    """A driver during whose first upload the system's last thread is taken."""

    def __init__(self, tasks: TaskGroup, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._tasks = tasks
        self._monkeypatch = monkeypatch
        self.over = threading.Event()

    async def upload(self, *args: Any, **options: Any) -> Uploaded:
        if not self.over.is_set():
            await self._take_all_threads()
        return await super().upload(*args, **options)

    async def _take_all_threads(self) -> None:
        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        async def occupy() -> None:
            try:
                await anyio.to_thread.run_sync(self.over.wait, limiter=anyio.CapacityLimiter(1))
            except RuntimeError:
                refused.set()

        self._monkeypatch.setattr(threading.Thread, "start", refuse)
        refused = anyio.Event()
        while not refused.is_set():
            self._tasks.start_soon(occupy)
            await anyio.wait_all_tasks_blocked()


async def test_a_push_that_runs_out_of_threads_leaves_nothing_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").mkdir()
    for number in range(3):
        (tmp_path / "source" / f"{number}").write_text("data")
    async with anyio.create_task_group() as tasks:
        driver = Starved(tasks, monkeypatch)
        async with AssetsManager(driver=driver, assets_dir=tmp_path / "cache") as manager:
            try:
                with pytest.raises(OutOfThreads, match="ulimit -u"):
                    await manager.create_asset(tmp_path / "source", "name")
            finally:
                driver.over.set()
                monkeypatch.undo()
            with pytest.raises(NotFound):
                await manager.fetch_asset("name")
            assert [item async for item in driver.list("assets/name/0.0/")] == []
            assert (await manager.plan_clean()).removable == ()
            pushed = await manager.create_asset(tmp_path / "source", "name")
            assert (await manager.verify_asset(f"name:{pushed.version}")).ok
