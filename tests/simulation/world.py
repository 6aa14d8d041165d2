"""Run of one schedule, with all checks."""

from __future__ import annotations

import asyncio
import gc
import itertools
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from aioassets.errors import AssetExists
from simulation.faults import Kind, RequestId, Weather
from simulation.invariants import Judge
from simulation.loop import OUTSIDE, VirtualLoop
from simulation.network import SENDER, Network, Sender
from simulation.operations import perform
from simulation.processes import Process, Processes
from simulation.schedule import HOUR, Schedule, Step, made
from simulation.server import Server
from simulation.sources import Workspace

LONGEST: Final = 1000 * HOUR
AFTERWARDS: Final = 24 * HOUR
"""Seconds after which no late request takes effect."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        violations: the broken invariants.
        faults: the requests with faults.
        requests: number of requests.
        trace: one line for each event, if requested.
    """

    violations: tuple[str, ...]
    faults: dict[RequestId, Kind]
    requests: int
    trace: tuple[str, ...]

    @property
    def what(self) -> str:
        """The first violation, without details."""
        return self.violations[0].partition(":")[0]


class World:
    """Simulated world of one run.

    Args:
        schedule: the schedule.
        workspace: the folders of files.
        traced: whether to record a trace.
    """

    def __init__(self, schedule: Schedule, workspace: Workspace, *, traced: bool = False) -> None:
        self._schedule = schedule
        self._loop = VirtualLoop()  # type: ignore[abstract]
        self._trace: list[str] = []
        self._network = Network(self._loop, schedule.weather, self._note if traced else None)
        self._judge = Judge(self._network, steps={step.label: step for step in schedule.steps})
        self._server = self._judge.server = Server(schedule.store, self._loop.time, self._judge)
        self._folder = workspace.root / "fetched"
        self._processes = Processes(
            self._server,
            self._network,
            self._judge,
            workspace,
            schedule.scheme,
            schedule.seed,
            self._folder,
            schedule.divides,
        )

    def run(self) -> Outcome:
        """Run the schedule, and return its outcome."""
        for step in self._schedule.steps:
            process = self._processes.get(step.process, step.machine)
            self._loop.call_at(step.at, self._start, process, step, context=process.context.copy())
        self._loop.run(self._is_broken, limit=LONGEST)
        if not self._judge.violations:
            self._settle()
        self._take_down()
        shutil.rmtree(self._folder, ignore_errors=True)
        judge, network = self._judge, self._network
        return Outcome(tuple(judge.violations), network.faults, network.requests, tuple(self._trace))

    def _is_broken(self) -> bool:
        return bool(self._judge.violations)

    def _start(self, process: Process, step: Step) -> None:
        sender = Sender(step.label, process.lane)
        SENDER.set(sender)
        sender.task = self._loop.create_task(perform(process, step))

    def _note(self, label: str, text: str) -> None:
        self._trace.append(f"{self._loop.time():12.3f} s  {label:12}  {text}")

    # Afterwards, without faults

    def _settle(self) -> None:
        self._judge.settled()
        for step in self._schedule.steps:
            process = self._processes.get(step.process, step.machine)
            ended = step.label in self._judge.outcomes or process.lane.is_dead
            self._judge.expect(ended, "an operation never ended", step.label)
        self._network.weather = None
        self._loop.call_at(self._loop.time() + AFTERWARDS, self._begin_afterwards, context=OUTSIDE.copy())
        self._loop.run(self._is_broken, limit=self._loop.time() + 2 * AFTERWARDS)
        if not self._judge.violations:
            self._judge.settled(cleaned=True)

    def _begin_afterwards(self) -> None:
        process = self._processes.get("afterwards", "m9")
        context = process.context.copy()
        context.run(SENDER.set, Sender("afterwards", process.lane))
        self._loop.create_task(self._afterwards(process), context=context)

    async def _afterwards(self, process: Process) -> None:
        """Check that everything still works, and that cleaning terminates."""
        try:
            await self._repeat_copies(process)
            for asset in sorted({each for step in self._schedule.steps for each in (step.asset, step.target)}):
                await self._look_at(process, asset)
        except Exception as error:
            self._judge.expect(False, "something fails in calm weather", repr(error))

    async def _repeat_copies(self, process: Process) -> None:
        for step, version, copied in self._judge.copies():
            SENDER.get().label = f"then repeat {step.label}"
            is_renumbered = step.kind == "copy_renumbered"
            again = await process.copy(step.asset, f":{version}", within=step.is_within, renumber=is_renumbered)
            what = f"{step.label}: {copied} and {again.version}"
            self._judge.expect(again.unchanged, "repeating a copy isn't without effect", what)

    async def _look_at(self, process: Process, asset: str) -> None:
        judge, source = self._judge, process.workspace.source(self._schedule.steps[0].source)
        step = self._afterwards_step("create", asset)
        try:
            result = await process.manager.create_asset(source, asset)
        except AssetExists:
            step = self._afterwards_step("update", asset)
            result = await process.manager.update_asset(source, asset)
        judge.pushed(step, result.version)
        verification = await process.manager.verify_asset(asset)
        judge.expect(verification.ok, "a version doesn't verify", f"{asset}:{verification.version}")
        await process.manager.clean(await process.manager.plan_clean(asset))
        left = [each.version for each in (await process.manager.plan_clean(asset)).removable]
        judge.expect(not left, "cleaning doesn't come to an end", f"{asset}: {left}")

    def _afterwards_step(self, kind: str, asset: str) -> Step:
        """Return a further operation, as the sender of the following requests."""
        step = replace(self._schedule.steps[0], label=f"then {kind} {asset}", kind=kind, asset=asset)
        self._judge.steps[step.label] = step
        SENDER.get().label = step.label
        return step

    def _take_down(self) -> None:
        """Cancel all tasks, including those of dead processes, without a network."""
        self._judge.is_over = self._network.is_down = True
        for lane in self._processes.lanes():
            self._loop.wake(lane)
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run(lambda: False, limit=self._loop.time() + LONGEST)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Disable garbage collection, whose timing isn't deterministic."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run(schedule: Schedule, workspace: Workspace, *, traced: bool = False) -> Outcome:
    """Run a schedule."""
    with _uncollected(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".* was never awaited", RuntimeWarning
        )  # coroutines that were cancelled at the end
        outcome = World(schedule, workspace, traced=traced).run()
        gc.collect()
        return outcome


@contextmanager
def workspace() -> Iterator[Workspace]:
    """Create the files that all schedules share, with remembered probes, so that no schedule probes a store."""
    with Workspace.made() as made_here:
        copies = (Step(f"copy{number}", 60.0, "p", "m", "copy", "x", "file1") for number in itertools.count())
        between_stores = next(step for step in copies if not step.is_within)
        calm = replace(
            made(0),
            weather=Weather(0, 0.01, 0.0, 0.0, tuple(Kind)),
            steps=(Step("create", 0.0, "p", "m", "create", "x", "file1"), between_stores),
        )
        run(calm, made_here)
        gc.collect()
        gc.freeze()  # makes the collection after each run cheap
        try:
            yield made_here
        finally:
            gc.unfreeze()
