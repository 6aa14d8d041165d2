"""Process that pushes concurrent updates of one asset, each with its own content.

Usage: racer.py PLACE CACHE PUSHES RACER — prints a JSON object of contents by version.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from aioassets import AssetsManager


async def main(place: dict[str, Any], cache: str, pushes: int, racer: str) -> None:
    bucket, options = place.pop("bucket"), place.pop("options", None)
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder) / f"{racer}-{number}" for number in range(pushes)]
        for source in sources:
            source.mkdir()
            for part in ("a", "b/c"):
                (source / part).parent.mkdir(exist_ok=True)
                (source / part).write_text(f"{source.name} {part}")
        async with AssetsManager(bucket, assets_dir=cache, storage_options=options) as manager:
            results = await asyncio.gather(*(manager.update_asset(source, "team/model") for source in sources))
    print(json.dumps({result.version: source.name for result, source in zip(results, sources, strict=True)}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
