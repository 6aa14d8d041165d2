"""Helpers for clients without a transfer manager: listing files, and many requests in flight."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.runners.job import KEY

T = TypeVar("T")

IN_FLIGHT: Final = 256


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, limit: int = IN_FLIGHT) -> None:
    """Process the items, this many at a time."""
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(limit):
            tasks.create_task(worker())


def keys_of(source: str) -> Iterator[tuple[str, str]]:
    """Iterate over the files below a folder, as pairs of key and path."""
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)  # a `Path` for each would add to the peer's CPU time
            yield f"{KEY}/{os.path.relpath(path, source)}", path


class Folder:
    """A folder to write files to."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._made: set[str] = set()

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Write a file. This blocks, but not for long."""
        path = f"{self._path}/{key}"
        folder = path.rpartition("/")[0]
        if folder not in self._made:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        with open(path, "wb", buffering=0) as file:
            file.write(data)
