"""Deleting many objects with one request each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aioassets.errors import AioAssetsError, StoreUnavailable
from aioassets.runtime.tasks import for_each

T = TypeVar("T")


async def delete_each(items: Iterable[T], delete: Callable[[T], Awaitable[None]], *, limit: int) -> None:
    """Run `delete` on each item, at most `limit` at a time. If one fails, the others are still deleted.

    Raises:
        StoreUnavailable: the store is unreachable. The remaining items are not tried.
        AioAssetsError: the first of any other errors, raised after all items have been tried.
    """
    failed: list[AioAssetsError] = []

    async def attempt(item: T) -> None:
        try:
            await delete(item)
        except StoreUnavailable:
            raise
        except AioAssetsError as error:
            failed.append(error)

    await for_each(items, attempt, limit=limit)
    if failed:
        raise failed[0]
