"""Delivering a cached version, or a part of it, to a path outside the cache.

See `docs/adr/0043-deliveries.md`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from aioassets.errors import DestinationError, IntegrityError, UsageError
from aioassets.fetch.destination import Destination, Occupant, Reserved
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.fingerprint import fingerprint
from aioassets.fetch.leases import Hold
from aioassets.fetch.locks import Locks
from aioassets.fetch.owners import remove
from aioassets.fetch.parcel import Parcel
from aioassets.fetch.receipt import Receipt, remove_old_receipts
from aioassets.runtime import renames
from aioassets.runtime.disk import DENIED, denied, reason
from aioassets.runtime.threads import in_thread

logger = logging.getLogger(__name__)

PAYLOAD: Final = "payload"
FORMER: Final = "former"
RECEIPT: Final = "receipt"
"""Names in a staging folder: of the new payload, of what was at the destination, and of the new receipt."""

Retrieve = Callable[[bool], Awaitable[FetchedAsset]]
"""A function that fetches to the cache. Its argument tells whether to hash cached files."""


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """Options of a delivery.

    Attributes:
        to: the path to deliver to.
        link: whether to create a symbolic link to the cached files instead of a copy.
        discard_changes: whether to replace what aioassets put there even if it was changed since.
    """

    to: str | os.PathLike[str]
    link: bool
    discard_changes: bool

    @classmethod
    def of(cls, to: str | os.PathLike[str] | None, *, link: bool, discard_changes: bool) -> DeliveryOptions | None:
        """Return the options, or `None` if there is no path to deliver to.

        Raises:
            UsageError: if the path isn't valid, or is missing although another option is given.
        """
        if to is None:
            if link or discard_changes:
                raise UsageError("link and discard_changes need a path: pass it as `to`.")
            return None
        try:
            path: object = os.fspath(to)
        except TypeError:
            path = None
        if not isinstance(path, str):
            raise UsageError(f"to must be a path as text, not {type(to).__name__}.")
        if not path or "\0" in path:
            raise UsageError(f"to must be a path, not {path!r}.")
        return cls(path, link, discard_changes)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A fetch to a path outside the cache.

    Attributes:
        options: the options.
        retrieve: the function that fetches to the cache.
        store: a function that returns the identity of the store, for the receipt. Blocking.
        reserved: a function that returns the folders to which nothing may be delivered. Blocking.
        locks: the locks that serialize deliveries to the same destination.
    """

    options: DeliveryOptions
    retrieve: Retrieve
    store: Callable[[], str]
    reserved: Callable[[], list[Reserved]]
    locks: Locks

    async def run(self) -> FetchedAsset:
        """Fetch to the cache, and deliver. See `AssetsManager.fetch_asset`."""
        with self._disk_errors():
            destination = await in_thread(Destination.at, self.options.to, self.reserved)
            await in_thread(self._occupant, destination)  # refuses before anything is downloaded
        fetched = await self.retrieve(False)
        try:
            return await self._deliver(destination, fetched)
        except IntegrityError as error:  # a cached file has the recorded size and time, but not the content
            logger.warning("Repairing the cache: %s", error)
            fetched.close()
        return await self._deliver(destination, await self.retrieve(True))

    async def _deliver(self, destination: Destination, fetched: FetchedAsset) -> FetchedAsset:
        with self._disk_errors():
            parcel = await in_thread(partial(Parcel.of, fetched, self.store, link=self.options.link))
            if not await in_thread(self._is_done, destination, parcel):
                await self._put(destination, parcel)
        hold = fetched._hold if self.options.link else Hold()  # noqa: SLF001 - its own result
        if not self.options.link:
            fetched.close()
        return replace(fetched, path=destination.path, _hold=hold)

    def _occupant(self, destination: Destination) -> Occupant:
        return destination.require_replaceable(discard_changes=self.options.discard_changes)

    def _is_there(self, destination: Destination, parcel: Parcel) -> bool:
        """Return whether the same content was delivered before, and is unchanged."""
        return self._occupant(destination).has(parcel.content)

    def _is_done(self, destination: Destination, parcel: Parcel) -> bool:
        """Return whether there is nothing to do, not even to remove what an interrupted delivery left."""
        return self._is_there(destination, parcel) and not destination.is_busy()

    async def _put(self, destination: Destination, parcel: Parcel) -> None:
        async with self.locks.holding(destination, sleep=anyio.sleep):
            staging = destination.new_staging()
            try:
                await in_thread(destination.create_staging, staging)
                if not await in_thread(self._is_there, destination, parcel):  # another process may have been faster
                    await parcel.stage(staging / PAYLOAD)
                    await in_thread(self._swap, destination, parcel, staging)
            finally:
                with anyio.CancelScope(shield=True):
                    await in_thread(remove, staging)
        logger.info("Put %s at %r", parcel.spec, str(destination.path))

    def _swap(self, destination: Destination, parcel: Parcel, staging: Path) -> None:
        """Write a receipt of the staged payload, and replace what is at the destination by it. Blocking."""
        occupant = self._occupant(destination)
        staged = fingerprint(str(staging / PAYLOAD)) or ""
        receipt = Receipt(str(parcel.spec), self.store(), parcel.content, staged)
        receipt.write_to(destination.own_folder, staging / RECEIPT)
        try:
            _put(staging, destination, occupant)
        except FileExistsError:  # something has appeared there
            _put_instead(staging, destination, self._occupant(destination))
        remove_old_receipts(destination.own_folder)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        where = os.fspath(self.options.to)
        try:
            yield
        except OSError as error:
            if error.errno in DENIED:
                raise denied(where, f"use {str(error.filename or where)!r}", error) from error
            hint = "; a mount point can't be replaced, so name a path below it" if error.errno == errno.EBUSY else ""
            raise DestinationError(where, f"{reason(error)}{hint}") from error


def _put(staging: Path, destination: Destination, occupant: Occupant) -> None:
    if occupant.fingerprint is None:
        renames.move_new(str(staging / PAYLOAD), str(destination.path))
    else:
        _put_instead(staging, destination, occupant)


def _put_instead(staging: Path, destination: Destination, occupant: Occupant) -> None:
    """Exchange the staged payload and the occupant.

    If the file system can't do that in one step, a file or a link still replaces another in one step. In any other
    case, nothing is at the destination for a moment.

    Raises:
        DestinationOccupied: if the occupant was changed in the meantime. It is at the destination again.
    """
    payload, former, path = str(staging / PAYLOAD), str(staging / FORMER), str(destination.path)
    if renames.exchange(payload, path):
        try:
            destination.check_unchanged(occupant, payload)
        except BaseException:
            renames.exchange(payload, path)
            raise
    elif not (_is_folder(payload) or _is_folder(path)):
        destination.check_unchanged(occupant, path)
        os.replace(payload, path)
    else:
        renames.move_new(path, former)
        try:
            destination.check_unchanged(occupant, former)
            renames.move_new(payload, path)
        except BaseException:
            renames.move_new(former, path)
            raise


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
