"""Reading and moving aliases.

A move checks its target, replaces `.aliases`, and then checks the target again. A yank first marks the `.meta`, and
then reads `.aliases`. So if the two run concurrently, at least one of them sees the other and undoes its own change.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import Final

from aioassets.errors import (
    AioAssetsError,
    AliasMoved,
    AliasNotFound,
    AssetNotFound,
    InvalidAlias,
    NotFound,
    ObjectNotFound,
    PreconditionFailed,
    StoreUnavailable,
    VersionNotFound,
    VersionYanked,
)
from aioassets.model.aliases import AliasChange, AliasMove, AliasTable, Expected
from aioassets.model.arguments import check_note
from aioassets.model.manifest import Manifest
from aioassets.model.names import parse_alias, parse_name
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme, check_complete
from aioassets.runtime.cancellation import GRACE, uninterrupted
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.tasks import gather2
from aioassets.store.documents import AliasState, AssetStore
from aioassets.store.marks import new_mark
from aioassets.store.settling import deletion_error
from aioassets.store.swaps import Swaps

logger = logging.getLogger(__name__)

_PARTIAL: Final = "an alias must point at a complete version, such as 1.2"


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases of the assets in a store.

    Attributes:
        store: the store.
        scheme: the versioning scheme.
        retry: the retry policy, which determines the delays between attempts.
        by: the user and host to record in changes.
        require_suitable: a function that raises `StoreUnsuitable` if the store doesn't honour conditional writes.
        cleanup_timeout: the number of seconds that a cancelled move may take to end.
    """

    store: AssetStore
    scheme: VersioningScheme
    retry: RetryPolicy
    by: Pusher
    require_suitable: Callable[[], Awaitable[None]]
    cleanup_timeout: float = GRACE

    async def table(self, name: str) -> AliasTable:
        """Return the aliases of an asset.

        Raises:
            AssetNotFound: if the asset doesn't exist.
        """
        state = await self.store.read_aliases(parse_name(name))
        if not state.exists:
            await self._check_asset(name)
        return state.table

    async def targets(self, name: str) -> dict[str, AliasMove]:
        """Return the latest move of each existing alias of an asset, sorted by alias.

        Raises:
            AssetNotFound: if the asset doesn't exist.
        """
        return dict(sorted((await self.table(name)).current.items()))

    async def history(self, name: str, alias: str | None = None) -> list[AliasMove]:
        """Return the recorded moves of an alias, or of all aliases of an asset, latest first.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            AliasNotFound: if the alias doesn't exist and no move of it is recorded.
        """
        if alias is not None:
            parse_alias(alias)
        table = await self.table(name)
        if alias is None:
            return list(table.history)
        if not (moves := table.moves(alias)):
            raise AliasNotFound(name, alias, self.store.url, tuple(sorted(table.current)))
        return list(moves)

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
            StoreUnavailable: if the store failed. If `uncertain` is set, the alias may have been moved.
        """
        self.check(name, alias, expected, reason=reason)
        check_complete(self.scheme, version, _PARTIAL)
        await self.require_suitable()
        change = AliasChange(name, alias, version, new_mark(self.by, reason), expected)
        _, state = await gather2(lambda: self._require_sealed(name, version), lambda: self.store.read_aliases(name))
        return await self._shielded(lambda: self._checked_move(change, state))

    async def remove(self, name: str, alias: str, *, expected: Expected = ..., reason: str | None = None) -> AliasMove:
        """Remove an alias.

        Raises:
            AliasNotFound: if the alias doesn't exist.
            AliasMoved: if the alias doesn't point at the expected version.
            StoreUnavailable: if the store failed. If `uncertain` is set, the alias may have been removed.
        """
        self.check(name, alias, expected, reason=reason)
        await self.require_suitable()
        change = AliasChange(name, alias, None, new_mark(self.by, reason), expected)
        state = await self.store.read_aliases(name)
        if alias not in state.table.current:
            await self._check_asset(name)
            raise AliasNotFound(name, alias, self.store.url, tuple(sorted(state.table.current)))
        return await self._shielded(lambda: self._swap(change, state))

    async def roll_back(self, name: str, alias: str, *, reason: str | None = None) -> AliasMove:
        """Point an alias at the version that it pointed at before its last move, which may have been its removal.

        Raises:
            AliasNotFound: if the alias has never existed, or has only ever pointed at one version.
            VersionNotFound: if the previous version doesn't exist or isn't complete.
            VersionDeleted: if the previous version was deleted.
            VersionYanked: if the previous version is yanked.
            AliasMoved: if another process moved the alias at the same time.
            StoreUnavailable: if the store failed. If `uncertain` is set, the alias may have been moved.
        """
        self.check(name, alias, reason=reason)
        await self.require_suitable()
        mark = new_mark(self.by, reason)
        state = await self.store.read_aliases(name)
        last = next(iter(state.table.moves(alias)), None)
        if last is None:
            await self._check_asset(name)
            raise AliasNotFound(name, alias, self.store.url, tuple(sorted(state.table.current)))
        if last.previous is None:
            problem = f"has only ever pointed at {last.version}, so there is no previous version"
            raise AliasNotFound(name, alias, self.store.url, problem=problem)
        await self._require_sealed(name, last.previous)
        change = AliasChange(name, alias, last.previous, mark, last.version)
        return await self._shielded(lambda: self._checked_move(change, state))

    # Steps

    async def _shielded(self, work: Callable[[], Awaitable[AliasMove]]) -> AliasMove:
        return await uninterrupted(lambda _: work(), grace=self.cleanup_timeout)

    async def _checked_move(self, change: AliasChange, state: AliasState) -> AliasMove:
        """Point an alias at a version, and undo this if the version was withdrawn in the meantime."""
        move = await self._swap(change, state)
        try:
            await self._require_sealed(change.name, str(change.version))
        except (NotFound, VersionYanked) as error:
            logger.warning("Undoing the move of %s: %s", change, error)
            await self._undo(change, move)
            raise
        except AioAssetsError as error:
            detail = f"{change} points at {change.version} now, but that version could not be checked again. ({error})"
            raise StoreUnavailable(self.store.driver.url, detail) from error
        return move

    async def _swap(self, change: AliasChange, state: AliasState) -> AliasMove:
        """Write a change, using compare-and-swap. The first attempt uses a known state.

        A request with an unknown effect is repeated once, with the same condition. As soon as one of the two has
        taken effect, the store refuses the other.
        """
        swaps = Swaps(self.store.driver.url, self.retry)
        effects, is_repeated = Effects(), False
        while True:
            swaps.check(state.revision)
            if (move := change.found_in(state.table)) is not None:
                return move  # the response was lost
            change.check(state.table, self.store.url)
            if change.version is not None and state.table.target(change.alias) == change.version:
                return state.table.current[change.alias]
            moved = state.table.moved(change.alias, change.version, change.mark)
            try:
                await self.store.swap_aliases(change.name, state, moved, effects)
            except PreconditionFailed:
                await swaps.refused(state.revision)
                found = await self._read_again(change, effects)
                effects = effects if found.revision == state.revision else Effects()
            except Exception as error:
                effects.note_error(error)
                if not effects.uncertain:
                    raise
                found = await self._read_again(change, effects, error)
                if is_repeated and change.found_in(found.table) is None:
                    raise self._unknown_effect(change, error) from error
                is_repeated = True
            else:
                logger.info("%s now points at %s", change, change.version)
                return moved.history[0]
            state = found

    async def _read_again(self, change: AliasChange, effects: Effects, cause: Exception | None = None) -> AliasState:
        try:
            return await self.store.read_aliases(change.name)
        except AioAssetsError as error:
            if not effects.uncertain:
                raise
            raise self._unknown_effect(change, cause or error) from error

    def _unknown_effect(self, change: AliasChange, error: Exception) -> StoreUnavailable:
        """Return the exception for a change that may have been written, or may still be."""
        action = "removed" if change.version is None else f"moved to {change.version}"
        advice = f"Check it with `aioassets alias list {change.name}`."
        detail = f"{change} may or may not have been {action}. {advice} ({error})"
        return StoreUnavailable(self.store.driver.url, detail)

    async def _undo(self, change: AliasChange, move: AliasMove) -> None:
        """Point an alias back at its previous version, or remove the alias if that version was withdrawn as well."""
        try:
            back = await self._put_back(change, move, move.previous)
            if back is not None and back.version is not None and not await self._is_sealed(change.name, back.version):
                await self._put_back(change, back, None)
        except AioAssetsError as error:
            detail = f"{change} may still point at {move.version}, which was withdrawn. Move or remove it. ({error})"
            raise StoreUnavailable(self.store.driver.url, detail) from error

    async def _put_back(self, change: AliasChange, move: AliasMove, version: str | None) -> AliasMove | None:
        """Change an alias again after a move. Return `None` if the alias has been moved since then."""
        mark = new_mark(change.mark.by, f"{move.version} was withdrawn")
        back = AliasChange(change.name, change.alias, version, mark, undone=move)
        try:
            return await self._swap(back, await self.store.read_aliases(change.name))
        except AliasMoved:
            return None

    # Checks

    def check(self, name: str, alias: str, *versions: Expected, reason: str | None = None) -> None:
        """Raise `UsageError` if an argument of a change is invalid, without sending a request."""
        parse_name(name)
        parse_alias(alias)
        if self.scheme.is_version(alias):
            raise InvalidAlias(alias, f"it is a version in the scheme {self.scheme.name}")
        for version in versions:
            if version is not None and not isinstance(version, EllipsisType):
                check_complete(self.scheme, version, _PARTIAL)
        check_note(reason, "reason")

    async def _is_sealed(self, name: str, version: str) -> bool:
        try:
            await self._require_sealed(name, version)
        except (NotFound, VersionYanked):
            return False
        return True

    async def _require_sealed(self, name: str, version: str) -> None:
        """Raise an error unless an alias may point at a version."""
        try:
            content = (await self.store.read_meta(name, version)).content
        except ObjectNotFound:
            content = None
        if isinstance(content, Manifest):
            if content.is_yanked:
                raise VersionYanked(name, version, content.mark.reason if content.mark is not None else None)
            return
        if isinstance(content, Tombstone):
            raise deletion_error(self.store, name, version, content)
        listed = await self._check_asset(name)
        raise VersionNotFound(name, version, self.store.url, listed)

    async def _check_asset(self, name: str) -> tuple[str, ...]:
        """Return the listed versions of an asset, or raise `AssetNotFound`."""
        state = await self.store.read_index(name)
        if not state.exists:
            raise AssetNotFound(name, self.store.url)
        return state.index.versions
