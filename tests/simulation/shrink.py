"""Making a schedule that breaks something as short as can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simulation.faults import RequestId
from simulation.schedule import Schedule, Step
from simulation.sources import Workspace
from simulation.world import Outcome, run


class Shrinking:
    """Leaves out what isn't needed to break the same thing.

    Args:
        schedule: what breaks it.
        outcome: how that run ended.
        workspace: where files are.
    """

    def __init__(self, schedule: Schedule, outcome: Outcome, workspace: Workspace) -> None:
        self._schedule = schedule
        self._outcome = outcome
        self._workspace = workspace

    def run(self) -> tuple[Schedule, Outcome]:
        """Return the shortest schedule that was found, and how it ends, with its trace."""
        while any([*self._tried()]):  # all of them: `any` alone would stop at the first
            pass
        return self._schedule, run(self._schedule, self._workspace, traced=True)

    def _tried(self) -> Iterator[bool]:
        """Leave out single operations and faults, then try a better store and small sources; yields what helped."""
        for step in reversed(self._schedule.steps):
            yield self._try(self._less(step))
        for request in reversed([*self._outcome.faults]):
            yield self._try(self._calmer(request))
        yield self._try(lambda schedule: replace(schedule, weather=replace(schedule.weather, skew=0.0)))
        yield self._try(lambda schedule: replace(schedule, store=replace(schedule.store, etags=False)))
        yield self._try(lambda schedule: replace(schedule, store=replace(schedule.store, checks_completion=True)))
        for step in self._schedule.steps:
            yield self._try(self._from_a_small_file(step))

    def _less(self, step: Step) -> Callable[[Schedule], Schedule]:
        return lambda schedule: schedule.with_steps(tuple(each for each in schedule.steps if each != step))

    def _calmer(self, request: RequestId) -> Callable[[Schedule], Schedule]:
        return lambda schedule: schedule.calmed(request)

    def _from_a_small_file(self, step: Step) -> Callable[[Schedule], Schedule]:
        small = replace(step, source=f"file{step.source[-1]}")
        return lambda schedule: schedule.with_steps(tuple(small if each == step else each for each in schedule.steps))

    def _try(self, change: Callable[[Schedule], Schedule]) -> bool:
        """Keep a change with which the same is broken."""
        changed = change(self._schedule)
        if changed == self._schedule or not changed.steps:
            return False
        outcome = run(changed, self._workspace)
        if not outcome.violations or outcome.what != self._outcome.what:
            return False
        self._schedule, self._outcome = changed, outcome
        return True


def report(schedule: Schedule, outcome: Outcome, workspace: Workspace) -> str:
    """Return what was broken, and the shortest schedule that was found to break it."""
    shorter, ending = Shrinking(schedule, outcome, workspace).run()
    faults = [f"{label}, request {number}: {kind.value}" for (label, number), kind in ending.faults.items()]
    lines = ["VIOLATION", *ending.violations, str(shorter), *faults, "", *ending.trace]
    return "\n".join([*lines, "", f"To see it again: python -m simulation replay {schedule.seed}"])
