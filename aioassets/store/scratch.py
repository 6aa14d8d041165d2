"""Removing scratch objects."""

from __future__ import annotations

import logging

from aioassets.drivers.protocol import Driver
from aioassets.errors import AioAssetsError
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.notices import NOTICE

logger = logging.getLogger(__name__)


async def remove_scratch(driver: Driver, key: str) -> None:
    """Delete a scratch object. A failure is only logged, so that it doesn't mask the caller's result."""
    problem: object = "it took too long."
    with cleanup_scope():
        try:
            await driver.delete([key])
        except AioAssetsError as error:
            problem = error
        else:
            return
    logger.warning("Could not remove the scratch object %s/%s: %s", driver.url, key, problem, extra=NOTICE)
