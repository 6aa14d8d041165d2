"""Simulated processes, each with a manager, on several machines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from aioassets import AssetsManager, CopyResult
from aioassets.model.pusher import Pusher
from aioassets.model.versioning import MajorMinor, SimpleDate, VersioningScheme
from aioassets.push.base import copying_from
from aioassets.runtime.chunking import dividing_from
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.machine import Claimant, Machine, on_machine
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.threads import without_threads
from simulation.driver import SimulatedDriver
from simulation.invariants import LAYOUT, Judge
from simulation.loop import LANE, Lane
from simulation.network import OTHER_URL, URL, Network
from simulation.schedule import OTHER, counterpart
from simulation.server import BEGINNING, Server
from simulation.sources import Workspace


class SimulatedMachine(Machine):
    """Machine from the view of one of its processes.

    Args:
        name: the name of the machine.
        process: the name of the process.
        lanes: all processes of all machines, by pid.
    """

    def __init__(self, name: str, process: str, pid: int, lanes: dict[int, Lane]) -> None:
        super().__init__()
        self._claimant = Claimant(name, pid, "", Pusher(process, name))
        self._lanes = lanes

    def this_process(self, *, user: bool, host: bool) -> Claimant:
        return self._claimant

    def is_gone(self, machine: str, pid: int, started: str) -> bool:
        return machine == self._claimant.machine and self._lanes[pid].is_dead

    def is_this_process(self, machine: str, pid: int, started: str) -> bool:
        """See `Machine.is_this_process`."""
        return pid == self._claimant.pid


@dataclass(slots=True)
class Process:
    """Simulated process.

    Attributes:
        lane: the lane of its callbacks.
        context: the context of its tasks.
        manager: its manager.
        elsewhere: its manager of the other store.
        judge: the checker of its results.
        workspace: the folders of its files.
        new_manager: a function that returns another manager, with an empty cache.
    """

    lane: Lane
    context: Context
    manager: AssetsManager
    elsewhere: AssetsManager
    judge: Judge
    workspace: Workspace
    new_manager: Callable[[], AssetsManager]

    async def fetch(self, spec: str) -> tuple[str, dict[str, bytes]]:
        """Fetch a version without a cache, and return its number and files."""
        fetched = await self.new_manager().fetch_asset(spec)
        files = (
            [each for each in fetched.path.rglob("*") if each.is_file()] if fetched.path.is_dir() else [fetched.path]
        )
        found = {each.relative_to(fetched.path).as_posix(): each.read_bytes() for each in files}
        return fetched.version, {path if path != "." else "": data for path, data in found.items()}

    async def copy(self, asset: str, which: str, *, within: bool, **options: Any) -> CopyResult:
        """Copy a version to the other store.

        Args:
            asset: the asset.
            which: the rest of the spec, such as `:1.2`.
            within: whether to copy between assets of one store, which then copies the bytes itself.
            **options: the options of `AssetsManager.copy_version`.
        """
        if within:
            return await self.manager.copy_version(asset + which, self.manager, name=counterpart(asset), **options)
        ends = (self.elsewhere, self.manager) if asset.startswith(OTHER) else (self.manager, self.elsewhere)
        return await ends[0].copy_version(asset.removeprefix(OTHER) + which, ends[1], **options)


@dataclass(slots=True)
class Processes:
    """Processes of one run.

    Attributes:
        server: the store.
        network: the simulated network.
        judge: the checker of their results.
        workspace: the folders of their files.
        scheme: the versioning scheme.
        seed: the seed of the pauses between retries.
        folder: the folder for fetched files.
        divides: whether versions list the chunks of their files, whatever their sizes.
    """

    server: Server
    network: Network
    judge: Judge
    workspace: Workspace
    scheme: str
    seed: int
    folder: Path
    divides: bool
    _all: dict[str, Process] = field(default_factory=dict)
    _lanes: dict[int, Lane] = field(default_factory=dict)
    _fetchers: int = 0

    def get(self, name: str, machine: str) -> Process:
        """Return a process, started on first use."""
        if name not in self._all:
            self._all[name] = self._begin(name, machine)
        return self._all[name]

    def lanes(self) -> list[Lane]:
        """Return the lanes of all processes."""
        return list(self._lanes.values())

    def _begin(self, name: str, machine: str) -> Process:
        pid = len(self._lanes) + 1
        lane = self._lanes[pid] = Lane()
        on_this = on_machine(SimulatedMachine(machine, name, pid, self._lanes))
        dividing = dividing_from(1) if self.divides else contextlib.nullcontext()
        with without_threads(), on_this, copying_from(1), dividing:
            context = copy_context()
        context.run(LANE.set, lane)
        manager = self.manager(name, self.workspace.cache)
        elsewhere = self.manager(f"{name} elsewhere", self.workspace.cache, is_other=True)
        return Process(lane, context, manager, elsewhere, self.judge, self.workspace, partial(self._new_fetcher, name))

    def _new_fetcher(self, name: str) -> AssetsManager:
        self._fetchers += 1
        return self.manager(name, self.folder / str(self._fetchers))

    def manager(self, name: str, assets_dir: Path, *, is_other: bool = False) -> AssetsManager:
        """Return a new manager, of the other store if this is requested."""
        loop, prefix = self.network.loop, LAYOUT.prefix
        retry = RetryPolicy(clock=loop.time, jitter=Random(f"{self.seed}/{name}").random)
        driver = SimulatedDriver(self.server, self.network, Dispatcher(retry=retry), OTHER_URL if is_other else URL)
        prefix = f"{prefix}/{OTHER.rstrip('/')}" if is_other else prefix
        return AssetsManager(
            driver=driver, assetsmanager_prefix=prefix, assets_dir=assets_dir, versioning=self._scheme(), retry=retry
        )

    def _scheme(self) -> VersioningScheme:
        if self.scheme == "major_minor":
            return MajorMinor()
        return SimpleDate(lambda: BEGINNING + timedelta(seconds=self.network.loop.time()))
