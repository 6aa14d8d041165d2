"""Implementations of the commands that read and move aliases."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC
from types import EllipsisType
from typing import Any, Final

from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo, echo_err, echo_json, is_terminal
from aioassets.cli.tables import print_rows
from aioassets.model.aliases import AliasMove

LIST_TITLES: Final = ("Alias", "Version", "Moved (UTC)", "By", "Reason")
HISTORY_TITLES: Final = ("Alias", "Version", "Before", "Moved (UTC)", "By", "Reason")


async def set_alias(
    name: str, version: str, alias: str, store: StoreOptions, *, expect: str | None, reason: str | None, as_json: bool
) -> None:
    """Point an alias at a version."""
    expected: str | EllipsisType | None = ... if expect is None else None if expect == "none" else expect
    async with store.manager() as manager, progress_display(f"Moving {name}@{alias}"):
        move = await manager.set_alias(name, alias, version, expect=expected, reason=reason)
    _print_move(name, move, as_json=as_json)


async def remove_alias(
    name: str, alias: str, store: StoreOptions, *, expect: str | None, reason: str | None, as_json: bool
) -> None:
    """Remove an alias."""
    expected: str | EllipsisType = ... if expect is None else expect
    async with store.manager() as manager, progress_display(f"Removing {name}@{alias}"):
        move = await manager.remove_alias(name, alias, expect=expected, reason=reason)
    _print_move(name, move, as_json=as_json)


async def rollback_alias(name: str, alias: str, store: StoreOptions, *, reason: str | None, as_json: bool) -> None:
    """Point an alias back at its previous version."""
    async with store.manager() as manager, progress_display(f"Moving {name}@{alias}"):
        move = await manager.rollback_alias(name, alias, reason=reason)
    _print_move(name, move, as_json=as_json)


async def list_aliases(name: str, store: StoreOptions, *, as_json: bool) -> None:
    """List the aliases of an asset."""
    async with store.manager() as manager, progress_display(f"Reading the aliases of {name}"):
        found = await manager.list_aliases(name)
    if as_json:
        echo_json({"name": name, "aliases": [_move_json(move) for move in found.values()]}, is_listing=True)
    elif found:
        print_rows(LIST_TITLES, _rows(found.values(), with_previous=False))
    else:
        echo_err(f"Asset {name!r} has no aliases.")


async def alias_history(name: str, alias: str | None, store: StoreOptions, *, as_json: bool) -> None:
    """List the moves of one or all aliases of an asset."""
    async with store.manager() as manager, progress_display(f"Reading the aliases of {name}"):
        moves = await manager.alias_history(name, alias)
    if as_json:
        echo_json({"name": name, "moves": [_move_json(move) for move in moves]}, is_listing=True)
    elif moves:
        print_rows(HISTORY_TITLES, _rows(moves, with_previous=True))
    else:
        echo_err(f"No alias of asset {name!r} has been moved.")


def _print_move(name: str, move: AliasMove, *, as_json: bool) -> None:
    before = f" (before: {move.previous})" if move.previous is not None else ""
    state = "is removed" if move.version is None else f"points at {move.version}"
    echo_err(f"{name}@{move.alias} {state}{before}.")
    if as_json:
        echo_json({"name": name, **_move_json(move)})
    else:
        echo(f"{name}:{move.version or move.previous}")


def _rows(moves: Iterable[AliasMove], *, with_previous: bool) -> Iterable[Sequence[str]]:
    """Yield a row for each move. On a terminal, dates are in UTC and short."""
    for_people = is_terminal(sys.stdout)
    for move in moves:
        date = f"{move.mark.date.astimezone(UTC):%Y-%m-%d %H:%M}" if for_people else move.mark.date.isoformat()
        version = move.version or ("(removed)" if for_people else "")
        previous = [move.previous or ""] if with_previous else []
        yield [move.alias, version, *previous, date, str(move.mark.by), move.mark.reason or ""]


def _move_json(move: AliasMove) -> dict[str, Any]:
    mark = move.mark
    return {
        "alias": move.alias,
        "version": move.version,
        "previous": move.previous,
        "date": mark.date.isoformat(),
        "by": mark.by.to_json(),
        "reason": mark.reason,
    }
