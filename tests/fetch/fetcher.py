"""Program that fetches one spec from a local store, in step with a test.

Usage: fetcher.py STORE CACHE SPEC [STOP] [force]

It prints `waiting` when another process holds the lock. Before it reads the object whose key ends
with STOP, it prints `downloading`, and waits for a line on its standard input. At the end it prints
a JSON object that describes its fetch.
"""

from __future__ import annotations

import asyncio
import json
import sys

from tools.interposer import Interposer

from aioassets import AssetsManager, LocalDriver
from aioassets.fetch.entry import CacheEntry
from aioassets.runtime.threads import in_thread


def emit(line: str) -> None:
    print(line, flush=True)  # noqa: T201


async def main(store: str, cache: str, spec: str, stop: str = "-", force: str = "") -> None:
    waiting = False
    try_lock = CacheEntry.try_lock

    def watched_try_lock(entry: CacheEntry) -> int | None:
        nonlocal waiting
        descriptor = try_lock(entry)
        if descriptor is None and not waiting:
            waiting = True
            emit("waiting")
        return descriptor

    CacheEntry.try_lock = watched_try_lock  # type: ignore[method-assign, assignment]

    async def pause(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "read_range") and key.endswith(stop):
            emit("downloading")
            await in_thread(sys.stdin.readline)

    driver = Interposer(LocalDriver(store), pause)
    async with AssetsManager(driver=driver, assets_dir=cache) as manager:
        fetched = await manager.fetch_asset(spec, force_download=bool(force))
    downloads = [key for method, key in driver.calls if method == "read_range"]
    emit(json.dumps({"path": str(fetched.path), "from_cache": fetched.from_cache, "downloads": downloads}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
