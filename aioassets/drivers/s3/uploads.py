"""Listing and aborting open multipart uploads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aioassets.drivers.http.parsing import in_utc
from aioassets.drivers.protocol import OpenUpload
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.errors import code_of
from aioassets.errors import AccessDenied, StoreError
from aioassets.runtime.dispatch import Dispatcher

_NOT_LISTED: Final = ("MethodNotAllowed", "NoSuchUpload", "NotImplemented", "501")
"""Error codes of stores that can't list open uploads. rclone 1.75 sends the first."""


async def open_uploads(bucket: Bucket, dispatcher: Dispatcher, prefix: str) -> AsyncIterator[OpenUpload]:
    """List the open uploads whose keys begin with `prefix`. A store that can't list any has none to abort."""
    position: dict[str, str] = {}
    while True:
        try:
            page = await dispatcher.send(
                partial(bucket.call, "list_multipart_uploads", Prefix=prefix, **position), urgent=True
            )
        except StoreError as error:
            if code_of(error) not in _NOT_LISTED:
                raise
            return
        for row in page.get("Uploads", ()):
            if row["Key"].startswith(prefix):  # checked because callers may abort the listed uploads
                yield OpenUpload(row["Key"], row["UploadId"], in_utc(row["Initiated"]))
        # SeaweedFS sorts by upload ID and sends no key marker.
        markers = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
        before, position = position, {name: marker for name, marker in markers.items() if marker}
        if not page.get("IsTruncated") or position == before:
            return


async def open_uploads_of(bucket: Bucket, dispatcher: Dispatcher, key: str) -> AsyncIterator[OpenUpload]:
    """List the open uploads for a key."""
    async for upload in open_uploads(bucket, dispatcher, key):
        if upload.key == key:
            yield upload


async def abort(bucket: Bucket, dispatcher: Dispatcher, upload: OpenUpload) -> None:
    """Abort an open upload. Do nothing if it no longer exists."""
    await dispatcher.send(partial(abort_once, bucket, upload.key, upload.id), urgent=True)


async def abort_all_of(bucket: Bucket, dispatcher: Dispatcher, key: str) -> None:
    """Abort all open uploads for a key, if the credentials permit it."""
    with contextlib.suppress(AccessDenied, StoreError):
        async for upload in open_uploads_of(bucket, dispatcher, key):
            await abort(bucket, dispatcher, upload)


async def abort_once(bucket: Bucket, key: str, upload_id: str) -> None:
    """Send a single request to abort an upload, without retries. Do nothing if the upload no longer exists."""
    try:
        await bucket.call("abort_multipart_upload", key, UploadId=upload_id)
    except StoreError as error:
        if code_of(error) != "NoSuchUpload":
            raise
