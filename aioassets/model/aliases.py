"""The aliases of an asset, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any, Final

from aioassets.errors import AliasMoved, AliasNotFound
from aioassets.model.fields import MAX_ENTRIES, optional_text, typed
from aioassets.model.jsontext import dump, load
from aioassets.model.marks import Mark
from aioassets.model.names import alias_problem, version_problem

__all__ = ["AliasMove"]

MAX_MOVES: Final = 100
"""Maximum number of moves in an asset's history, as specified by the store format."""


Expected = str | EllipsisType | None
"""The version that an alias is expected to point at; `None` if the alias must not exist; `...` to accept anything."""


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One change to an alias.

    Attributes:
        alias: the alias.
        version: the version that the alias points at after the change; `None` if the alias was removed.
        previous: the version that the alias pointed at before the change; `None` if the alias was created.
        mark: who changed it, when and why.
    """

    alias: str
    version: str | None
    previous: str | None
    mark: Mark

    def to_json(self) -> dict[str, Any]:
        """Return the move as a JSON object."""
        return {"alias": self.alias, "version": self.version, "previous": self.previous, **self.mark.to_json()}

    @classmethod
    def from_value(cls, value: Any) -> AliasMove:
        """Create a move from a parsed JSON value, or raise `ValueError` if the value is invalid."""
        move = typed(value, dict, "alias move")
        alias = typed(move.get("alias"), str, "alias")
        versions = optional_text(move, "version"), optional_text(move, "previous")
        problems = [alias_problem(alias), *(version_problem(version) for version in versions if version is not None)]
        if (problem := next(filter(None, problems), None)) is not None:
            raise ValueError(f"it has an invalid alias move: {problem}")
        return cls(alias, *versions, Mark.from_value(move, "alias move"))


@dataclass(frozen=True, slots=True)
class AliasTable:
    """The content of an `.aliases` document.

    Attributes:
        current: the latest move of each existing alias.
        history: the most recent moves of all aliases, latest first.
        extra: unknown fields, which are kept when the document is rewritten.
    """

    current: Mapping[str, AliasMove] = field(default_factory=dict)
    history: tuple[AliasMove, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def target(self, alias: str) -> str | None:
        """Return the version that an alias points at, or `None` if the alias doesn't exist."""
        move = self.current.get(alias)
        return None if move is None else move.version

    def of(self, version: str) -> tuple[str, ...]:
        """Return the aliases that point at a version, sorted."""
        return tuple(sorted(alias for alias, move in self.current.items() if move.version == version))

    def by_version(self) -> dict[str, tuple[str, ...]]:
        """Return the aliases of each version that any of them points at, sorted."""
        found: dict[str, list[str]] = {}
        for alias, move in sorted(self.current.items()):
            found.setdefault(move.version or "", []).append(alias)
        return {version: tuple(aliases) for version, aliases in found.items()}

    def moves(self, alias: str) -> tuple[AliasMove, ...]:
        """Return the recorded moves of an alias, latest first. The latest one of an existing alias is always kept."""
        moves = tuple(move for move in self.history if move.alias == alias)
        return moves or tuple(move for move in [self.current.get(alias)] if move is not None)

    def moved(self, alias: str, version: str | None, mark: Mark) -> AliasTable:
        """Return the table that results from a change to an alias.

        Args:
            alias: the alias.
            version: the new target; `None` to remove the alias.
            mark: who makes the change, when and why.
        """
        move = AliasMove(alias, version, self.target(alias), mark)
        current = {other: at for other, at in self.current.items() if other != alias}
        if version is not None:
            current[alias] = move
        return replace(self, current=current, history=(move, *self.history)[:MAX_MOVES])

    def to_json(self) -> bytes:
        """Return the table as a JSON document."""
        current = {alias: move.to_json() for alias, move in sorted(self.current.items())}
        return dump({**self.extra, "aliases": current, "history": [move.to_json() for move in self.history]})

    @classmethod
    def from_json(cls, data: bytes) -> AliasTable:
        """Parse an `.aliases` document, or raise `ValueError` if it is invalid."""
        value = load(data)
        current = {}
        for alias, item in typed(value.pop("aliases", None), dict, "aliases").items():
            current[alias] = move = AliasMove.from_value(item)
            if move.alias != alias or move.version is None:
                raise ValueError(f"its entry for the alias {alias!r} belongs to a different alias or has no version")
        history = typed(value.pop("history", []), list, "history")
        if len(current) + len(history) > MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES:,} aliases and moves")
        return cls(current, tuple(map(AliasMove.from_value, history)), value)


@dataclass(frozen=True, slots=True)
class AliasChange:
    """A change of an alias.

    Attributes:
        name: the asset's name.
        alias: the alias.
        version: the version to point at; `None` to remove the alias.
        mark: who changes it, when and why. Its token identifies the change in the document.
        expected: the expected target.
        undone: the move that must still be the latest one of the alias, if the change undoes it.
    """

    name: str
    alias: str
    version: str | None
    mark: Mark
    expected: Expected = ...
    undone: AliasMove | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}"

    def found_in(self, table: AliasTable) -> AliasMove | None:
        """Return the move if it was written by a request whose response was lost, otherwise `None`."""
        latest = table.current.get(self.alias)
        moves = (*([latest] if latest is not None else ()), *table.history)
        return next((move for move in moves if move.mark.token == self.mark.token), None)

    def check(self, table: AliasTable, where: str) -> None:
        """Raise `AliasMoved` or `AliasNotFound` if the change can't be applied to a table."""
        found, latest = table.target(self.alias), table.current.get(self.alias)
        if self.undone is not None and (latest is None or latest.mark.token != self.undone.mark.token):
            raise AliasMoved(self.name, self.alias, self.undone.version, found)
        if self.expected is not ... and found != self.expected:
            raise AliasMoved(self.name, self.alias, self.expected, found)
        if self.version is None and found is None:
            raise AliasNotFound(self.name, self.alias, where, tuple(sorted(table.current)))
