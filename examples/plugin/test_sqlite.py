"""The driver keeps the promises of the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from aioassets_sqlite import SqliteDriver

from aioassets.testing import DriverConformance


class TestSqliteDriver(DriverConformance):
    part_size = 1024 * 1024

    @pytest.fixture
    async def driver(self, tmp_path: Path) -> SqliteDriver:
        driver = SqliteDriver("team", folder=str(tmp_path))
        await driver.delete([])  # the first change creates the database
        return driver
