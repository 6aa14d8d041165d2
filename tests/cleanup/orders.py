"""Explicit-state model of one version, its index and an alias: every interleaving of a few operations, with one crash.

Each read and each swap is one step, and a process may die before any step. It extends the model of the design by what
`aioassets/cleanup/withdrawal.py` adds to it: a look at the aliases before the mark, a mark that stays if an earlier
yank is complete, settling before a deletion begins again, a yank that begins again if it was undone, and cleaning.

The tests explore up to three operations. `python -m cleanup.orders 4` in the folder of the tests explores four.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

MOST_CHANGES: Final = 14
"""Number of changes of a `.meta` after which a contest of yanks and restorations isn't followed."""


class State(NamedTuple):
    """State of the store.

    Attributes:
        meta: `sealed`, `yanked` or `deleted`.
        revision: the revision of the `.meta`.
        listed: whether the index lists the version.
        fence: the fence in the index, or an empty string.
        alias: `v` if the alias points at the version, `w` for another version, `None` if it doesn't exist.
        content: whether the version has content.
    """

    meta: str
    revision: int
    listed: bool
    fence: str
    alias: str | None
    content: bool

    def with_meta(self, meta: str) -> State:
        return self._replace(meta=meta, revision=self.revision + 1)

    def agreeing(self, meta: str) -> State:
        """Return the state after the index was made to agree with a `.meta`."""
        if self.fence == "deleted":
            return self._replace(listed=False)
        if meta == "sealed":
            return self._replace(listed=True, fence="")
        return self._replace(listed=False, fence=meta)


class Process(NamedTuple):
    """Process at a step, with what it has read."""

    step: str
    seen: Any = None
    settled: str = ""


Step = Callable[[Process, State], tuple[Process, State]]


END: Final = Process("end")
DEAD: Final = Process("dead")
ENDED: Final = (END, DEAD)


def at(process: Process, step: str, **seen: Any) -> Process:
    return process._replace(step=step, **seen)


def settle(process: Process, state: State, then: str) -> tuple[Process, State]:
    """Perform a step of settling, and continue with another step once the `.meta` stays the same."""
    match process.step:
        case "settle":
            return at(process, "agree", settled=state.meta), state
        case "agree":
            return at(process, "look again"), state.agreeing(process.settled)
    return at(process, then if state.meta == process.settled else "agree", settled=state.meta), state


def push_that_steps_over(process: Process, state: State) -> tuple[Process, State]:
    if process.step == "start":
        return at(process, "list" if state.meta == "sealed" else "end"), state
    return at(process, "end"), state if state.fence else state._replace(listed=True)


def push(process: Process, state: State) -> tuple[Process, State]:
    return at(process, "end"), state if state.fence else state._replace(listed=True)


def yank(process: Process, state: State, *, delete: bool = False) -> tuple[Process, State]:
    match process.step:
        case "start" if state.meta == "deleted":
            return at(process, "fence for good" if delete else "end"), state
        case "start" if state.meta == "sealed" and state.alias == "v":
            return at(process, "end"), state
        case "start":
            return at(process, "aliases" if state.meta == "yanked" else "mark", seen=(state.revision, state)), state
        case "mark" if state.revision != process.seen[0]:
            return at(process, "start"), state
        case "mark":
            marked = state.with_meta("yanked")
            return at(process, "aliases", seen=(marked.revision, process.seen[1])), marked
        case "aliases":
            before = process.seen[1]
            was_complete = before.meta == "yanked" and before.fence
            return at(process, "fence" if state.alias != "v" else "end" if was_complete else "undo"), state
        case "undo":
            is_own = state.revision == process.seen[0]
            return at(process, "settle", seen="end"), state.with_meta("sealed") if is_own else state
    return after_the_look(process, state, delete=delete)


def after_the_look(process: Process, state: State, *, delete: bool) -> tuple[Process, State]:
    """Perform a step of a yank or a deletion after it found no alias."""
    match process.step:
        case "fence":
            fenced = state.agreeing("yanked")
            return (at(process, "bury") if delete else at(process, "settle", seen="yank")), fenced
        case "bury" if state.revision != process.seen[0]:
            return at(process, "settle", seen="start"), state
        case "bury":
            return at(process, "fence for good"), state.with_meta("deleted")
        case "fence for good":
            return at(process, "delete content"), state._replace(listed=False, fence="deleted")
        case "delete content":
            return at(process, "end"), state._replace(content=False)
    undone = process.seen == "yank" and state.meta == "sealed"
    return settle(process, state, "start" if undone or process.seen == "start" else "end")


def delete(process: Process, state: State) -> tuple[Process, State]:
    return yank(process, state, delete=True)


def unyank(process: Process, state: State) -> tuple[Process, State]:
    match process.step:
        case "start" if state.meta == "yanked":
            return at(process, "clear", seen=state.revision), state
        case "start":
            return at(process, "end" if state.meta == "deleted" else "settle"), state
        case "clear" if state.revision != process.seen:
            return at(process, "start"), state
        case "clear":
            return at(process, "settle"), state.with_meta("sealed")
    return settle(process, state, "end")


