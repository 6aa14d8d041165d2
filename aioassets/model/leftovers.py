"""Leftovers of dead pushes and fetches, and the rules for removing them."""

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
"""Minimum age of content without a `.meta`. Pushes of modelkit, which makes no claims, have ended by then."""


class LeftoverKind(enum.Enum):
    """Kind of a leftover."""

    DEAD_PUSH = "dead_push"
    """Claim of a push that died, with its uploaded content."""
    LIVE_PUSH = "live_push"
    """Claim of a push that may still be running."""
    ABANDONED_PUSH = "abandoned_push"
    """Remainder of a push that gave up its version number."""
    UNLISTED_VERSION = "unlisted_version"
    """Complete version that is missing in its index because its push died just before listing it."""
    WITHOUT_MANIFEST = "without_manifest"
    """Content without a `.meta`, perhaps of a running or dead push by modelkit."""
    UNREADABLE_DOCUMENT = "unreadable_document"
    """`.meta` or `.versions` that neither aioassets nor modelkit can read."""
    OPEN_UPLOADS = "open_uploads"
    """Unfinished multipart uploads below a published version."""
    TEMPORARY_OBJECTS = "temporary_objects"
    """Scratch objects and unfinished objects of the store."""
    UNFINISHED_DOWNLOAD = "unfinished_download"
    """Staging folder in the assets directory, or its lock."""
    FILES_PUT_ASIDE = "files_put_aside"
    """Files that were in the place of a version in the assets directory, and differed from it."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Remainder of a dead push or fetch.

    Attributes:
        kind: the kind of leftover.
        where: its URL, or its path in the assets directory.
        name: the asset; empty if it belongs to none.
        version: the version; empty if it belongs to none.
        files: number of objects or files.
        size: their total size in bytes.
        uploads: number of open multipart uploads.
        age: time since the last sign of life, by the store's clock; `None` if unknown.
        holder: the user and host that pushed; `None` if unknown.
        removable: whether `clean` would remove it.
        advice: what to do with it instead, or why `clean` keeps it.
        is_cached: whether it is in the assets directory instead of the store.
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
        older_than: minimum time since the last sign of life. By default, remains of pushes that are
            known to be dead are removed at any age, and others after 15 minutes.
        legacy: whether to remove content without a `.meta` that is at least one day old.
    """

    older_than: timedelta | None = None
    legacy: bool = False

    def is_old(self, age: timedelta | None, default: timedelta = DEAD_AFTER) -> bool:
        """Return whether a leftover of this age may be removed."""
        return age is not None and age >= (default if self.older_than is None else self.older_than)

    def is_legacy(self, age: timedelta | None) -> bool:
        """Return whether content of this age without a `.meta` may be removed."""
        return self.legacy and age is not None and age >= max(LEGACY_AFTER, self.older_than or LEGACY_AFTER)


@dataclass(frozen=True, slots=True)
class CleaningPlan:
    """Plan of a cleaning.

    Attributes:
        rules: the rules that it follows.
        leftovers: all leftovers found, removable or not.
        name: the only asset that was searched; `None` for all.
    """

    rules: CleaningRules
    leftovers: tuple[Leftover, ...]
    name: str | None = None

    @property
    def removable(self) -> tuple[Leftover, ...]:
        """The leftovers that the cleaning would remove."""
        return tuple(leftover for leftover in self.leftovers if leftover.removable)


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """Result of a cleaning.

    Attributes:
        removed: the leftovers that were removed.
        kept: the leftovers that were kept because they changed after they were planned.
        failed: the leftovers that could not be removed or not completely, as they are now, and the errors.
    """

    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]
    failed: tuple[tuple[Leftover, AioAssetsError], ...] = ()
