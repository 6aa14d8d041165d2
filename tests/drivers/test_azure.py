"""The Azure driver keeps a driver's promises."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from servers import AzureServer

from aioassets.drivers._azure_client import MIB
from aioassets.drivers.azure import AzureDriver
from aioassets.testing import DriverConformance

servers = pytest.mark.servers


@pytest.fixture
def container(azurite: AzureServer) -> str:
    return azurite.fresh_container()


@pytest.fixture
async def driver(azurite: AzureServer, container: str) -> AsyncIterator[AzureDriver]:
    async with AzureDriver(container, part_size=MIB, **azurite.options) as driver:
        yield driver


@servers
class TestAzureDriver(DriverConformance):
    part_size = MIB
