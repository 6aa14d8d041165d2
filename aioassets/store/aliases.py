"""Reading and moving aliases.

A move checks its target, replaces `.aliases`, and then checks the target again. A yank first marks the `.meta`, and
then reads `.aliases`. So if the two run concurrently, at least one of them sees the other and undoes its own change.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import EllipsisType

from aioassets.errors import (
    AioAssetsError,
    AliasMoved,
    AliasNotFound,
    AssetNotFound,
    InvalidAlias,
    InvalidVersion,
    ObjectNotFound,
    PreconditionFailed,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
    is_uncertain,
)
from aioassets.model.aliases import AliasMove, AliasTable
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.names import parse_alias, parse_name
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.cancellation import Stopped, StopSignal, stoppable
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import gather2
from aioassets.store.documents import AliasState, AssetStore
from aioassets.store.marks import new_mark
from aioassets.store.swaps import Swaps

logger = logging.getLogger(__name__)

Expected = str | EllipsisType | None
"""The version that an alias is expected to point at; `None` if the alias must not exist; `...` to accept anything."""


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases of the assets in a store.

    Attributes:
        store: the store.
        scheme: the versioning scheme.
        retry: the retry policy, which determines the delays between attempts.
        by: the user and host to record in changes.
        require_suitable: a function that raises `StoreUnsuitable` if the store doesn't honour conditional writes.
    """

    store: AssetStore
    scheme: VersioningScheme
    retry: RetryPolicy
    by: Pusher
    require_suitable: Callable[[], Awaitable[None]]

    async def table(self, name: str) -> AliasTable:
        """Return the aliases of an asset.

        Raises:
            AssetNotFound: if the asset doesn't exist.
        """
        state = await self.store.read_aliases(parse_name(name))
        if not state.exists:
            await self._check_asset(name)
        return state.table

    async def move(
        self, name: str, alias: str, version: str, *, expected: Expected = ..., reason: str | None = None
    ) -> AliasMove:
        """Point an alias at a version.

        Returns:
            The move, or the last move of the alias if it already points at the version.

        Raises:
            AliasMoved: if the alias doesn't point at the expected version.
            VersionNotFound: if the version doesn't exist or isn't complete.
            VersionDeleted: if the version was deleted.
            VersionYanked: if the version is yanked.
        """
        self.check(name, alias, version)
        await self.require_suitable()
        _, state = await gather2(lambda: self._require_sealed(name, version), lambda: self.store.read_aliases(name))
        return await self._move(name, alias, version, state, expected, reason)

    async def remove(self, name: str, alias: str, *, expected: Expected = ..., reason: str | None = None) -> AliasMove:
        """Remove an alias.

        Raises:
            AliasNotFound: if the alias doesn't exist.
            AliasMoved: if the alias doesn't point at the expected version.
        """
        parse_name(name)
        parse_alias(alias)
        await self.require_suitable()
        state = await self.store.read_aliases(name)
        await self._require_alias(name, alias, state)
        return await self._swap(name, alias, None, state, expected, reason)

    async def roll_back(self, name: str, alias: str, *, reason: str | None = None) -> AliasMove:
        """Point an alias at the version that it pointed at before its last move.

        Raises:
            AliasNotFound: if the alias doesn't exist, or has only ever pointed at one version.
            VersionNotFound: if the previous version doesn't exist or isn't complete.
            VersionDeleted: if the previous version was deleted.
            VersionYanked: if the previous version is yanked.
            AliasMoved: if another process moved the alias at the same time.
        """
        parse_name(name)
        parse_alias(alias)
        await self.require_suitable()
        state = await self.store.read_aliases(name)
        await self._require_alias(name, alias, state)
        last = state.table.current[alias]
        if last.previous is None:
            raise AliasNotFound(
                name,
                alias,
                self.store.url,
                problem=f"has only ever pointed at {last.version}, so there is no previous version",
            )
        await self._require_sealed(name, last.previous)
        return await self._move(name, alias, last.previous, state, last.version, reason)

    # Steps

    async def _move(
        self, name: str, alias: str, version: str, state: AliasState, expected: Expected, reason: str | None
    ) -> AliasMove:
        """Move an alias, then check its target again. A cancellation lets both finish, within the time for cleanups."""

        async def move(stop: StopSignal) -> AliasMove:
            stop.check()
            with stop.bounded():
                return await self._checked_move(name, alias, version, state, expected, reason)
            raise Stopped

        return await stoppable(move)

    async def _checked_move(
        self, name: str, alias: str, version: str, state: AliasState, expected: Expected, reason: str | None
    ) -> AliasMove:
        move = await self._swap(name, alias, version, state, expected, reason)
        try:
            await self._require_sealed(name, version)
        except (VersionNotFound, VersionYanked) as error:
            logger.warning("Undoing the move of %s@%s: %s", name, alias, error)
            await self._undo(name, move)
            raise
        return move

    async def _swap(
        self, name: str, alias: str, version: str | None, state: AliasState, expected: Expected, reason: str | None
    ) -> AliasMove:
        """Write a move, using compare-and-swap. The first attempt uses a known state."""
        mark = new_mark(self.by, reason)
        swaps = Swaps(self.store.driver.url, self.retry)
        while True:
            swaps.check(state.revision)
            if (done := _move_with(state.table, mark.token)) is not None:
                return done  # the response was lost
            found = state.table.target(alias)
            if expected is not ... and found != expected:
                raise AliasMoved(name, alias, expected, found)
            if found == version and found is not None:
                return state.table.current[alias]
            try:
                moved = state.table.moved(alias, version, mark)
                return (await self.store.swap_aliases(name, state, moved)).table.history[0]
            except PreconditionFailed:
                await swaps.refused(state.revision)
                state = await self.store.read_aliases(name)
            except AioAssetsError as error:
                if not is_uncertain(error):
                    raise
                state = await self._after_doubt(name, mark, error)

    async def _after_doubt(self, name: str, mark: Mark, error: AioAssetsError) -> AliasState:
        """Return the aliases after a move whose response was lost, or raise the error if the move wasn't written."""
        try:
            state = await self.store.read_aliases(name)
        except AioAssetsError:
            raise error from None
        if _move_with(state.table, mark.token) is None:
            raise error
        return state

    async def _undo(self, name: str, move: AliasMove) -> None:
        """Point an alias back at its previous version, or remove the alias if that version was withdrawn as well."""
        back = await self._put_back(name, move, move.previous)
        if back is None or back.version is None:
            return
        try:
            await self._require_sealed(name, back.version)
        except (VersionNotFound, VersionYanked):
            await self._put_back(name, back, None)

    async def _put_back(self, name: str, move: AliasMove, version: str | None) -> AliasMove | None:
        """Change an alias again after a move. Return `None` if another process has moved the alias since then."""
        swaps = Swaps(self.store.driver.url, self.retry)
        mark = new_mark(self.by, f"{move.version} was withdrawn")
        while True:
            state = await self.store.read_aliases(name)
            swaps.check(state.revision)
            last = state.table.current.get(move.alias)
            if last is None or last.mark.token != move.mark.token:
                return _move_with(state.table, mark.token)
            try:
                moved = state.table.moved(move.alias, version, mark)
                return (await self.store.swap_aliases(name, state, moved)).table.history[0]
            except PreconditionFailed:
                await swaps.refused(state.revision)

    # Checks

    def check(self, name: str, alias: str, version: str) -> None:
        """Raise `UsageError` if the name, alias or version is invalid, without sending a request."""
        parse_name(name)
        parse_alias(alias)
        if self.scheme.is_version(alias):
            raise InvalidAlias(alias, f"it is a version in the scheme {self.scheme.name}")
        self.scheme.check(version)
        if not self.scheme.is_version(version):
            raise InvalidVersion(version, "an alias must point at a complete version, such as 1.2")

    async def _require_sealed(self, name: str, version: str) -> Manifest:
        """Return the manifest of a version that an alias may point at."""
        try:
            content = (await self.store.read_meta(name, version)).content
        except ObjectNotFound:
            content = None
        if isinstance(content, Manifest):
            if not content.is_yanked:
                return content
            raise VersionYanked(name, version, content.mark.reason if content.mark is not None else None)
        if isinstance(content, Tombstone):
            deleted = content.deleted
            raise VersionDeleted(name, version, self.store.url, deleted.date, deleted.by, deleted.reason)
        listed = await self._check_asset(name)
        raise VersionNotFound(name, version, self.store.url, listed)

    async def _require_alias(self, name: str, alias: str, state: AliasState) -> None:
        if alias not in state.table.current:
            await self._check_asset(name)
            raise AliasNotFound(name, alias, self.store.url, tuple(sorted(state.table.current)))

    async def _check_asset(self, name: str) -> tuple[str, ...]:
        """Return the listed versions of an asset, or raise `AssetNotFound`."""
        state = await self.store.read_index(name)
        if not state.exists:
            raise AssetNotFound(name, self.store.url)
        return state.index.versions


def _move_with(table: AliasTable, token: str) -> AliasMove | None:
    return next((move for move in table.history if move.mark.token == token), None)
