"""Server-side copies of blobs. A copy may still be in progress after the store has accepted it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Final

from aioassets.drivers.azure.blobs import Blobs
from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.values import condition_for, quoted, revision_of
from aioassets.drivers.http.parsing import http_time, printable
from aioassets.drivers.protocol import Expect, ObjectInfo
from aioassets.errors import AioAssetsError, ObjectNotFound, StoreUnavailable
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects

FIRST_LOOK: Final = 0.1
"""Number of seconds before the first check of a copy. Within an account, most copies finish immediately."""
MAX_LOOK: Final = 5.0
"""Maximum number of seconds between checks of a copy."""
PATIENCE: Final = 120.0
"""Number of seconds without progress after which the driver gives up on a copy."""


class Copy:
    """A server-side copy to a key that doesn't exist yet.

    Args:
        client: the client that sends the requests.
        blobs: the blobs in the same container.
        dispatcher: the dispatcher that limits and retries requests.
        key: the key of the copy.
    """

    def __init__(self, client: AzureClient, blobs: Blobs, dispatcher: Dispatcher, key: str) -> None:
        self._client = client
        self._blobs = blobs
        self._dispatcher = dispatcher
        self._key = key

    async def begin(self, url: str, info: ObjectInfo, effects: Effects | None) -> Mapping[str, str]:
        """Ask the store to copy one revision of a blob, and return the headers of the response.

        Args:
            url: the URL from which the store can read the original.
            info: the metadata of the original.
            effects: records a copy whose effect is unknown.
        """
        headers = {
            "x-ms-copy-source": url,
            "x-ms-source-if-match": quoted(info.revision),
            **condition_for(Expect.ABSENT),
        }
        request = partial(self._client.call, "PUT", self._key, headers=headers, body=b"")
        return await self._dispatcher.send(request, effects=effects)

    async def finish(self, begun: Mapping[str, str], info: ObjectInfo, effects: Effects | None) -> ObjectInfo:
        """Wait for the copy that `begin` started, and return its metadata.

        Args:
            begun: the headers of the response to `begin`.
            info: the metadata of the original.
            effects: records a copy whose effect is unknown.
        """
        if begun.get("x-ms-copy-status") == "success" and "last-modified" in begun:
            with self._client.reading("copy", self._key):
                made = http_time(begun["last-modified"])
                return ObjectInfo(self._key, info.size, revision_of(begun), made, info.checksums)
        try:
            return await self._finish()
        except AioAssetsError:
            if effects is not None:
                effects.note_uncertain()  # the store has accepted the copy, which may still appear
            raise

    async def waited_for(self) -> ObjectInfo:
        """Wait for a copy that another process may have started, without ever aborting or deleting it."""
        return self._blobs.info_of(self._key, await self._wait(await self._head()))

    async def _finish(self) -> ObjectInfo:
        headers = await self._head()
        if headers.get("x-ms-copy-status") == "pending":
            try:
                headers = await self._wait(headers)
            except BaseException:
                await self._abandon(headers.get("x-ms-copy-id", ""))
                raise
        if headers.get("x-ms-copy-status") in ("failed", "aborted"):
            await self._delete()  # a failed copy leaves an empty blob
            what = headers.get("x-ms-copy-status-description") or "no reason given"
            raise StoreUnavailable(self._client.url, f"the copy to {self._key!r} failed: {printable(what)}.")
        return self._blobs.info_of(self._key, headers)

    async def _wait(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        pause, waited = FIRST_LOOK, 0.0
        while headers.get("x-ms-copy-status") == "pending":
            if waited >= PATIENCE:
                detail = f"the copy to {self._key!r} made no progress for {PATIENCE:g} seconds."
                raise StoreUnavailable(self._client.url, detail)
            await self._dispatcher.retry.sleep(pause)
            waited, pause, before = waited + pause, min(2 * pause, MAX_LOOK), headers
            headers = await self._head()
            if headers.get("x-ms-copy-progress") != before.get("x-ms-copy-progress"):
                waited = 0.0
        return headers

    async def _abandon(self, copy_id: str) -> None:
        query, headers = {"comp": "copy", "copyid": copy_id}, {"x-ms-copy-action": "abort"}
        abort = partial(self._client.call, "PUT", self._key, query=query, headers=headers, body=b"")
        with cleanup_scope():
            with contextlib.suppress(AioAssetsError):  # the copy may have finished
                await self._dispatcher.send(abort, urgent=True)
            with contextlib.suppress(AioAssetsError):
                await self._delete()

    async def _head(self) -> Mapping[str, str]:
        return await self._dispatcher.send(partial(self._blobs.head, self._key), urgent=True)

    async def _delete(self) -> None:
        with contextlib.suppress(ObjectNotFound):
            await self._dispatcher.send(partial(self._blobs.delete, self._key), urgent=True)
