"""Pushes a tree to a folder and fetches it, noting the modes of all files on the way; run as a process.

Usage: modes_child.py UMASK SOURCE ROOT — prints a JSON object: the modes seen of each path below ROOT, in octal.
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
    """Note the modes of all that is there now, temporary files included, which threads may remove meanwhile."""
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
