"""Of any number of moves of an alias with the same expectation, one wins, on every kind of store."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.factories import Files, ManagerFactory

from aioassets import AliasMoved, AliasNotFound, AssetsManager, Driver, VersionNotFound

pytestmark = pytest.mark.once

RACER = Path(__file__).with_name("alias_racer.py")
PROCESSES = 8
MOVES = 5
"""Concurrent moves of each process in each round."""
ROUNDS = 3


async def test_aliases_on_each_kind_of_store(driver: Driver, make_manager: ManagerFactory, files: Files) -> None:
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "team/model")
    await manager.update_asset(files("b"), "team/model")
    assert await manager.list_aliases("team/model") == {}
    with pytest.raises(VersionNotFound):
        await manager.set_alias("team/model", "prod", "7.0")
    await manager.set_alias("team/model", "prod", "0.0", expect=None, reason="first")
    with pytest.raises(AliasMoved):
        await make_manager(driver).set_alias("team/model", "prod", "0.1", expect=None)
    await manager.set_alias("team/model", "prod", "0.1", expect="0.0")
    assert (await manager.fetch_asset("team/model@prod")).path.read_text() == "b"
    assert (await manager.rollback_alias("team/model", "prod")).version == "0.0"
    assert (await make_manager(driver).fetch_asset("team/model@prod")).path.read_text() == "a"
    assert (await manager.remove_alias("team/model", "prod")).previous == "0.0"
    with pytest.raises(AliasNotFound):
        await manager.fetch_asset("team/model@prod")
    history = await manager.alias_history("team/model", "prod")
    assert [move.version for move in history] == [None, "0.0", "0.1", "0.0"]
    assert history[-1].mark.reason == "first"
    assert await manager.list_versions("team/model") == ["0.1", "0.0"]
    assert [asset.name async for asset in manager.list_assets()] == ["team/model"]


async def test_racing_moves_of_different_aliases_are_all_kept(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    managers = [make_manager(driver) for _ in range(2)]
    await managers[0].create_asset(files("a"), "team/model")
    await asyncio.gather(*(managers[n % 2].set_alias("team/model", f"a{n}", "0.0") for n in range(8)))
    assert list(await managers[0].list_aliases("team/model")) == [f"a{n}" for n in range(8)]


@pytest.mark.parametrize(
    "kind",
    ["local", *(pytest.param(kind, marks=pytest.mark.servers) for kind in ("s3", "azure", "gcs", "throttling gcs"))],
)
def test_one_of_forty_moves_from_eight_processes_wins_each_round(
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
    (tmp_path / "file").write_text("content")
    async with AssetsManager(
        place["bucket"], assets_dir=tmp_path / "cache", storage_options=place.get("options")
    ) as manager:
        await manager.create_asset(tmp_path / "file", "team/model")
        for _ in range(MOVES):
            await manager.update_asset(tmp_path / "file", "team/model")
        racers = await asyncio.gather(*(_start(place, tmp_path / f"racer{number}") for number in range(PROCESSES)))
        target: str | None = None
        for number in range(ROUNDS):
            versions = [f"0.{n}" for n in range(MOVES + 1) if f"0.{n}" != target][:MOVES]
            job = json.dumps({"expect": target, "versions": versions})
            won = [
                version for moves in await asyncio.gather(*(_run(each, job) for each in racers)) for version in moves
            ]
            assert len(won) == 1
            target = (await manager.list_aliases("team/model"))["prod"].version
            assert won == [target]
            assert len(await manager.alias_history("team/model")) == number + 1
        for racer in racers:
            _, errors = await racer.communicate(b"")  # closes standard input, also before Python 3.12
            assert racer.returncode == 0, errors.decode()


async def _start(place: dict[str, Any], cache: Path) -> asyncio.subprocess.Process:
    racer = await asyncio.create_subprocess_exec(
        sys.executable,
        RACER,
        json.dumps(place),
        cache,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await _line_of(racer)
    return racer


async def _run(racer: asyncio.subprocess.Process, job: str) -> list[str]:
    assert racer.stdin is not None
    racer.stdin.write(f"{job}\n".encode())
    moves: list[str] = json.loads(await _line_of(racer))
    return moves


async def _line_of(racer: asyncio.subprocess.Process) -> bytes:
    assert racer.stdout is not None
    if not (line := await racer.stdout.readline()):
        _, errors = await racer.communicate()
        raise AssertionError(errors.decode())
    return line
