"""Running work on large and small files side by side."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import anyio

from aioassets.runtime.tasks import for_each, unwrapped
from aioassets.runtime.threads import in_thread

FILES_AT_ONCE: Final = 64
"""Files under way at once where the budget allows no more, of small and of large ones; it bounds their requests."""
LARGE: Final = 1024 * 1024
"""Bytes from which on a file may have been sent in parts, and one more request doesn't count."""


async def side_by_side(
    sizes: Iterable[int | None], count: int, work: Callable[[int], Awaitable[None]], limit: int
) -> None:
    """Large files beside small ones: whichever come first, the others don't wait until these are through.

    Args:
        sizes: of the files, in bytes; `None` where they aren't known.
        count: how many files there are.
        work: is given the number of each.
        limit: files of either kind that are under way at once.
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
    """The numbers of the large files, and of the small ones."""
    lanes = array("L"), array("L")
    for number, size in enumerate(sizes):
        lanes[(size or 0) < LARGE].append(number)
    return lanes
