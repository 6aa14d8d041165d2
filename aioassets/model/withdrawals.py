"""Plan and result of the deletion of a version."""

from __future__ import annotations

from dataclasses import dataclass

from aioassets.model.marks import Mark

__all__ = ["DeletionPlan", "DeletionResult"]


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
