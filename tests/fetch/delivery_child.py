"""Program that kills deliveries at each of their steps, and checks what they leave.

Usage: delivery_child.py ROOT exchange|no-exchange

ROOT contains a store with the versions `model:0.0` and `model:0.1`, each with a file `version`, and a cache with both.
Each step is a change of the file system. The deliveries run in child processes, because they are killed by SIGKILL.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path

from aioassets import AssetsManager
from aioassets.runtime import renames

SWAP = 7
"""First step that differs without an exchange."""
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "open"}


async def deliver(root: Path, version: str) -> None:
    async with AssetsManager(root / "store", assets_dir=root / "cache") as manager:
        await manager.fetch_asset(f"model:{version}", to=root / "out" / "model")


def in_child(root: Path, version: str, last: int = 0) -> bool:
    """Deliver in a child process, and kill it before a change. Return whether it was killed."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = last

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        is_writing = event != "open" or bool(args[2] & (os.O_WRONLY | os.O_RDWR))  # type: ignore[operator]
        if event in CHANGES and is_writing and "/out/" in os.fsdecode(str(args[0])):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    asyncio.run(deliver(root, version))
    os._exit(0)


def main(root: Path, *, exchanges: bool) -> None:
    if not exchanges:
        renames.exchange = lambda one, other: False
    path = root / "out" / "model"
    in_child(root, "0.0")
    for last in itertools.count(1 if exchanges else SWAP):
        version = f"0.{last % 2}"
        killed = in_child(root, version, last)
        if exchanges or path.exists():
            assert (path / "version").read_text() in ("0.0", "0.1"), last
        in_child(root, version)
        assert (path / "version").read_text() == version, last
        left = {each for each in (root / "out" / ".model.aioassets").iterdir() if each.suffix != ".json"}
        for each in left:
            assert not (each / "owner").exists()  # it has no known owner, so it is kept for an hour
            each.rmdir()
        if not killed:
            print(last)  # noqa: T201 - the result
            return


main(Path(sys.argv[1]), exchanges=sys.argv[2] == "exchange")
