"""Process that pushes, fetches, verifies, cancels and cleans at random until it is stopped. Many run concurrently.

Usage: worker.py BUCKET OPTIONS FOLDER NUMBER SEED. It writes acknowledged versions to FOLDER/acknowledged-NUMBER,
a line of JSON each. It writes violations to FOLDER/violations, and results of calls to FOLDER/outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from aioassets import AioAssetsError, AssetsManager, IntegrityError, PublicationUncertain, PushResult

NAMES = ("plain", "team/model", "team/model/inner")
CACHES = 2
BIG = 5 * 1024 * 1024
PARTS = ("id", "a", "folder/b", "folder/deeper/c")


def write_source(folder: Path, identity: str, *, big: bool) -> None:
    """Write a tree in which every file contains its identity."""
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text(f"{identity} {part}")
    if big:
        line = f"{identity}\n".encode()
        (folder / "big").write_bytes(line * (2 * BIG // len(line) + random.randrange(1000)))


def read_identity(folder: Path) -> str:
    """Return the identity of a fetched tree. Raise `AssertionError` if it is mixed or incomplete."""
    identity = (folder / "id").read_text().removesuffix(" id")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found - {"big"} == set(PARTS), f"{folder} holds {sorted(found)}"
    for part in PARTS:
        assert (folder / part).read_text() == f"{identity} {part}", f"{folder / part} is not of {identity}"
    if "big" in found:
        lines = set((folder / "big").read_text().splitlines())
        assert lines == {identity}, f"{folder / 'big'} is mixed"
    return identity


class Worker:
    """Random calls of one process."""

    def __init__(self, manager: AssetsManager, folder: Path, number: str, dice: random.Random) -> None:
        self._manager = manager
        self._folder = folder
        self._number = number
        self._dice = dice

    def note(self, file: str, line: str) -> None:
        """Append a line by a single write, so that a kill never splits it."""
        descriptor = os.open(self._folder / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    async def run(self) -> None:
        calls: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (40, self.push),
            (10, self.repeat),
            (10, self.cancel),
            (25, self.fetch),
            (5, self.verify),
            (7, lambda: self.clean(None)),
            (3, lambda: self.clean(timedelta(0))),
        ]
        kinds, weights = [call for _, call in calls], [weight for weight, _ in calls]
        while True:
            (call,) = self._dice.choices(kinds, weights)
            try:
                outcome = await call()
            except IntegrityError as error:
                self.note("violations", f"{error!r}")
                raise
            except AioAssetsError as error:
                outcome = type(error).__name__
            except Exception:
                self.note("violations", traceback.format_exc())
                raise
            self.note("outcomes", outcome)

    async def push(self) -> str:
        source = self._folder / "sources" / f"{self._number}-{uuid.uuid4().hex}"
        name = self._dice.choice(NAMES)
        await asyncio.to_thread(write_source, source, f"{name} {source.name}", big=self._dice.random() < 0.08)
        return await self._push(name, source)

    async def repeat(self) -> str:
        """Repeat the push of a process that was killed, if there is one."""
        left = sorted((self._folder / "sources").iterdir())
        for source in self._dice.sample(left, min(3, len(left))):
            owner = source.name.partition("-")[0]
            if owner != self._number and not (self._folder / f"alive-{owner}").exists():
                mine = source.with_name(f"{self._number}-{source.name.partition('-')[2]}")
                with contextlib.suppress(OSError):
                    source.rename(mine)
                    name = (mine / "id").read_text().partition(" ")[0]
                    return "repeated: " + await self._push(name, mine)
        return "nothing to repeat"

    async def _push(self, name: str, source: Path) -> str:
        identity = (source / "id").read_text().removesuffix(" id")
        bump = self._dice.random() < 0.05
        try:
            pushed: PushResult = await self._manager.update_asset(source, name, bump_major=bump)
        except PublicationUncertain:
            return "uncertain push"
        self.note(f"acknowledged-{self._number}", json.dumps([name, pushed.version, identity]))
        for path in sorted(source.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        source.rmdir()
        return "pushed"

    async def cancel(self) -> str:
        with anyio.move_on_after(self._dice.expovariate(5)):
            return "not cancelled: " + await self.push()
        return "cancelled"

    async def fetch(self) -> str:
        name = self._dice.choice(NAMES)
        spec = self._dice.choice([name, f"{name}:0", None]) or await self._some_version(name)
        part = self._dice.random() < 0.2
        fetched = await self._manager.fetch_asset(f"{spec}[folder]" if part else spec)
        if part:
            assert {path.name for path in fetched.path.rglob("*") if path.is_file()} == {"b", "c"}
        else:
            identity = await asyncio.to_thread(read_identity, fetched.path)
            assert identity.startswith(f"{name} "), f"{fetched.path} is of {identity}"
        return "fetched from the cache" if fetched.from_cache else "fetched"

    async def verify(self) -> str:
        found = await self._manager.verify_asset(await self._some_version(self._dice.choice(NAMES)))
        assert found.ok, found.problems
        return "verified"

    async def clean(self, older_than: timedelta | None) -> str:
        result = await self._manager.clean(await self._manager.plan_clean(older_than=older_than))
        return "cleaned" if result.removed else "nothing to clean"

    async def _some_version(self, name: str) -> str:
        return f"{name}:{self._dice.choice(await self._manager.list_versions(name))}"


async def main(bucket: str, options: dict[str, Any], folder: Path, number: str, seed: int) -> None:
    alive = folder / f"alive-{number}"
    alive.touch()
    dice = random.Random(seed)
    async with AssetsManager(
        bucket, assets_dir=folder / f"cache-{seed % CACHES}", storage_options=options, read_timeout=5.0
    ) as manager:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await Worker(manager, folder, number, dice).run()
    alive.unlink()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
