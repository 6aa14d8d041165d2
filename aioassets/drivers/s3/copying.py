"""Server-side object copies, in a single request or in parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from aioassets.drivers.bodies import MIB
from aioassets.drivers.protocol import Expect, ObjectInfo
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.multipart import MultipartCopy
from aioassets.drivers.s3.values import condition_for
from aioassets.errors import PreconditionFailed
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects

MAX_COPY: Final = 5 * 1024 * MIB
"""S3's size limit for a single CopyObject request, in bytes. Larger objects are copied in parts."""
COPY_PART: Final = 256 * MIB
"""Part size of a multipart copy, in bytes."""


class Copier:
    """Copies objects to keys of a bucket that have no object yet.

    Some stores ignore that condition of a copy. So the key is checked first, until the store has refused to repeat
    a copy. Refusing it once saves a request for each further copy.

    Args:
        bucket: the bucket to copy to.
        dispatcher: the dispatcher that limits and retries the requests.
        created_with: parameters for the request that creates the object, such as those for encryption.
        checksums: whether the store should compute the SHA-256 of a copy.
        stat: a function that returns the metadata of an object in the bucket, or `None` if there is none.
    """

    def __init__(
        self,
        bucket: Bucket,
        dispatcher: Dispatcher,
        *,
        created_with: Mapping[str, str],
        checksums: bool,
        stat: Callable[[str], Awaitable[ObjectInfo | None]],
    ) -> None:
        self._bucket = bucket
        self._dispatcher = dispatcher
        self._created_with = created_with
        self._checksums = checksums
        self._stat = stat
        self._has_repeated = False
        self._refuses = False

    async def copy(
        self,
        source: str,
        info: ObjectInfo,
        key: str,
        effects: Effects | None,
        *,
        is_current: Callable[[], Awaitable[bool]],
    ) -> Mapping[str, Any]:
        """Copy one revision of an object.

        Args:
            source: the name of the bucket that contains the original.
            info: the metadata of the original.
            key: the key to copy to.
            effects: records a copy whose outcome is unknown.
            is_current: a function that returns whether the original still has this revision.

        Returns:
            The fields that the response has: `ETag`, and possibly `LastModified` and checksums.

        Raises:
            PreconditionFailed: the original has a different revision, or there is already an object at the key.
        """
        if not self._refuses and await self._stat(key) is not None:
            raise PreconditionFailed(f"{self._bucket.url}/{key}")
        copy = partial(self._copy, source, info, key, effects)
        made = await copy()
        if not self._has_repeated:
            self._has_repeated = True
            try:
                made = await copy()
            except PreconditionFailed:
                self._refuses = await is_current()
        return made

    async def _copy(self, source: str, info: ObjectInfo, key: str, effects: Effects | None) -> Mapping[str, Any]:
        pinned = {"CopySource": {"Bucket": source, "Key": info.key}, "CopySourceIfMatch": info.revision}
        absent = condition_for(Expect.ABSENT)
        if info.size > MAX_COPY:
            copy = MultipartCopy(
                self._bucket,
                self._dispatcher,
                key,
                info.size,
                pinned,
                part_size=COPY_PART,
                created_with=self._created_with,
                completed_with=absent,
                effects=effects,
            )
            return {"ETag": await copy.run()}
        checksum = {"ChecksumAlgorithm": "SHA256"} if self._checksums else {}
        params = {**pinned, **checksum, **self._created_with, **absent}
        call = partial(self._bucket.call, "copy_object", key, **params)
        result: Mapping[str, Any] = (await self._dispatcher.send(call, effects=effects))["CopyObjectResult"]
        return result
