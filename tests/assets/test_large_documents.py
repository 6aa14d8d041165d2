"""Memory that long documents take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tools.claims import state_of
from tools.factories import Files, ManagerFactory, driver_at
from tools.interposer import Interposer
from tools.rounds import Rounds

from aioassets import Dispatcher, Driver, Manifest, MemoryDriver, StoreCorrupt
from aioassets.drivers.protocol import MAX_DOCUMENT, SMALL_DOCUMENT, Expect
from aioassets.model.index import MAX_INDEX
from aioassets.runtime.budget import Budget

MIB = 1024 * 1024
INDEX = "assets/model.versions"


class Recording(Budget):
    """A budget that records the bytes taken from it."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[int] = []

    async def acquire(self, nbytes: int, urgent: bool) -> None:
        await super().acquire(nbytes, urgent)
        self.taken.append(nbytes)


def index(size: int) -> bytes:
    """Return an index of this many bytes with an unknown field."""
    text = b'{"versions":["0.0"],"note":"%s"}'
    return text % (b"x" * (size - len(text) + 2))


@pytest.mark.parametrize("size", [SMALL_DOCUMENT, SMALL_DOCUMENT + 1, 3 * MIB])
async def test_the_bytes_of_a_long_index_are_taken_from_the_budget(
    place: dict[str, Any], make_manager: ManagerFactory, size: int
) -> None:
    """The bytes of a small document don't: it takes only its request."""
    budget = Recording()
    driver = driver_at(place, Dispatcher(budget))
    await driver.write(INDEX, index(size), expected=Expect.ABSENT)
    budget.taken.clear()
    async with make_manager(driver) as manager:
        assert await manager.list_versions("model") == ["0.0"]
    await driver.aclose()
    if isinstance(driver, MemoryDriver):
        return  # its documents are in memory already
    if size <= SMALL_DOCUMENT:
        assert max(budget.taken) == 0
    else:
        assert size <= max(budget.taken) <= size + SMALL_DOCUMENT


@pytest.mark.parametrize(("size", "sizes"), [(SMALL_DOCUMENT, [1]), (SMALL_DOCUMENT + 1, [1, 1])])
async def test_a_long_index_takes_one_more_request(
    memory: MemoryDriver, make_manager: ManagerFactory, size: int, sizes: list[int]
) -> None:
    await memory.write(INDEX, index(size), expected=Expect.ABSENT)
    driver = Interposer(memory)
    driver.hook = rounds = Rounds()
    await rounds.count(lambda: make_manager(driver).list_versions("model"))
    assert rounds.sizes == sizes


async def test_a_large_manifest_is_sealed_and_fetched(
    driver: Driver, make_manager: ManagerFactory, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels make the manifest longer than one read."""
    monkeypatch.setattr("aioassets.model.arguments.MAX_NOTE", 2 * SMALL_DOCUMENT)
    labels = {"note": "x" * SMALL_DOCUMENT}
    manager = make_manager(driver)
    await manager.create_asset(files("a"), "model", labels=labels)
    assert await state_of(driver, "0.0") is Manifest
    assert (await manager.fetch_asset("model")).path.read_text() == "a"


@pytest.mark.parametrize(
    ("name", "limit", "what"),
    [("model.versions", MAX_INDEX, "an index"), ("model/0.0.meta", MAX_DOCUMENT, "a manifest")],
)
async def test_an_index_that_is_too_long_is_not_read(
    make_manager: ManagerFactory, tmp_path: Path, files: Files, name: str, limit: int, what: str
) -> None:
    """The document is one byte too long. The conformance suite tests each driver."""
    driver = driver_at({"kind": "local", "path": tmp_path / "store"})
    await make_manager(driver).create_asset(files("a"), "model")
    with open(tmp_path / "store" / "assets" / name, "r+b") as file:
        file.truncate(limit + 1)
    with pytest.raises(
        StoreCorrupt, match=f"{name} is invalid: it is larger than the {limit:,} bytes allowed for {what}"
    ):
        await make_manager(driver).fetch_asset("model")


LIST = """
import resource, runpy, sys
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sys.argv = ["aioassets", "list", "--bucket", sys.argv[1]]
try:
    runpy.run_module("aioassets", run_name="__main__")
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr)
"""


def test_many_large_indexes_are_listed_in_the_memory_of_a_few(tmp_path: Path) -> None:
    """They are read and parsed one after the other, and none is kept."""
    many, size = 16, 20 * MIB
    (tmp_path / "store" / "assets").mkdir(parents=True)
    for number in range(many):
        (tmp_path / "store" / "assets" / f"model{number}.versions").write_bytes(index(size))
    listed = subprocess.run(
        [sys.executable, "-c", LIST, tmp_path / "store"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == many
    peak = int(listed.stderr.splitlines()[-1]) * (1024 if sys.platform == "linux" else 1)
    assert peak < many * size, f"{peak / MIB:.0f} MiB"
