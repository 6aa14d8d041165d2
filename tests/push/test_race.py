"""Concurrent pushes never lose or mix versions."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory
from tools.inspection import contents

from aioassets import AssetExists, AssetsManager, Driver

pytestmark = pytest.mark.once

RACER = Path(__file__).with_name("racer.py")


async def test_racing_updates_in_one_process_get_different_versions(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """All are listed, each with its own bytes."""
    managers = [make_manager(driver) for _ in range(10)]
    manager = managers[0]
    await manager.create_asset(files("0"), "model")
    results = await asyncio.gather(*(managers[n % 10].update_asset(files(str(n)), "model") for n in range(1, 21)))
    assert await manager.list_versions("model") == [f"0.{n}" for n in range(20, -1, -1)]
    for number, result in enumerate(results, start=1):
        fetched = await manager.fetch_asset(f"model:{result.version}")
        assert fetched.path.read_text() == str(number)


async def test_racing_creations_have_one_winner(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    managers = [make_manager(driver) for _ in range(2)]
    outcomes = await asyncio.gather(
        *(managers[n % 2].create_asset(files(str(n)), "model") for n in range(10)), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert [winner.version for winner in winners] == ["0.0"]
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {AssetExists}
    assert await managers[0].list_versions("model") == ["0.0"]


async def test_racing_majors_skip_taken_numbers(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    """A taken `(V+1).0` is followed by `(V+2).0`. Concurrent updates stay in their major version."""
    managers = [make_manager(driver) for _ in range(2)]
    await managers[0].create_asset(files("0"), "model")
    bumps = (managers[n % 2].update_asset(files(f"b{n}"), "model", bump_major=True) for n in range(4))
    updates = (managers[n % 2].update_asset(files(f"u{n}"), "model", major=0) for n in range(4))
    results = await asyncio.gather(*bumps, *updates)
    assert sorted(r.version for r in results[:4]) == ["1.0", "2.0", "3.0", "4.0"]
    assert sorted(r.version for r in results[4:]) == ["0.1", "0.2", "0.3", "0.4"]


@pytest.mark.parametrize(
    "kind",
    ["local", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("s3", "azure", "gcs", "throttling gcs"))],
)
def test_forty_updates_from_eight_processes_are_forty_versions(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: dict[str, Any] = {"bucket": str(tmp_path / "store")}
    if kind == "s3":
        server = request.getfixturevalue("seaweedfs")
        place = {"bucket": f"s3://{server.fresh_bucket()}", "options": server.options}
    if kind == "azure":
        azurite = request.getfixturevalue("azurite")
        place = {"bucket": f"az://{azurite.fresh_container()}", "options": azurite.options}
    if kind.endswith("gcs"):
        gcs = request.getfixturevalue("gcs")
        bucket = gcs.fresh_bucket()
        gcs.set(bucket, seconds_per_write=0.2 if kind == "throttling gcs" else 0)
        place = {"bucket": f"gs://{bucket}", "options": gcs.options}
    asyncio.run(_race(place, tmp_path))


async def _race(place: dict[str, Any], tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_text("first")
    async with AssetsManager(
        place["bucket"], assets_dir=tmp_path / "cache", storage_options=place.get("options")
    ) as manager:
        await manager.create_asset(first, "team/model")
        racers = [await _start(place, tmp_path, f"racer{number}") for number in range(8)]
        pushed: dict[str, str] = {}
        for racer in racers:
            output, errors = await racer.communicate()
            assert racer.returncode == 0, errors.decode()
            pushed |= json.loads(output)
        assert await manager.list_versions("team/model") == [f"0.{n}" for n in range(40, -1, -1)]
        assert len(pushed) == len(set(pushed.values())) == 40
        for version, content in pushed.items():
            fetched = await manager.fetch_asset(f"team/model:{version}")
            assert contents(fetched.path) == {
                "a": (f"{content} a".encode(), False),
                "b/c": (f"{content} b/c".encode(), False),
            }


async def _start(place: dict[str, Any], tmp_path: Path, name: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        RACER,
        json.dumps(place),
        tmp_path / name,
        "5",
        name,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
