"""Probing a store to find out whether it honours conditional writes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio

from aioassets.drivers.protocol import SMALL_DOCUMENT, Driver, Expect, Revision
from aioassets.errors import AccessDenied, AioAssetsError, ObjectNotFound, PreconditionFailed, StoreUnsuitable
from aioassets.model.keys import Layout
from aioassets.runtime.disk import write_atomically
from aioassets.runtime.threads import in_thread
from aioassets.store.scratch import remove_scratch

logger = logging.getLogger(__name__)

PROBE_LIFETIME: Final = 7 * 24 * 3600.0
"""Number of seconds for which the success of a probe is remembered."""


async def probe(driver: Driver, layout: Layout) -> None:
    """Check that a store honours conditional writes. The check uses a scratch object.

    The probe can't find out whether conditional writes are atomic.

    Raises:
        StoreUnsuitable: if the store doesn't honour conditional writes.
        AccessDenied: if the store may not be written to.
    """
    key = layout.scratch(secrets.token_hex(16))
    logger.info("Probing %s for conditional writes", driver.url)
    first: Revision | None = None
    is_clean = False
    try:
        first = await _must_succeed(driver, key, b"1", Expect.ABSENT, "create a new object")
        await _must_be_refused(driver, key, b"2", Expect.ABSENT, "it let an existing object be created again")
        await _must_succeed(driver, key, b"3", first, "replace an object, even given its current revision")
        await _must_be_refused(driver, key, b"4", first, "it replaced an object despite an outdated revision")
    except AioAssetsError as error:
        is_clean = first is None and not error.uncertain  # nothing was written
        if isinstance(error, AccessDenied):
            raise _denied(error, driver, layout) from error
        raise
    finally:
        if not is_clean:
            await remove_scratch(driver, key)


def _denied(error: AccessDenied, driver: Driver, layout: Layout) -> AccessDenied:
    """Return an error that names what the caller wanted, and not only the scratch object."""
    note = f"Objects in '{layout.scratch()}' must be writable, too: the store is tested there before the first change."
    return error.instead("change assets", f"{driver.url}/{layout.prefix}".rstrip("/"), note)


class ProbeCache:
    """A record of the stores that have been found suitable, kept in files for a week.

    Args:
        folder: the folder for the files. If it is `None` or not writable, the record is only kept in memory.
        now: a function that returns the current Unix time in seconds.
    """

    def __init__(self, folder: Path | None, *, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now
        self._suitable: set[str] = set()
        self._probing = anyio.Lock()

    async def require(self, driver: Driver, layout: Layout) -> None:
        """Probe a store unless it has recently been found suitable.

        Raises:
            StoreUnsuitable: if the store doesn't honour conditional writes.
        """
        identity = await in_thread(lambda: f"{driver.identity}/{layout.prefix}")
        async with self._probing:
            if identity in self._suitable:
                return
            if self._folder is None:
                await probe(driver, layout)
                self._suitable.add(identity)
                return
            note = self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
            if not await in_thread(self._is_fresh, note):
                await probe(driver, layout)
                await in_thread(self._remember, note, identity)
            self._suitable.add(identity)

    def _is_fresh(self, note: Path) -> bool:
        try:
            probed = float(json.loads(note.read_bytes())["probed"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return 0 <= self._now() - probed < PROBE_LIFETIME

    def _remember(self, note: Path, identity: str) -> None:
        try:
            for old in note.parent.glob("*.json"):
                if not self._is_fresh(old):
                    old.unlink(missing_ok=True)
            note.parent.mkdir(parents=True, exist_ok=True)
            data = json.dumps({"store": identity, "probed": self._now()}).encode()
            write_atomically(note, lambda file: file.write(data))
        except OSError as error:
            logger.info("Could not record in %s that the store is suitable: %s", note.parent, error)


async def _must_succeed(driver: Driver, key: str, data: bytes, expected: Revision | Expect, what: str) -> Revision:
    try:
        return await driver.write(key, data, expected=expected)
    except PreconditionFailed:
        # The write may have succeeded but its response been lost, so that only the retry was refused.
        with contextlib.suppress(ObjectNotFound):
            found = await driver.read(key, limit=SMALL_DOCUMENT)
            if found.data == data:
                return found.revision
        raise StoreUnsuitable(driver.url, f"it refused to {what}") from None


async def _must_be_refused(driver: Driver, key: str, data: bytes, expected: Revision | Expect, what: str) -> None:
    try:
        await driver.write(key, data, expected=expected)
    except PreconditionFailed:
        return
    raise StoreUnsuitable(driver.url, what)
