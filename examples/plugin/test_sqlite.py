"""The driver keeps the promises of aioassets' protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aioassets_share import ShareDriver

from aioassets.testing import DriverConformance


class TestShareDriver(DriverConformance):
    @pytest.fixture
    async def driver(self, tmp_path: Path) -> AsyncIterator[ShareDriver]:
        (tmp_path / "team").mkdir()
        async with ShareDriver("team", mount=str(tmp_path)) as driver:
            yield driver
