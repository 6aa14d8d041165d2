"""Process that races to move one alias, round by round, whenever a line on standard input names the expected version.

Usage: alias_racer.py PLACE CACHE. Each input line is a JSON object with `expect` and `versions`. For each, it
prints a JSON array of the versions to which its concurrent moves pointed the alias.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aioassets import AliasMoved, AssetsManager


async def moved(manager: AssetsManager, version: str, expect: str | None) -> str | None:
    try:
        move = await manager.set_alias("team/model", "prod", version, expect=expect)
    except AliasMoved:
        return None
    return move.version


async def main(place: dict[str, Any], cache: str) -> None:
    bucket, options = place.pop("bucket"), place.pop("options", None)
    async with AssetsManager(bucket, assets_dir=cache, storage_options=options) as manager:
        print("ready", flush=True)  # noqa: T201
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            outcomes = await asyncio.gather(*(moved(manager, version, job["expect"]) for version in job["versions"]))
            print(json.dumps([version for version in outcomes if version is not None]), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), sys.argv[2]))
