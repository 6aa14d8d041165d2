"""The context that all fetches of a manager share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from aioassets.fetch.locks import Locks
from aioassets.model.versioning import VersioningScheme
from aioassets.store.documents import AssetStore


@dataclass(frozen=True, slots=True)
class FetchContext:
    """The context of a fetch.

    Attributes:
        store: the store to fetch from; `None` to use only the cache.
        origin: the store that cached files must come from; `None` if no bucket is set.
        assets_dir: the directory to fetch to.
        scheme: the versioning scheme.
        locks: the locks that serialize fetches of the same version.
        limit: the maximum size of the cache in bytes; `None` for no limit.
        sleep: the function that waits while another process holds a lock.
    """

    store: AssetStore | None
    origin: AssetStore | None
    assets_dir: Path
    scheme: VersioningScheme
    locks: Locks
    limit: int | None = None
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
