"""Listing the objects in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from aioassets.drivers.protocol import CommonPrefix, ObjectInfo
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.values import given, rows_of
from aioassets.drivers.service_errors import ForeignAnswer
from aioassets.runtime.dispatch import Dispatcher


async def list_objects(
    bucket: Bucket, dispatcher: Dispatcher, prefix: str, delimiter: str | None
) -> AsyncIterator[ObjectInfo | CommonPrefix]:
    """List the objects whose keys begin with `prefix`, in the store's order."""
    position: dict[str, str] = {}
    while True:
        page = await dispatcher.send(
            partial(bucket.call, "list_objects_v2", Prefix=prefix, **given(Delimiter=delimiter), **position),
            urgent=True,
        )
        with bucket.translating("list"):
            rows = rows_of(page)
            following = {"ContinuationToken": page["NextContinuationToken"]} if page.get("IsTruncated") else {}
            if following and following == position:
                raise ForeignAnswer  # the listing never ends
            position = following
        for row in rows:
            yield row
        if not position:
            return
