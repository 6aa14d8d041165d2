"""Program that pushes a tree to a folder and fetches it, and records the modes of all files meanwhile.

Usage: modes_child.py UMASK SOURCE ROOT

It prints a JSON object with the octal modes that each path below ROOT had.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import sys
from pathlib import Path

from aioassets import AssetsManager

modes: dict[str, set[str]] = {}


def look(root: Path) -> None:
    """Record the modes of all files and folders. Threads may remove temporary ones meanwhile."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                mode = stat.S_IMODE(path.lstat().st_mode)
                modes.setdefault(str(path.relative_to(root)), set()).add(f"{mode:o}")


async def main(source: Path, root: Path) -> None:
    async with AssetsManager(root / "store", assets_dir=root / "cache") as manager:
        await manager.create_asset(source, "tree", progress=lambda event: look(root))
        await manager.update_asset(source / "private", "tree", progress=lambda event: look(root))
        await manager.fetch_asset("tree:0.0[run.sh]", progress=lambda event: look(root))
        await manager.fetch_asset("tree:0.0", progress=lambda event: look(root))
        await manager.fetch_asset("tree:0.0", force_download=True, progress=lambda event: look(root))
        await manager.fetch_asset("tree:0.1", progress=lambda event: look(root))
    look(root)


if __name__ == "__main__":
    os.umask(int(sys.argv[1], 8))
    asyncio.run(main(Path(sys.argv[2]), Path(sys.argv[3])))
    print(json.dumps({path: sorted(seen) for path, seen in modes.items()}))  # noqa: T201
