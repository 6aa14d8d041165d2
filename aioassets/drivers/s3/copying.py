"""Server-side object copies, in a single request or in parts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from aioassets.drivers.bodies import MIB
from aioassets.drivers.protocol import Expect, ObjectInfo, Revision
from aioassets.drivers.s3.bucket import Bucket
from aioassets.drivers.s3.multipart import MultipartCopy
from aioassets.drivers.s3.values import condition_for, revision_of
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects

MAX_COPY: Final = 5 * 1024 * MIB
"""S3's size limit for a single CopyObject request, in bytes. Larger objects are copied in parts."""
COPY_PART: Final = 256 * MIB
"""Part size of a multipart copy, in bytes."""


async def copy_object(
    source: str,
    info: ObjectInfo,
    bucket: Bucket,
    key: str,
    dispatcher: Dispatcher,
    *,
    created_with: Mapping[str, str],
    checksums: bool,
    effects: Effects | None,
) -> Revision:
    """Copy one revision of an object to a key that has no object yet, and return the revision of the copy.

    Args:
        source: the name of the bucket that contains the original.
        info: the metadata of the original.
        bucket: the bucket to copy to.
        key: the key to copy to.
        dispatcher: the dispatcher that limits and retries the requests.
        created_with: parameters for the request that creates the object, such as those for encryption.
        checksums: whether the store should compute the SHA-256 of the copy.
        effects: records a copy whose outcome is unknown.

    Raises:
        PreconditionFailed: the original has a different revision, or there is already an object at the key.
    """
    pinned = {"CopySource": {"Bucket": source, "Key": info.key}, "CopySourceIfMatch": info.revision}
    absent = condition_for(Expect.ABSENT)
    if info.size > MAX_COPY:
        copy = MultipartCopy(
            bucket,
            dispatcher,
            key,
            info.size,
            pinned,
            part_size=COPY_PART,
            created_with=created_with,
            completed_with=absent,
            effects=effects,
        )
        return await copy.run()
    checksum = {"ChecksumAlgorithm": "SHA256"} if checksums else {}
    call = partial(bucket.call, "copy_object", key, **pinned, **checksum, **created_with, **absent)
    return revision_of((await dispatcher.send(call, effects=effects))["CopyObjectResult"])
