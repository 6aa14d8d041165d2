"""Object deletion, in batches if the store supports them."""

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
"""S3's limit on the number of keys in a DeleteObjects request."""
SINGLE_DELETIONS: Final = 64
"""Maximum number of concurrent requests that each delete one object. The budget limits them as well."""

logger = logging.getLogger(__name__)


class Deletion:
    """Deletes objects from a bucket in batches, or one by one once the store has refused a batch.

    Some stores don't support DeleteObjects, and some require headers that others reject.

    Args:
        bucket: the bucket.
        dispatcher: the dispatcher that limits and retries the requests.
    """

    def __init__(self, bucket: Bucket, dispatcher: Dispatcher) -> None:
        self._bucket = bucket
        self._dispatcher = dispatcher
        self._has_batches = True

    async def run(self, keys: Iterable[str], effects: Effects | None) -> None:
        """Delete objects. Try all of them even if some can't be deleted, and ignore missing ones."""
        await delete_each(_batches(keys), partial(self._delete, effects=effects), limit=1)

    async def _delete(self, batch: tuple[str, ...], effects: Effects | None) -> None:
        if self._has_batches:
            try:
                await self._dispatcher.send(partial(self._bucket.delete_batch, batch), urgent=True, effects=effects)
            except (StoreUnavailable, BucketNotFound):
                raise
            except (StoreError, ObjectNotFound) as error:  # a plain 404 can only concern the operation
                if not code_of(error):  # it concerns individual keys, or it isn't a response from S3
                    raise
                logger.info("Bulk deletion is unavailable, so deleting objects one by one: %s", error)
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
