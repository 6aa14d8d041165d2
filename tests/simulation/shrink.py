"""Reduction of a schedule with a violation to a minimal one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simulation.faults import RequestId
from simulation.schedule import Schedule, Step
from simulation.sources import Workspace
from simulation.world import Outcome, run


class Shrinking:
    """Reduction of a schedule that keeps its violation.

    Args:
        schedule: the schedule.
        outcome: the outcome of its run.
        workspace: the folders of files.
    """

    def __init__(self, schedule: Schedule, outcome: Outcome, workspace: Workspace) -> None:
        self._schedule = schedule
        self._outcome = outcome
        self._workspace = workspace

    def run(self) -> tuple[Schedule, Outcome]:
        """Return the shortest schedule found, and its outcome with a trace."""
        while any([*self._tried()]):  # a list, because `any` alone would stop at the first
            pass
        return self._schedule, run(self._schedule, self._workspace, traced=True)

    def _tried(self) -> Iterator[bool]:
        """Try without single operations and faults, then with a better store and small sources; yield each success."""
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
        """Keep a change if the same violation occurs."""
        changed = change(self._schedule)
        if changed == self._schedule or not changed.steps:
            return False
        outcome = run(changed, self._workspace)
        if not outcome.violations or outcome.what != self._outcome.what:
            return False
        self._schedule, self._outcome = changed, outcome
        return True


def report(schedule: Schedule, outcome: Outcome, workspace: Workspace) -> str:
    """Return a report on the violation, with the shortest schedule found."""
    shorter, ending = Shrinking(schedule, outcome, workspace).run()
    faults = [f"{label}, request {number}: {kind.value}" for (label, number), kind in ending.faults.items()]
    lines = ["VIOLATION", *ending.violations, str(shorter), *faults, "", *ending.trace]
    return "\n".join([*lines, "", f"To reproduce: python -m simulation replay {schedule.seed}"])
