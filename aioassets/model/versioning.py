"""How versions are numbered: the scheme protocol and the two built-in schemes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from aioassets.errors import InvalidSetting, InvalidVersion, UsageError

__all__ = ["Bump", "MajorMinor", "SimpleDate", "VersioningScheme"]


@dataclass(frozen=True, slots=True)
class Bump:
    """What an update asks of the scheme.

    Attributes:
        major: bump the latest version of this major; `None` for the latest of all.
        bump_major: begin the next major.
    """

    major: str | None = None
    bump_major: bool = False

    def __post_init__(self) -> None:
        if self.bump_major and self.major is not None:
            raise UsageError("bump_major begins a new major, so it can't be combined with a major.")


class VersioningScheme(Protocol):
    """Numbers the versions of an asset. Stateless.

    Versions are strings throughout: of letters, digits, `.`, `_` and `-`, at most 128 of them.
    """

    @property
    def name(self) -> str:
        """What settings call it."""

    def is_version(self, text: str) -> bool:
        """Whether this is a complete version of the scheme."""

    def check(self, text: str) -> None:
        """Raise `InvalidVersion` unless this is a complete or partial version of the scheme."""

    def sort_key(self, version: str) -> Any:
        """Orders complete versions; later is greater."""

    def select(self, partial: str | None, versions: Iterable[str]) -> Sequence[str]:
        """The versions that a complete or partial one (or `None`: all) stands for, latest first."""

    def first(self) -> str:
        """The version of a new asset."""

    def following(self, bump: Bump, versions: Sequence[str]) -> str | None:
        """The version after `versions`, which are all taken; `None` where `bump.major` isn't among them.

        Raises:
            UsageError: the scheme knows no majors.
        """

    def series(self, version: str) -> str:
        """What numbers that are counted together have in common (the major)."""


def _latest_first(scheme: VersioningScheme, versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=scheme.sort_key, reverse=True)


class MajorMinor:
    """`MAJOR.MINOR`, counted from `0.0` and ordered as numbers: `10.3` comes after `9.0`."""

    name = "major_minor"
    _COMPLETE: Final = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", re.ASCII)
    _MAJOR: Final = re.compile(r"0|[1-9][0-9]*", re.ASCII)

    def is_version(self, text: str) -> bool:
        """See `VersioningScheme.is_version`."""
        return self._COMPLETE.fullmatch(text) is not None

    def check(self, text: str) -> None:
        """See `VersioningScheme.check`."""
        if not (self.is_version(text) or self._MAJOR.fullmatch(text)):
            raise InvalidVersion(text, "write a major like 1, or major and minor like 1.2")

    def sort_key(self, version: str) -> tuple[int, int]:
        """See `VersioningScheme.sort_key`."""
        major, minor = version.split(".")
        return int(major), int(minor)

    def series(self, version: str) -> str:
        """See `VersioningScheme.series`."""
        return version.partition(".")[0]

    def select(self, partial: str | None, versions: Iterable[str]) -> Sequence[str]:
        """See `VersioningScheme.select`."""
        latest_first = _latest_first(self, versions)
        return [v for v in latest_first if partial is None or partial in (v, self.series(v))]

    def first(self) -> str:
        """See `VersioningScheme.first`."""
        return "0.0"

    def following(self, bump: Bump, versions: Sequence[str]) -> str | None:
        """See `VersioningScheme.following`."""
        if bump.major is not None and not self._MAJOR.fullmatch(bump.major):
            raise InvalidVersion(bump.major, "a major is a number like 1")
        candidates = self.select(bump.major, versions)
        if not candidates:
            return None if bump.major is not None else self.first()
        major, minor = self.sort_key(candidates[0])
        return f"{major + 1}.0" if bump.bump_major else f"{major}.{minor + 1}"


class SimpleDate:
    """The time of the push, in UTC: `2026-03-09T17-05-00Z`.

    Args:
        clock: tells the time; for tests.
    """

    name = "simple_date"
    _FORMAT: Final = "%Y-%m-%dT%H-%M-%SZ"
    _SHAPE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z", re.ASCII)

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    def is_version(self, text: str) -> bool:
        """See `VersioningScheme.is_version`."""
        try:
            return self._SHAPE.fullmatch(text) is not None and bool(self.sort_key(text))
        except ValueError:
            return False

    def check(self, text: str) -> None:
        """See `VersioningScheme.check`."""
        if not self.is_version(text):
            raise InvalidVersion(text, "write a time in UTC like 2026-03-09T17-05-00Z")

    def sort_key(self, version: str) -> datetime:
        """See `VersioningScheme.sort_key`."""
        date, _, time = version.removesuffix("Z").partition("T")
        return datetime.fromisoformat(f"{date}T{time.replace('-', ':')}+00:00")  # many times faster than strptime

    def series(self, version: str) -> str:
        """See `VersioningScheme.series`."""
        return ""

    def select(self, partial: str | None, versions: Iterable[str]) -> Sequence[str]:
        """See `VersioningScheme.select`."""
        return [v for v in _latest_first(self, versions) if partial in (None, v)]

    def first(self) -> str:
        """See `VersioningScheme.first`."""
        return self._clock().strftime(self._FORMAT)

    def following(self, bump: Bump, versions: Sequence[str]) -> str | None:
        """See `VersioningScheme.following`: now, but at least a second after the latest."""
        if bump.major is not None or bump.bump_major:
            raise UsageError("Versions of the scheme simple_date are times, which have no major.")
        latest = max((self.sort_key(v) for v in versions), default=None)
        now = self._clock()
        try:
            return (now if latest is None else max(now, latest + timedelta(seconds=1))).strftime(self._FORMAT)
        except OverflowError:
            raise UsageError(f"No time comes after the latest version, {latest:{self._FORMAT}}.") from None


SCHEMES: Final[dict[str, Callable[[], VersioningScheme]]] = {"major_minor": MajorMinor, "simple_date": SimpleDate}


def scheme_named(name: str) -> VersioningScheme:
    """The built-in scheme of this name.

    Raises:
        InvalidSetting: there is none.
    """
    try:
        return SCHEMES[name]()
    except KeyError:
        raise InvalidSetting(
            f"There is no versioning scheme {name!r}: choose one of {', '.join(sorted(SCHEMES))}."
        ) from None
