"""Process that pushes and fetches assets, and hangs at a given moment so that a test can kill it there.

Usage: victim.py '[PLACE, CACHE, MOMENT, [[METHOD, ARGUMENTS, OPTIONS]...]]'. It makes these calls concurrently,
each on a manager of its own. It prints a line for each call that hangs. The moments are the keys of `MOMENTS`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import anyio
import anyio.from_thread
from tools.factories import PART_SIZE, driver_at
from tools.interposer import Interposer, Pause

from aioassets import AssetsManager, Budget, Dispatcher, Driver, Event, FileTransferred, LocalDriver, Progress
from aioassets.drivers.protocol import Data, Expect, Revision, Run, Source, Uploaded
from aioassets.fetch.placement import Placement
from aioassets.runtime.effects import Effects


class Watched(Interposer):
    """Driver that also receives progress events."""

    def report(self, event: Event) -> None:
        """Receive a progress event."""


Instrument = Callable[[Driver], Watched]


async def hang() -> NoReturn:
    print("hangs", flush=True)  # noqa: T201
    await anyio.sleep_forever()
    raise AssertionError


def at(moment: str, method: str, ending: str, nth: int = 1) -> Instrument:
    """Hang at the n-th call of its kind."""
    return lambda driver: Watched(driver, Pause(moment, method, ending, nth, wait=hang))


class BetweenFiles(Watched):
    """Driver that hangs before it transfers file `b`, after file `a` is complete."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver, self._hang_at_b)
        self._done = anyio.Event()

    def report(self, event: Event) -> None:
        if isinstance(event, FileTransferred) and event.path.endswith("a"):
            self._done.set()

    async def _hang_at_b(self, moment: str, method: str, key: str) -> None:
        if moment == "before" and method in ("upload", "read_range") and key.endswith("/b"):
            await self._done.wait()
            await hang()


class InsideFile(Watched):
    """Driver that hangs within file `big`, after two of its parts are sent or half of its bytes are received."""

    async def upload(
        self,
        key: str,
        source: Source,
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        return await super().upload(key, _Stuck(source), expected=expected, resume=resume, effects=effects)

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        received = 0
        async for chunk in super().read_range(key, start, stop, revision=revision):
            yield chunk
            received += len(chunk)
            if key.endswith("/big") and received >= (stop - start) // 2:
                await hang()


class InsideComposition(Watched):
    """Driver that hangs within a composition, after it sent or copied a part."""

    async def compose(
        self,
        key: str,
        source: Source,
        runs: Sequence[Run],
        *,
        expected: Expect = Expect.ABSENT,
        resume: bool = False,
        effects: Effects | None = None,
    ) -> Uploaded:
        stuck = _StuckLater(source, COMPOSED[isinstance(self.driver, LocalDriver)])
        return await super().compose(key, stuck, runs, expected=expected, resume=resume, effects=effects)


COMPOSED = {True: 1, False: 8 * 1024 * 1024}
"""Bytes that are read before a composition hangs: those of the first gap, or of the first parts."""


class _Stuck:
    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def size(self) -> int:
        return self._source.size

    @property
    def digests(self) -> Mapping[str, str]:
        return self._source.digests

    async def read(self, offset: int, size: int) -> Data:
        if offset >= 2 * PART_SIZE:
            await hang()
        return await self._source.read(offset, size)

    async def copy_to(self, descriptor: int, offset: int, size: int) -> bool:
        return False


class _StuckLater(_Stuck):
    def __init__(self, source: Source, nbytes: int) -> None:
        super().__init__(source)
        self._left = nbytes

    async def read(self, offset: int, size: int) -> Data:
        if self._left <= 0:
            await hang()
        self._left -= size
        return await self._source.read(offset, size)


def placing(ending: str) -> Instrument:
    """Hang before a file gets its final name in the assets directory."""
    replace = os.replace

    def replace_or_hang(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        if os.fspath(target).endswith(ending):
            anyio.from_thread.run(hang)
        replace(source, target)

    def instrument(driver: Driver) -> Watched:
        os.replace = replace_or_hang  # type: ignore[assignment]
        return Watched(driver)

    return instrument


def staged(driver: Driver) -> Watched:
    """Hang when all files are staged."""
    Placement.place_version = lambda *_: anyio.from_thread.run(hang)  # type: ignore[method-assign]
    return Watched(driver)


MOMENTS: dict[str, Instrument] = {
    "claimed": at("after", "write", ".meta"),
    "between files": BetweenFiles,
    "inside a file": InsideFile,
    "composing": InsideComposition,
    "with chunks": at("after", "upload", ".chunks"),
    "copying": at("before", "copy", "/b"),
    "copied": at("after", "copy", "/b"),
    "before sealing": at("before", "write", ".meta", 2),
    "sealed": at("after", "write", ".meta", 2),
    "before listing": at("before", "write", ".versions"),
    "listed": at("after", "write", ".versions"),
    "marked": at("after", "write", ".meta"),
    "fenced": at("after", "write", ".versions"),
    "buried": at("after", "write", ".meta", 2),
    "fenced for good": at("after", "write", ".versions", 2),
    "deleting": at("before", "delete", "/b"),
    "staged": staged,
    "placed": placing("0.0.json"),
    "parts staged": placing("0.0.parts.json"),
    "parts placed": placing("/b"),
}


async def copy_to_name(
    manager: AssetsManager, place: dict[str, Any], spec: str, name: str, *, progress: Progress
) -> None:
    """Copy a version within its store. Its content is read by a driver of its own."""
    source = AssetsManager(driver=driver_at(place))
    await source.copy_version(spec, manager, name=name, progress=progress)


async def main(place: dict[str, Any], cache: str, moment: str, calls: list[Any]) -> None:
    async with anyio.create_task_group() as tasks:
        for method, arguments, options in calls:
            # One request at a time: one part is complete before the next is read.
            driver = MOMENTS[moment](driver_at(place, Dispatcher(Budget(requests=1))))
            manager = AssetsManager(driver=driver, assets_dir=cache)
            call = partial(copy_to_name, manager, place) if method == "copy_to_name" else getattr(manager, method)
            if method.endswith(("_asset", "_name")):
                options["progress"] = driver.report
            tasks.start_soon(partial(call, *arguments, **options))


if __name__ == "__main__":
    anyio.run(main, *json.loads(sys.argv[1]))
