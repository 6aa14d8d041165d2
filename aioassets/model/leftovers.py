"""What dead pushes and fetches leave behind, and what may be removed of it: values, without any I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aioassets.model.claim import DEAD_AFTER
from aioassets.model.pusher import Pusher

__all__ = ["CleaningPlan", "CleaningResult", "CleaningRules", "Leftover", "LeftoverKind"]

LEGACY_AFTER: Final = timedelta(days=1)
"""How old content without a `.meta` must be: whoever pushes without claims has ended by then."""


class LeftoverKind(enum.Enum):
    """What is left."""

    DEAD_PUSH = "dead_push"
    """A claim whose holder died, with what it had uploaded."""
    LIVE_PUSH = "live_push"
    """A claim whose holder may be at work."""
    ABANDONED_PUSH = "abandoned_push"
    """What is left of a push that gave its number up."""
    UNLISTED_VERSION = "unlisted_version"
    """A complete version that its index doesn't list, since its push died just before that."""
    WITHOUT_MANIFEST = "without_manifest"
    """Perhaps modelkit at work, or what is left of that."""
    UNREADABLE_DOCUMENT = "unreadable_document"
    """A `.meta` or `.versions` that is neither ours nor modelkit's."""
    OPEN_UPLOADS = "open_uploads"
    """Uploads in parts that nobody goes on with, below a published version."""
    TEMPORARY_OBJECTS = "temporary_objects"
    """What was to become an object, or was to be removed at once."""
    UNFINISHED_DOWNLOAD = "unfinished_download"
    """A staging folder in the assets directory, or the lock of one."""
    FILES_PUT_ASIDE = "files_put_aside"
    """What stood in the assets directory in the place of a version, and wasn't that version."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that was left behind.

    Attributes:
        kind: what it is.
        where: its URL, or its path in the assets directory.
        name: the asset; empty where it belongs to none.
        version: the version; empty where it belongs to none.
        files: how many objects or files there are.
        size: how many bytes they hold.
        uploads: how many uploads in parts are open.
        age: since the last sign of life, by the store's clock; `None` where it isn't known.
        holder: who pushed, where that is known.
        removable: whether `clean` would remove it.
        advice: what else can be done with it, or why it is left alone.
        is_cached: whether it is in the assets directory, not in the store.
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
    """What may be removed.

    Attributes:
        older_than: since the last sign of life. `None`: what is dead as far as can be told, and
            other things after 15 minutes.
        legacy: whether content without a `.meta` may be, from an age of one day on.
    """

    older_than: timedelta | None = None
    legacy: bool = False

    def is_old(self, age: timedelta | None, default: timedelta = DEAD_AFTER) -> bool:
        """Whether something of this age may be removed."""
        return age is not None and age >= (default if self.older_than is None else self.older_than)

    def is_legacy(self, age: timedelta | None) -> bool:
        """Whether content without a `.meta` may be removed."""
        return self.legacy and age is not None and age >= max(LEGACY_AFTER, self.older_than or LEGACY_AFTER)


@dataclass(frozen=True, slots=True)
class CleaningPlan:
    """What a cleaning would remove, and what it found besides.

    Attributes:
        rules: what may be removed.
        leftovers: what was found; `removable` tells which of it would be removed.
        name: the only asset that was looked at; `None` for all.
    """

    rules: CleaningRules
    leftovers: tuple[Leftover, ...]
    name: str | None = None

    @property
    def removable(self) -> tuple[Leftover, ...]:
        """What would be removed."""
        return tuple(leftover for leftover in self.leftovers if leftover.removable)


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """What a cleaning did.

    Attributes:
        removed: what is gone.
        kept: what had changed since the plan was made, so that it was left alone.
    """

    removed: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]
