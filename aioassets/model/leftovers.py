"""Leftovers of interrupted pushes and fetches, and the rules for removing them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aioassets.errors import AioAssetsError
from aioassets.model.claim import DEAD_AFTER
from aioassets.model.pusher import Pusher

__all__ = ["CleaningPlan", "CleaningResult", "CleaningRules", "Leftover", "LeftoverKind"]

LEGACY_AFTER: Final = timedelta(days=1)
"""Minimum age for removing content without a `.meta`. By then, a push by modelkit, which doesn't claim its version
number, has ended."""


class LeftoverKind(enum.Enum):
    """Kind of leftover."""

    DEAD_PUSH = "dead_push"
    """Claim of a push that died, and the content that it uploaded."""
    LIVE_PUSH = "live_push"
    """Claim of a push that may still be running, and the content that it has uploaded."""
    ABANDONED_PUSH = "abandoned_push"
    """Remains of a push that gave up its version number."""
    UNLISTED_VERSION = "unlisted_version"
    """Complete version that isn't in the index because its push died just before listing it."""
    UNFINISHED_YANK = "unfinished_yank"
    """Version whose yank or restoration was interrupted, so that the index disagrees with its `.meta`."""
    UNFINISHED_DELETION = "unfinished_deletion"
    """Deleted version whose deletion was interrupted, or that has files again because of a late request."""
    WITHOUT_MANIFEST = "without_manifest"
    """Content without a `.meta`, for example from a running or interrupted push by modelkit."""
    UNREADABLE_DOCUMENT = "unreadable_document"
    """Invalid `.meta` or `.versions` document."""
    OPEN_UPLOADS = "open_uploads"
    """Unfinished multipart uploads to a published version."""
    TEMPORARY_OBJECTS = "temporary_objects"
    """Scratch objects and temporary files in the store."""
    UNFINISHED_DOWNLOAD = "unfinished_download"
    """Staging folder in the assets directory, or its lock file."""
    FILES_PUT_ASIDE = "files_put_aside"
    """Files that were found at the path of a version in the assets directory but differed from it."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Remains of a push or fetch in the store or the assets directory.

    Attributes:
        kind: the kind of leftover.
        where: its URL, or its path in the assets directory.
        name: the asset that it belongs to; empty if none.
        version: the version that it belongs to; empty if none.
        files: the number of objects or files.
        size: their total size in bytes.
        uploads: the number of open multipart uploads.
        age: the time since the last activity, by the store's clock; `None` if unknown.
        holder: the user and host that pushed; `None` if unknown.
        removable: whether `clean` would remove it.
        advice: why `clean` keeps it, or what to do instead.
        is_cached: whether it is in the assets directory rather than in the store.
    """

    kind: LeftoverKind
    where: str
    name: str = ""
    version: str = ""
    files: int = 0
    size: int = 0
    uploads: int = 0
    age: timedelta | None = None
    holder: Pusher | None = None
    removable: bool = False
    advice: str = ""
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class CleaningRules:
    """Rules for what `clean` may remove.

    Attributes:
        older_than: the minimum time since the last activity. By default, leftovers of pushes that are
            known to be dead are removed at any age, and others after 15 minutes.
        legacy: whether to remove content without a `.meta` that is at least one day old.
    """

    older_than: timedelta | None = None
    legacy: bool = False

    def is_old(self, age: timedelta | None, default: timedelta = DEAD_AFTER) -> bool:
        """Return whether a leftover is old enough to be removed."""
        return age is not None and age >= (default if self.older_than is None else self.older_than)

    def is_legacy(self, age: timedelta | None) -> bool:
        """Return whether content without a `.meta` is old enough to be removed, if the rules allow that at all."""
        return self.legacy and age is not None and age >= max(LEGACY_AFTER, self.older_than or LEGACY_AFTER)


@dataclass(frozen=True, slots=True)
class CleaningPlan:
    """Plan for a cleanup.

    Attributes:
        rules: the rules that the plan follows.
        leftovers: all leftovers that were found, whether removable or not.
        name: the asset that was searched; `None` for all assets.
    """

    rules: CleaningRules
    leftovers: tuple[Leftover, ...]
    name: str | None = None

    @property
    def removable(self) -> tuple[Leftover, ...]:
        """The leftovers that the cleanup would remove."""
        return tuple(leftover for leftover in self.leftovers if leftover.removable)


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """Result of a cleanup.

    Attributes:
        removed: the leftovers that were removed.
        kept: the leftovers that were to be removed, but were kept because they had changed or were in use.
        failed: the leftovers that couldn't be removed completely, in their current state, with the errors.
    """

    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]
    failed: tuple[tuple[Leftover, AioAssetsError], ...] = ()
