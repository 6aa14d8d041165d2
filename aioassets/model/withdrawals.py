"""Plan and result of the deletion of a version, and what to say where all versions are withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aioassets.model.marks import Mark

__all__ = ["DeletionPlan", "DeletionResult"]

NAMED: Final = 10
"""Maximum number of versions to name in a message."""


@dataclass(frozen=True, slots=True)
class DeletionPlan:
    """Plan for the deletion of a version.

    Attributes:
        name: the asset's name.
        version: the version.
        files: the number of its objects, whether or not its manifest names them.
        size: their total size in bytes.
        aliases: the aliases that point at it and so prevent its deletion, sorted.
        is_deleted: whether it is deleted already. Then the objects are what an interrupted deletion left.
    """

    name: str
    version: str
    files: int
    size: int
    aliases: tuple[str, ...] = ()
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class DeletionResult:
    """Result of the deletion of a version.

    Attributes:
        name: the asset's name.
        version: the version.
        deleted: who deleted it, when and why. This may have been an earlier call.
        files: the number of objects that this call deleted.
        size: their total size in bytes.
        keeps_old_bytes: whether the bucket keeps deleted objects because of its object versioning; `None` if unknown.
    """

    name: str
    version: str
    deleted: Mark
    files: int
    size: int
    keeps_old_bytes: bool | None = None


def withdrawn_text(yanked: Sequence[str]) -> str:
    """Return why none of several withdrawn versions is available, and what to do. The text ends with a full stop.

    Args:
        yanked: the versions that are yanked, latest first. All others are deleted.
    """
    if not yanked:
        return "all of them are deleted. Push a new one with `update`."
    *others, last = (*yanked[:NAMED], "more") if len(yanked) > NAMED else yanked
    if not others:
        return f"{last} is yanked. Restore it with `unyank`, or name it exactly."
    return f"{', '.join(others)} and {last} are yanked. Restore one with `unyank`, or name it exactly."
