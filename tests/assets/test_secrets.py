"""Credentials, users and machines in stores, assets directories and progress events."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tools.factories import Files, ManagerFactory
from tools.interposer import Fail, Interposer
from tools.servers import AZURITE_KEY, SECRET_KEY

from aioassets import AioAssetsError, Driver, MemoryDriver
from aioassets.progress import Event

USER = "user-with-a-name"
HOST = "host-with-a-name"


class Listening(Interposer):
    """Driver that records all bytes written and read."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.written: dict[str, bytes] = {}

    async def write(self, key: str, data: Any, *, expected: Any, effects: Any = None) -> Any:
        self.written[f"{key} {len(self.written)}"] = bytes(data)
        return await super().write(key, data, expected=expected, effects=effects)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the names of the user and the machine."""
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    monkeypatch.setattr(platform, "node", lambda: HOST)


async def pushed(manager: Any, store: Listening, files: Files, events: list[Event]) -> None:
    """Make a push that succeeds, one that fails, and a fetch. Return the driver and the events."""
    await manager.create_asset(files("first"), "model", progress=events.append)
    store.hook = Fail("before", "upload", "", AioAssetsError("said by the test"))
    with pytest.raises(AioAssetsError, match="said by the test"):
        await manager.update_asset(files("second"), "model", progress=events.append)
    await manager.fetch_asset("model", progress=events.append)


async def test_user_and_machine_are_not_recorded_if_that_is_switched_off(
    driver: Driver, make_manager: ManagerFactory, files: Files
) -> None:
    """They are in no manifest and no claim, in any state."""
    store, events = Listening(driver), list[Event]()
    await pushed(make_manager(store, record_user=False, record_host=False), store, files, events)
    told = [*store.written.values(), *(repr(event).encode() for event in events)]
    assert sum(b"claim" in data for data in store.written.values()) >= 3  # claimed and abandoned
    assert events
    assert [data for data in told if USER.encode() in data or HOST.encode() in data] == []


async def test_user_and_machine_are_recorded_by_default(
    memory: MemoryDriver, make_manager: ManagerFactory, files: Files
) -> None:
    """This shows that the test above would find them."""
    store = Listening(memory)
    await pushed(make_manager(store), store, files, [])
    metas = [data for key, data in store.written.items() if ".meta" in key]
    assert all(USER.encode() in data and HOST.encode() in data for data in metas)


@pytest.mark.servers
@pytest.mark.parametrize("place", ["s3", "azure"], indirect=True)
async def test_no_credential_is_written(
    place: dict[str, Any], driver: Driver, make_manager: ManagerFactory, files: Files, tmp_path: Path
) -> None:
    """Neither to the store nor to the assets directory."""
    store, events = Listening(driver), list[Event]()
    manager = make_manager(store)
    await pushed(manager, store, files, events)
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    told = [*store.written.values(), *kept, *(repr(each).encode() for each in (*events, manager, driver))]
    secret = {"s3": SECRET_KEY, "azure": AZURITE_KEY}[place["kind"]]
    assert any(driver.identity.encode() in data for data in kept)
    assert [data for data in told for form in (secret, quote(secret, safe="")) if form.encode() in data] == []
