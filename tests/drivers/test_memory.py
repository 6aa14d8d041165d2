"""The conformance suite on the memory driver."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from aioassets.drivers.memory import MemoryDriver
from aioassets.testing import DriverConformance


class TestMemoryDriver(DriverConformance):
    part_size = 1024 * 1024
    composes = True

    @pytest.fixture
    async def driver(self) -> AsyncIterator[MemoryDriver]:
        driver = MemoryDriver()
        yield driver
        await driver.aclose()
