"""Reading and writing the `.chunks` of a version."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aioassets.drivers.protocol import Uploaded
from aioassets.errors import AioAssetsError
from aioassets.model.chunks import ChunkTable, document_digest
from aioassets.model.digests import SHA256
from aioassets.runtime.effects import Effects
from aioassets.runtime.threads import check_cancelled, in_thread
from aioassets.store.documents import AssetStore

logger = logging.getLogger(__name__)


class DocumentSource:
    """A `Source` for a document in memory.

    Args:
        data: the document.
        digest: its SHA-256 in lowercase hexadecimal.
    """

    def __init__(self, data: bytes, digest: str) -> None:
        self._data = memoryview(data)
        self._digest = digest

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self._data)

    @property
    def digests(self) -> Mapping[str, str]:
        """The SHA-256 digest."""
        return {SHA256: self._digest}

    async def read(self, offset: int, size: int) -> memoryview:
        """Return a part of the document."""
        return self._data[offset : offset + size]

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        """Return `False`, because there is no file to copy from."""
        return False


async def read_chunks(store: AssetStore, name: str, version: str, digest: str) -> ChunkTable | None:
    """Return the chunks of a version's large files.

    Args:
        store: the store.
        name: the asset's name.
        version: the version.
        digest: the digest of the `.chunks`, as the manifest records it.

    Returns:
        The chunks; `None` if the document can't be read, isn't the recorded one, or is invalid. They only save time.
    """
    key = store.layout.chunks(name, version)
    try:
        found = await store.read_document(key)
        return await in_thread(ChunkTable.recorded, found.data, digest, check_cancelled)
    except (AioAssetsError, ValueError) as error:
        logger.info("Cannot use the chunks of %s:%s in %s: %s", name, version, store.url, error)
        return None


async def write_chunks(
    store: AssetStore, name: str, version: str, data: bytes, *, resume: bool = False, effects: Effects | None = None
) -> Uploaded:
    """Write the `.chunks` of a version under its claim, create-only like content.

    Args:
        store: the store.
        name: the asset's name.
        version: the version.
        data: the document.
        resume: whether an earlier attempt may have written it.
        effects: the record of requests whose effect is unknown.

    Returns:
        Whether this call created the object. If not, it was there already, with the same bytes.

    Raises:
        PreconditionFailed: if there is an object with other bytes.
    """
    source = DocumentSource(data, await in_thread(document_digest, data))
    return await store.driver.upload(store.layout.chunks(name, version), source, resume=resume, effects=effects)
