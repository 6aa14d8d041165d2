"""Leftovers of interrupted pushes and fetches, and the rules for removing them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aioassets.errors import AioAssetsError, StoreCorrupt, UsageError
from aioassets.model.claim import DEAD_AFTER
from aioassets.model.pusher import Pusher

__all__ = ["CleaningPlan", "CleaningResult", "CleaningRules", "Leftover", "LeftoverKind"]

LEGACY_AFTER: Final = timedelta(days=1)
"""Minimum age at which content without a `.meta` may be removed. A push by modelkit, which doesn't claim its version
number, should have ended by then."""


class LeftoverKind(enum.Enum):
    """The kind of a leftover."""

    DEAD_PUSH = "dead_push"
    """The claim of a push that died, and the content that the push uploaded."""
    LIVE_PUSH = "live_push"
    """The claim of a push that may still be running, and the content that the push has uploaded."""
    ABANDONED_PUSH = "abandoned_push"
    """The remains of a push that gave up its version number."""
    UNLISTED_VERSION = "unlisted_version"
    """Complete version that isn't in the index because its push died just before listing it."""
    UNFINISHED_YANK = "unfinished_yank"
    """Version whose yank or restoration was interrupted, so that the index disagrees with its `.meta`."""
    UNFINISHED_DELETION = "unfinished_deletion"
    """Deleted version whose deletion was interrupted, or that has files again because of a late request."""
    WITHOUT_MANIFEST = "without_manifest"
    """Content without a `.meta`, for example from a running or interrupted push by modelkit."""
    UNREADABLE_DOCUMENT = "unreadable_document"
    """An invalid `.meta` or `.versions` document."""
    OPEN_UPLOADS = "open_uploads"
    """Unfinished multipart uploads to a published version."""
    TEMPORARY_OBJECTS = "temporary_objects"
    """Scratch objects in the store, or temporary files in a local store or the assets directory."""
    UNFINISHED_DOWNLOAD = "unfinished_download"
    """The staging folder of an interrupted fetch, in the assets directory."""
    FILES_PUT_ASIDE = "files_put_aside"
    """Files in the assets directory that were set aside because they differed from their version, or that no record
    refers to."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """The remains of a push in the store, or of a fetch in the assets directory.

    Attributes:
        kind: the kind of leftover.
        where: its URL, or its path in the assets directory.
        name: the asset that it belongs to; empty if there is none.
        version: the version that it belongs to; empty if there is none.
        files: the number of objects or files.
        size: their total size in bytes.
        uploads: the number of open multipart uploads.
        age: the time since the last activity (in the store, by the store's clock); `None` if unknown.
        holder: the user and host that pushed; `None` if unknown.
        removable: whether `clean` would remove it.
        advice: why `clean` keeps it, or what to do instead.
        is_cached: whether it is in the assets directory rather than in the store.
        error: why a document can't be read; `None` for other leftovers.
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
    error: StoreCorrupt | None = None


@dataclass(frozen=True, slots=True)
class CleaningRules:
    """Rules that determine what `clean` may remove.

    Attributes:
        older_than: the minimum time since the last activity. By default, this time is zero for a push that is
            known to have died or given up, and 15 minutes for anything else.
        legacy: whether to remove content that has no `.meta` and is at least one day old.

    Raises:
        UsageError: if `older_than` has another type.
    """

    older_than: timedelta | None = None
    legacy: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.older_than, timedelta | None):
            raise UsageError(f"older_than must be a timedelta, not {type(self.older_than).__name__}.")

    def is_old(self, age: timedelta | None, default: timedelta = DEAD_AFTER) -> bool:
        """Return whether a leftover is old enough to be removed."""
        return age is not None and age >= (default if self.older_than is None else self.older_than)

    def is_legacy(self, age: timedelta | None) -> bool:
        """Return whether the rules allow the removal of content without a `.meta`, and it is old enough."""
        return self.legacy and age is not None and age >= max(LEGACY_AFTER, self.older_than or LEGACY_AFTER)


@dataclass(frozen=True, slots=True)
class CleaningPlan:
    """A plan for a cleanup.

    Attributes:
        rules: the rules that the plan follows.
        leftovers: all leftovers that were found, whether removable or not.
        name: the asset whose leftovers were searched for; `None` for all assets.
    """

    rules: CleaningRules
    leftovers: tuple[Leftover, ...]
    name: str | None = None

    @property
    def errors(self) -> tuple[StoreCorrupt, ...]:
        """The errors of the documents that can't be read."""
        return tuple(leftover.error for leftover in self.leftovers if leftover.error is not None)

    @property
    def removable(self) -> tuple[Leftover, ...]:
        """The leftovers that the cleanup would remove."""
        return tuple(leftover for leftover in self.leftovers if leftover.removable)


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """The result of a cleanup.

    Attributes:
        removed: the leftovers that were removed.
        kept: the leftovers that should have been removed, but were kept because they had changed or were in use.
        failed: the leftovers that couldn't be removed completely, each in its current state and with the error.
    """

    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]
    failed: tuple[tuple[Leftover, AioAssetsError], ...] = ()