def clean(process: Process, state: State) -> tuple[Process, State]:
    match process.step:
        case "start" if state.meta == "sealed":
            return at(process, "settle", seen="end"), state
        case "start" if state.meta == "deleted":
            return at(process, "fence for good"), state
        case "fence":
            return at(process, "settle", seen="end"), state.agreeing("yanked")
    return yank(process, state)


def move_alias(process: Process, state: State) -> tuple[Process, State]:
    match process.step:
        case "start":
            return at(process, "swap" if state.meta == "sealed" else "end"), state
        case "swap":
            return at(process, "look"), state._replace(alias="v")
        case "look":
            return at(process, "end" if state.meta == "sealed" else "undo"), state
    return at(process, "end"), state._replace(alias=None) if state.alias == "v" else state


def move_alias_away(process: Process, state: State) -> tuple[Process, State]:
    return at(process, "end"), state._replace(alias="w")


OPERATIONS: Final[dict[str, Step]] = {
    each.__name__: each
    for each in (push_that_steps_over, push, yank, delete, unyank, clean, move_alias, move_alias_away)
}
World = tuple[State, tuple[Process, ...], bool]


def problem_of(world: World, *, was_listed: bool) -> str | None:
    """Return what is wrong with a state of all processes, if anything."""
    state, processes, died = world
    if not state.content and (state.meta != "deleted" or state.listed):
        return "content of a version that isn't deleted and unlisted is gone"
    if any(process not in ENDED for process in processes):
        return None
    if state.listed and (state.meta == "deleted" or (state.meta != "sealed" and not died)):
        return "a withdrawn version is listed"
    if state.meta == "sealed" and not state.listed and was_listed and not died:
        return "a version that isn't withdrawn isn't listed"
    if state.alias == "v" and state.meta != "sealed" and not died:
        return "the alias points at a withdrawn version"
    return None


def following(world: World, names: tuple[str, ...]) -> Iterator[World]:
    """Iterate over the states after one more step of any process, or the death of one."""
    state, processes, died = world
    for number, process in enumerate(processes):
        if process in ENDED:
            continue
        moved, changed = OPERATIONS[names[number]](process, state)
        if changed.revision <= MOST_CHANGES:
            yield changed, replaced(processes, names, number, END if moved.step == "end" else moved), died
        if not died:
            yield state, replaced(processes, names, number, DEAD), True


def replaced(
    processes: tuple[Process, ...], names: tuple[str, ...], number: int, process: Process
) -> tuple[Process, ...]:
    """Return processes with another one at a position. Those of equal operations are sorted, as they are symmetric."""
    changed = [*processes[:number], process, *processes[number + 1 :]]
    start, stop = names.index(names[number]), len(names) - names[::-1].index(names[number])
    if stop - start > 1:
        changed[start:stop] = sorted(changed[start:stop], key=hash)
    return tuple(changed)


class Exploration(NamedTuple):
    """Result of exploring all interleavings of some operations.

    Attributes:
        problem: the first problem found.
        states: the number of states explored.
    """

    problem: str | None
    states: int


def explored(names: tuple[str, ...], begin: State) -> Exploration:
    """Explore all interleavings of some operations, of which one may die; stop at the first problem."""
    first: World = (begin, tuple(Process("start") for _ in names), False)
    seen: set[World] = {first}
    waiting: deque[World] = deque([first])
    while waiting:
        world = waiting.popleft()
        if (problem := problem_of(world, was_listed=begin.listed)) is not None:
            return Exploration(f"{problem}: {names} from {begin}: {world[0]}", len(seen))
        for after in following(world, names):
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return Exploration(None, len(seen))


def explorations(operations: int) -> Iterator[tuple[tuple[str, ...], Exploration]]:
    """Explore all combinations of so many operations, each from several states."""
    begins = [
        State("sealed", 0, listed, "", alias, True) for listed, alias in ((True, None), (False, None), (True, "v"))
    ]
    for names in itertools.combinations_with_replacement(OPERATIONS, operations):
        for begin in begins:
            yield names, explored(names, begin)


def problems(operations: int) -> Iterator[str]:
    """Explore all combinations of so many operations, and yield the problems found."""
    return (found.problem for _, found in explorations(operations) if found.problem is not None)


def main(operations: int) -> int:
    """Explore all combinations of so many operations, print each, and return the exit status."""
    states = failed = 0
    for names, found in explorations(operations):
        states, failed = states + found.states, failed + (found.problem is not None)
        print(f"{found.states:>12,}  {' '.join(names)}  {found.problem or ''}".rstrip(), flush=True)  # noqa: T201
    print(f"{states:>12,}  states in all, {failed} problems")  # noqa: T201
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
