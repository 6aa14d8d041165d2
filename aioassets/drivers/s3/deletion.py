"""Deletion of objects, in batches where the store supports them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final

from aioassets.drivers.deletion import delete_each
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.errors import code_of
from aioassets.errors import BucketNotFound, ObjectNotFound, StoreError, StoreUnavailable
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects

BATCH: Final = 1000
"""S3's limit of keys for one DeleteObjects request."""
SINGLE_DELETIONS: Final = 64
"""Requests at once where each deletes one object. The budget limits them, too."""

logger = logging.getLogger(__name__)


class Deletion:
    """Deletes objects of a bucket in batches, or one by one from the first batch on that the store refuses.

    Some stores have no DeleteObjects, and some demand headers of it that others refuse.

    Args:
        bucket: the bucket.
        dispatcher: sends the requests.
    """

    def __init__(self, bucket: Bucket, dispatcher: Dispatcher) -> None:
        self._bucket = bucket
        self._dispatcher = dispatcher
        self._has_batches = True

    async def run(self, keys: Iterable[str], effects: Effects | None) -> None:
        """Delete objects, all of them even if some can't be deleted. Missing ones are no error."""
        await delete_each(_batches(keys), partial(self._delete, effects=effects), limit=1)

    async def _delete(self, batch: tuple[str, ...], effects: Effects | None) -> None:
        if self._has_batches:
            try:
                await self._dispatcher.send(partial(self._bucket.delete_batch, batch), urgent=True, effects=effects)
            except (StoreUnavailable, BucketNotFound):
                raise
            except (StoreError, ObjectNotFound) as error:  # a bare 404 can only be about the operation
                if not code_of(error):  # it is about single keys, or something else than S3 responded
                    raise
                logger.info("Deleting objects one by one: %s", error)
                self._has_batches = False
            else:
                return
        await delete_each(batch, partial(self._delete_one, effects=effects), limit=SINGLE_DELETIONS)

    async def _delete_one(self, key: str, effects: Effects | None) -> None:
        with contextlib.suppress(ObjectNotFound):
            await self._dispatcher.send(partial(self._bucket.delete, key), urgent=True, effects=effects)


def _batches(keys: Iterable[str]) -> Iterator[tuple[str, ...]]:
    remaining = iter(keys)
    while batch := tuple(islice(remaining, BATCH)):
        yield batch
