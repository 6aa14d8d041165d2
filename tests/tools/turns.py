"""Jobs in threads that take turns, so that a test chooses the order of their changes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

PATIENCE: Final = 60
"""Seconds after which a test stops waiting and fails."""


class Turns(Generic[T]):
    """Runs functions in threads, one change at a time, in a given order."""

    def __init__(self, jobs: Sequence[Callable[[], T]]) -> None:
        self.results: dict[int, T] = {}
        self.errors: dict[int, BaseException] = {}
        self._jobs = jobs
        self._gates = [threading.Semaphore(0) for _ in jobs]
        self._arrived = [threading.Semaphore(0) for _ in jobs]
        self._numbers: dict[int, int] = {}
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(len(jobs))]

    def hook(self) -> None:
        """Wait for the turn of this thread, if it is one of a job."""
        number = self._numbers.get(threading.get_ident())
        if number is not None:
            self._arrived[number].release()
            assert self._gates[number].acquire(timeout=PATIENCE)

    def run(self, order: Sequence[int], after_each: Callable[[], None]) -> None:
        """Run all jobs. Those that have more changes than turns take the rest of them one after another."""
        for number, thread in enumerate(self._threads):
            thread.start()
            assert self._arrived[number].acquire(timeout=PATIENCE)
        for number in order:
            self._take_turn(number, after_each)
        for number in range(len(self._jobs)):
            while not self._is_done(number):
                self._take_turn(number, after_each)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _take_turn(self, number: int, after_each: Callable[[], None]) -> None:
        if not self._is_done(number):
            self._gates[number].release()
            assert self._arrived[number].acquire(timeout=PATIENCE)
            after_each()

    def _is_done(self, number: int) -> bool:
        return number in self.results or number in self.errors

    def _run(self, number: int) -> None:
        self._numbers[threading.get_ident()] = number
        try:
            self.results[number] = self._jobs[number]()
        except BaseException as error:
            self.errors[number] = error
        self._arrived[number].release()


def orders(first: int, second: int) -> Iterator[tuple[int, ...]]:
    """Yield all interleavings of two jobs with these numbers of changes."""
    for places in itertools.combinations(range(first + second), first):
        yield tuple(0 if place in places else 1 for place in range(first + second))
