"""Soak test: minutes of random pushes, fetches, kills, faults and cleanups on one store, and then a verification.

Usage: soak.py [MINUTES [SEED]]. Defaults: 10 minutes, six workers, SeaweedFS behind a relay that breaks requests.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tools.inspection import store_of
from tools.relay import Fault, LoseAnswer, Relay, Reply, ResetAnswer, ResetRequest, Stall, Truncate
from tools.servers import S3Server, start_seaweedfs
from worker import CACHES, NAMES, read_identity, write_source

from aioassets import AssetsManager, NotFound
from aioassets.drivers.s3.driver import MIN_PART_SIZE, S3Driver
from aioassets.model.manifest import Manifest
from aioassets.runtime.tasks import for_each

WORKERS = 6
AT_ONCE = 8
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
WORKER = Path(__file__).with_name("worker.py")


def some_fault(dice: random.Random) -> Fault:
    faults: Sequence[Fault] = (
        ResetRequest(dice.randrange(3000)),
        ResetAnswer(dice.randrange(300)),
        LoseAnswer(),
        LoseAnswer(),
        Truncate(dice.randrange(300)),
        Stall(),
        Reply(500),
        Reply(503, {"Retry-After": "1", "Content-Type": "application/xml"}, SLOW_DOWN),
        Reply(429),
    )
    return dice.choice(faults)


class Soak:
    """The worker processes, with the faults and kills that they get."""

    def __init__(self, place: dict[str, Any], folder: Path, relay: Relay, dice: random.Random) -> None:
        self._place = place
        self._folder = folder
        self._relay = relay
        self._dice = dice
        self._started = 0
        self._workers: list[tuple[str, asyncio.subprocess.Process]] = []
        self.counts: collections.Counter[str] = collections.Counter()

    async def run(self, seconds: float) -> None:
        for _ in range(WORKERS):
            await self._start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._dice.uniform(0.1, 0.8))
            self._check_workers()
            what = self._dice.choices(("kill", "fault", "outage"), (30, 68, 2))[0]
            self.counts[what] += 1
            if what == "kill":
                await self._kill()
            elif what == "fault":
                self._break_a_request()
            else:
                await self._relay.refuse()
                await asyncio.sleep(self._dice.uniform(0.1, 3))
                await self._relay.accept()
        await self._end()

    async def _start(self) -> None:
        self._started += 1
        number = str(self._started)
        options = json.dumps(self._relay.through(self._place["options"]))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            WORKER,
            self._place["bucket"],
            options,
            self._folder,
            number,
            str(self._dice.randrange(2**32)),
        )
        self._workers.append((number, process))

    async def _kill(self) -> None:
        number, process = self._workers.pop(self._dice.randrange(WORKERS))
        process.kill()
        await process.wait()
        (self._folder / f"alive-{number}").unlink(missing_ok=True)
        await self._start()

    def _break_a_request(self) -> None:
        self._relay.forget()
        method = self._dice.choice((".*", "PUT", "PUT", "POST", "GET", "DELETE"))
        target = self._dice.choice(("", "", r"\.versions", r"\.meta", "partNumber", "uploadId"))
        self._relay.inject(
            some_fault(self._dice),
            method=method,
            target=target,
            skip=self._dice.randrange(20),
            times=self._dice.choice((1, 1, 2, 10)),
        )

    def _check_workers(self) -> None:
        ended = [number for number, process in self._workers if process.returncode is not None]
        assert not ended, f"workers {ended} ended by themselves"

    async def _end(self) -> None:
        self._relay.heal()
        for _, process in self._workers:
            process.send_signal(signal.SIGTERM)
        codes = [await asyncio.wait_for(process.wait(), 120) for _, process in self._workers]
        assert set(codes) <= {0, -signal.SIGTERM}, codes  # SIGTERM may come before the worker handles it


class Checks:
    """Verification after the run."""

    def __init__(self, manager: AssetsManager, driver: S3Driver, folder: Path) -> None:
        self._manager = manager
        self._driver = driver
        self._store = store_of(driver)
        self._folder = folder
        self._identities: dict[tuple[str, str], str] = {}

    async def run(self) -> dict[str, int]:
        violations = self._folder / "violations"
        assert not violations.exists(), violations.read_text()
        acknowledged = self._acknowledged()
        listed = {(name, version) for name in NAMES for version in await self._manager.list_versions(name)}
        assert set(acknowledged) <= listed, f"lost: {sorted(set(acknowledged) - listed)}"
        sealed, others = await self._numbers()
        assert listed <= sealed, f"listed but not complete: {sorted(listed - sealed)}"
        await self._check_sealed(sorted(sealed), acknowledged)
        await self._check_not_served(sorted(others))
        await self._manager.clean(await self._manager.plan_clean(older_than=timedelta(0)))
        await self._check_clean(sealed)
        await self._check_sealed(sorted(sealed), acknowledged)
        cached = await self._check_caches(sorted(sealed))
        return {
            "acknowledged": len(acknowledged),
            "listed": len(listed),
            "complete but not listed": len(sealed - listed),
            "numbers given up": len(others),
            "cached": cached,
        }

    def _acknowledged(self) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for file in self._folder.glob("acknowledged-*"):
            for line in file.read_text().splitlines():
                name, version, identity = json.loads(line)
                assert (name, version) not in found, f"{name}:{version} was given to two pushes"
                found[name, version] = identity
        return found

    async def _numbers(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Return the numbers of complete versions, and all other numbers with objects."""
        sealed: set[tuple[str, str]] = set()
        others: set[tuple[str, str]] = set()
        for name in NAMES:
            for version, has_meta in (await self._store.numbers(name)).items():
                if not version[0].isdigit():
                    continue  # another asset's folder
                content = (await self._store.read_meta(name, version)).content if has_meta else None
                (sealed if isinstance(content, Manifest) else others).add((name, version))
        return sealed, others

    async def _check_sealed(self, sealed: Sequence[tuple[str, str]], acknowledged: dict[tuple[str, str], str]) -> None:
        async def check(number: tuple[str, str]) -> None:
            name, version = number
            found = await self._manager.verify_asset(f"{name}:{version}")
            assert found.ok, found.problems
            if number not in self._identities:
                fetched = await self._manager.fetch_asset(f"{name}:{version}")
                self._identities[number] = await asyncio.to_thread(read_identity, fetched.path)
            identity = self._identities[number]
            assert acknowledged.get(number, identity) == identity, f"{name}:{version} is of {identity}"
            assert identity.startswith(f"{name} "), f"{name}:{version} is of {identity}"

        await for_each(sealed, check, limit=AT_ONCE)

    async def _check_not_served(self, others: Sequence[tuple[str, str]]) -> None:
        for name, version in others:
            try:
                await self._manager.fetch_asset(f"{name}:{version}")
            except NotFound:
                continue
            raise AssertionError(f"{name}:{version} was never complete, and was fetched")

    async def _check_clean(self, sealed: set[tuple[str, str]]) -> None:
        folders = {f"assets/{name}/{version}/" for name, version in sealed}
        documents = (".meta", ".versions")
        async for item in self._driver.list("assets/"):
            key = str(getattr(item, "key", ""))
            assert key.endswith(documents) or any(map(key.startswith, folders)), f"{key} is left"
        assert [upload async for upload in self._driver.open_uploads("")] == []

    async def _check_caches(self, sealed: Sequence[tuple[str, str]]) -> int:
        cached = 0
        for number in range(CACHES):
            async with AssetsManager(assets_dir=self._folder / f"cache-{number}", offline=True) as manager:
                for name, version in sealed:
                    try:
                        fetched = await manager.fetch_asset(f"{name}:{version}", verify=True)
                    except NotFound:
                        continue
                    cached += 1
                    identity = await asyncio.to_thread(read_identity, fetched.path)
                    assert identity == self._identities[name, version]
        return cached


