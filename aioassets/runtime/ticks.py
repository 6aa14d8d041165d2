"""Spreading callbacks over several iterations of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from aioassets.runtime.tasks import TASKS_PER_TICK


class TickBatcher:
    """A queue that runs a few callbacks per event loop iteration, so that other tasks can run in between."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def add(self, action: Callable[[], None]) -> None:
        """Call `action` as soon as possible: immediately if nothing is queued, otherwise in a later iteration."""
        self._waiting.append(action)
        if not self._scheduled:
            self._run_some()

    def _run_some(self) -> None:
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._run_some)
        for _ in range(min(len(self._waiting), TASKS_PER_TICK)):
            self._waiting.popleft()()
