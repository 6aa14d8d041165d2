"""Log records of documents, index conflicts and probes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from aioassets import MajorMinor, MemoryDriver, RetryPolicy
from aioassets.model.keys import Layout
from aioassets.store.documents import AssetStore
from aioassets.store.index import add_to_index
from aioassets.store.probe import ProbeCache

LAYOUT = Layout("assets")


async def no_pause(seconds: float) -> None:
    pass


RETRY = RetryPolicy(sleep=no_pause)


async def test_an_index_conflict_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aioassets.store")
    store = AssetStore(MemoryDriver(), LAYOUT)
    stale = await store.read_index("model")
    await add_to_index(store, MajorMinor(), "model", {"0.0"}, retry=RETRY)
    await add_to_index(store, MajorMinor(), "model", {"0.1"}, retry=RETRY, known=stale)
    assert caplog.messages == [f"The index of 'model' in {store.url} was changed by another writer; trying again"]


async def test_documents_are_logged_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aioassets.store")
    store = AssetStore(MemoryDriver(), LAYOUT)
    written = await add_to_index(store, MajorMinor(), "model", {"0.0"}, retry=RETRY)
    await store.read_index("model")
    url = f"{store.url}/model.versions"
    assert caplog.messages == [
        f"Wrote {url}, now at revision {written.revision}",
        f"Read {url} at revision {written.revision}",
    ]


async def test_a_probe_is_logged_but_not_a_remembered_result(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO, "aioassets.store")
    driver = MemoryDriver()
    for _ in range(2):
        await ProbeCache(tmp_path).require(driver, LAYOUT)
    assert caplog.messages == [f"Probing {driver.url} for conditional writes"]


async def test_a_result_that_can_not_be_remembered_is_logged(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO, "aioassets.store")
    (tmp_path / "file").touch()
    await ProbeCache(tmp_path / "file" / "stores").require(MemoryDriver(), LAYOUT)
    assert caplog.messages[-1].startswith(f"Could not record in {tmp_path / 'file' / 'stores'} that the store is")