async def soak(server: S3Server, bucket: str, folder: Path, minutes: float, seed: int) -> None:
    place: dict[str, Any] = {"bucket": f"s3://{bucket}", "options": server.options}
    dice = random.Random(seed)
    (folder / "sources").mkdir()
    async with AssetsManager(
        place["bucket"], assets_dir=folder / "own cache", storage_options=place["options"]
    ) as manager:
        for name in NAMES:
            source = folder / f"first of {name.replace('/', ' ')}"
            write_source(source, f"{name} first", big=False)
            await manager.create_asset(source, name)
        async with Relay(server.endpoint_url) as relay:
            run = Soak(place, folder, relay, dice)
            await run.run(minutes * 60)
        async with S3Driver(bucket, part_size=MIN_PART_SIZE, **server.options) as driver:
            results = await Checks(manager, driver, folder).run()
    outcomes = collections.Counter((folder / "outcomes").read_text().splitlines())
    for title, counts in (("done to them", run.counts), ("what became of their calls", outcomes), ("found", results)):
        print(f"{title}:")  # noqa: T201
        for what, count in sorted(counts.items()):
            print(f"  {count:6} {what}")  # noqa: T201


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    print(f"{minutes:g} minutes with seed {seed}", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "server").mkdir()
        (folder / "work").mkdir()
        with start_seaweedfs(folder / "server") as server:
            asyncio.run(soak(server, server.fresh_bucket(), folder / "work", minutes, seed))


if __name__ == "__main__":
    main()
