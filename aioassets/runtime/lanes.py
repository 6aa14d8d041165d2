"""Concurrent processing of large and small files."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import anyio

from aioassets.runtime.tasks import for_each, unwrapped
from aioassets.runtime.threads import in_thread

FILES_AT_ONCE: Final = 64
"""Default maximum number of files of each kind (small or large) to process at a time. The budget limits requests."""
LARGE: Final = 1024 * 1024
"""Minimum size in bytes of a large file. Such a file may be sent in parts, and an extra request hardly matters."""


async def side_by_side(
    sizes: Iterable[int | None], count: int, work: Callable[[int], Awaitable[None]], limit: int
) -> None:
    """Process large and small files concurrently, so that neither kind waits for the other.

    Args:
        sizes: the sizes of the files in bytes; `None` if a size is unknown.
        count: the number of files.
        work: a function that processes one file, given its index.
        limit: the maximum number of files of each kind to process concurrently.
    """
    if count <= limit:
        await for_each(range(count), work, limit=limit)
        return
    lanes = await in_thread(_by_size, sizes)
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            for lane in lanes:
                tasks.start_soon(partial(for_each, lane, work, limit=limit))


def _by_size(sizes: Iterable[int | None]) -> tuple[array[int], array[int]]:
    """Return the indexes of the large files and those of the small files."""
    lanes = array("L"), array("L")
    for number, size in enumerate(sizes):
        lanes[(size or 0) < LARGE].append(number)
    return lanes
