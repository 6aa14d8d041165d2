"""Deleting the content of a version, which is safe only once its `.meta` is abandoned or a tombstone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aioassets.drivers.protocol import ObjectInfo, OpenUpload
from aioassets.errors import AioAssetsError
from aioassets.store.documents import AssetStore

BATCH: Final = 1000
"""Maximum number of keys to pass to a driver's `delete` at once."""


@dataclass(slots=True)
class ContentSummary:
    """Number, size and age of a version's objects.

    Attributes:
        files: the number of objects.
        size: their total size in bytes.
        modified: when the most recent one was written; `None` if there are none.
    """

    files: int = 0
    size: int = 0
    modified: datetime | None = None

    def add(self, info: ObjectInfo) -> None:
        """Add an object to the summary."""
        self.files += 1
        self.size += info.size
        self.modified = info.modified if self.modified is None else max(self.modified, info.modified)


async def content_of(store: AssetStore, name: str, version: str) -> ContentSummary:
    """Return a summary of a version's objects, without its `.meta`."""
    found = ContentSummary()
    async for info in store.objects(name, version):
        found.add(info)
    return found


async def uploads_of(store: AssetStore, name: str, version: str) -> list[OpenUpload]:
    """Return the open uploads of a version."""
    key, chunks = store.layout.content(name, version), store.layout.chunks(name, version)
    return [
        upload
        async for upload in store.driver.open_uploads(key)
        if upload.key in (key, chunks) or upload.key.startswith(f"{key}/")
    ]


async def remove_content(store: AssetStore, name: str, version: str) -> ContentSummary:
    """Abort the open uploads of a version, and delete all objects below it, not only those in its manifest.

    Returns:
        A summary of the deleted objects.

    Raises:
        AioAssetsError: if anything is left. All objects are deleted even if the open uploads can't be aborted.
    """
    failure: AioAssetsError | None = None
    try:
        for upload in await uploads_of(store, name, version):
            await store.driver.abort(upload)
    except AioAssetsError as error:  # for example, the credentials don't permit it
        failure = error
    removed = await _remove_objects(store, name, version)
    if failure is not None:
        raise failure
    return removed


async def _remove_objects(store: AssetStore, name: str, version: str) -> ContentSummary:
    removed = ContentSummary()
    batch: list[ObjectInfo] = []
    async for info in store.objects(name, version):
        batch.append(info)
        if len(batch) == BATCH:
            await _delete(store, batch, removed)
            batch = []
    if batch:
        await _delete(store, batch, removed)
    return removed


async def _delete(store: AssetStore, batch: list[ObjectInfo], removed: ContentSummary) -> None:
    await store.driver.delete([info.key for info in batch])
    for info in batch:
        removed.add(info)
