"""Rules for which versions to keep, and the plan and result of deleting all others."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from aioassets.errors import AioAssetsError, UsageError
from aioassets.model.arguments import check_count, check_optional_duration
from aioassets.model.versioning import VersioningScheme
from aioassets.model.withdrawals import DeletionResult

__all__ = ["KeepReason", "PrunePlan", "PruneResult", "PrunedVersion", "RetentionRules"]


class KeepReason(enum.StrEnum):
    """Reason why a version is kept."""

    LATEST = "latest"
    """It is the latest version of the asset."""
    LAST = "last"
    """It is among the last versions of its major."""
    RECENT = "recent"
    """It was pushed recently."""
    ALIAS = "alias"
    """An alias points at it."""
    UNREADABLE = "unreadable"
    """Its manifest can't be read."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """Rules for which versions to keep. A version is kept if any rule applies.

    The latest listed version of an asset and versions that an alias points at are always kept.

    Attributes:
        keep_last: the number of listed versions to keep per major, latest first; `None` for no such rule.
        keep_within: the age up to which versions are kept, by when they were pushed or copied; `None` for no such rule.

    Raises:
        UsageError: if there is no rule, or a rule is invalid.
    """

    keep_last: int | None = None
    keep_within: timedelta | None = None

    def __post_init__(self) -> None:
        if self.keep_last is None and self.keep_within is None:
            raise UsageError("Pruning needs a rule: give keep_last (--keep-last), keep_within (--keep-within) or both.")
        if self.keep_last is not None:
            check_count(self.keep_last, "keep_last")
        check_optional_duration(self.keep_within, "keep_within")


@dataclass(frozen=True, slots=True)
class PrunedVersion:
    """A version in a prune plan.

    Attributes:
        name: the asset's name.
        version: the version.
        push_date: when it was pushed, by the pusher's clock; `None` if its manifest can't be read.
        files: the number of its files.
        size: their total size in bytes; `None` if the manifest doesn't record sizes.
        is_yanked: whether it is yanked.
        is_deleted: whether it was deleted, although some of its files may be left.
        error: why its manifest can't be read; `None` if it can.
        aliases: the aliases that point at it, sorted.
        reasons: why it is kept; empty if it is to be deleted.
        copy_date: when it was copied to this store, if it was copied.
    """

    name: str
    version: str
    push_date: datetime | None = None
    files: int = 0
    size: int | None = None
    is_yanked: bool = False
    is_deleted: bool = False
    error: AioAssetsError | None = None
    aliases: tuple[str, ...] = ()
    reasons: tuple[KeepReason, ...] = ()
    copy_date: datetime | None = None

    @property
    def date(self) -> datetime | None:
        """When it came to this store, from which its age counts: a copy has the push date of the original."""
        return max((date for date in (self.push_date, self.copy_date) if date is not None), default=None)

    @property
    def counts(self) -> bool:
        """Whether readers may get it as the latest version."""
        return not self.is_yanked and self.error is None


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """Plan of which versions to delete and which to keep.

    Attributes:
        rules: the rules.
        versions: all complete versions, by asset name, latest first.
        skipped: the errors of assets that are left alone because their versions can't be read, by name.
    """

    rules: RetentionRules
    versions: tuple[PrunedVersion, ...]
    skipped: Mapping[str, AioAssetsError] = field(default_factory=dict)

    @property
    def deleted(self) -> tuple[PrunedVersion, ...]:
        """The versions to delete."""
        return tuple(version for version in self.versions if not version.reasons)

    @property
    def kept(self) -> tuple[PrunedVersion, ...]:
        """The versions to keep."""
        return tuple(version for version in self.versions if version.reasons)

    @property
    def size(self) -> int:
        """The total size in bytes of the versions to delete, as far as their manifests record it."""
        return sum(version.size or 0 for version in self.deleted)


@dataclass(frozen=True, slots=True)
class PruneResult:
    """Result of deleting the versions in a plan.

    Attributes:
        deleted: the deleted versions.
        kept: versions in the plan that were kept after all, and why: something has changed since it was made.
        failed: versions that could not be deleted, or not completely (`is_deleted`), with the errors.
    """

    deleted: tuple[DeletionResult, ...]
    kept: tuple[PrunedVersion, ...]
    failed: tuple[tuple[PrunedVersion, AioAssetsError], ...]

    @property
    def size(self) -> int:
        """The total size in bytes of the deleted objects."""
        return sum(deletion.size for deletion in self.deleted)


def decided(
    rules: RetentionRules,
    scheme: VersioningScheme,
    versions: Sequence[PrunedVersion],
    aliases: Mapping[str, Sequence[str]],
    now: datetime,
) -> list[PrunedVersion]:
    """Return the versions of one asset, latest first, each with the reasons for keeping it.

    Yanked and unreadable versions don't count towards `keep_last`. It keeps a yanked version unless that many versions
    of the same major are later. Unreadable versions are always kept.

    Args:
        rules: the rules.
        scheme: the versioning scheme.
        versions: the complete versions of the asset.
        aliases: the aliases that point at each version.
        now: the current time.
    """
    numbers = {row.version: row for row in versions}
    ordered = [numbers[number] for number in scheme.select(None, numbers)]
    listed = [row.version for row in ordered if row.counts]
    last = _last(scheme, ordered, rules.keep_last or 0)

    def reasons(row: PrunedVersion) -> Iterable[KeepReason]:
        if row.version in listed[:1]:
            yield KeepReason.LATEST
        if row.version in last:
            yield KeepReason.LAST
        if rules.keep_within is not None and row.date is not None and now - row.date <= rules.keep_within:
            yield KeepReason.RECENT
        if aliases.get(row.version):
            yield KeepReason.ALIAS
        if row.error is not None:
            yield KeepReason.UNREADABLE

    return [replace(row, aliases=tuple(aliases.get(row.version, ())), reasons=tuple(reasons(row))) for row in ordered]


def _last(scheme: VersioningScheme, ordered: Sequence[PrunedVersion], count: int) -> set[str]:
    """Return the last `count` versions of each major that count, and all others that are later than any of these."""
    found: set[str] = set()
    counts: dict[str, int] = {}
    for row in ordered:
        series = scheme.series(row.version)
        if counts.get(series, 0) < count:
            found.add(row.version)
            counts[series] = counts.get(series, 0) + row.counts
    return found
