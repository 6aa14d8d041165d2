"""Versioning schemes: the protocol and the two built-in schemes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from aioassets.errors import InvalidSetting, InvalidVersion, UsageError
from aioassets.model.names import version_problem

__all__ = ["Bump", "MajorMinor", "SimpleDate", "VersioningScheme"]


_PARTIAL: Final = "it is a partial version; give a complete one"


@dataclass(frozen=True, slots=True)
class Bump:
    """A request to increment a version.

    Attributes:
        major: the major version in which to increment the latest version; `None` to increment the latest
            version overall.
        bump_major: whether to start a new major version.
    """

    major: str | None = None
    bump_major: bool = False

    def __post_init__(self) -> None:
        if self.bump_major and self.major is not None:
            raise UsageError("bump_major can't be combined with major, because bump_major starts a new major version.")


class VersioningScheme(Protocol):
    """A versioning scheme, which must be stateless.

    A version is a string of at most 128 characters: letters, digits, `.`, `_` and `-`.
    """

    @property
    def name(self) -> str:
        """The name of the scheme, as used in settings."""

    def is_version(self, text: str) -> bool:
        """Return whether the text is a complete version in this scheme."""

    def check(self, text: str) -> None:
        """Raise `InvalidVersion` unless the text is a complete or partial version in this scheme."""

    def sort_key(self, version: str) -> Any:
        """Return a sort key for a complete version. Later versions have greater keys."""

    def select(self, partial: str | None, versions: Iterable[str]) -> Sequence[str]:
        """Return the versions that match a complete or partial version (all if `None`), latest first."""

    def first(self) -> str:
        """Return the first version of a new asset."""

    def following(self, bump: Bump, versions: Sequence[str]) -> str | None:
        """Return the next version after the given ones, or `None` if none of them has the major version `bump.major`.

        Raises:
            UsageError: if a major version is requested, but the scheme has none.
        """

    def series(self, version: str) -> str:
        """Return the series that a version belongs to: its major version, or "" if the scheme has none."""


def _latest_first(scheme: VersioningScheme, versions: Iterable[str]) -> list[str]:
    return sorted(versions, key=scheme.sort_key, reverse=True)


def check_complete(scheme: VersioningScheme, version: str, partial: str = _PARTIAL) -> None:
    """Raise `InvalidVersion` unless a version is complete.

    Args:
        scheme: the versioning scheme.
        version: the version, which may have any type.
        partial: the reason to give for a partial version.
    """
    if (problem := version_problem(version)) is not None:
        raise InvalidVersion(version, problem)
    scheme.check(version)
    if not scheme.is_version(version):
        raise InvalidVersion(version, partial)


class MajorMinor(VersioningScheme):
    """The scheme `MAJOR.MINOR`, which starts at `0.0` and sorts numerically: `10.3` comes after `9.0`."""

    name = "major_minor"  # pyright: ignore[reportAssignmentType] - a constant instead of a property
    _COMPLETE: Final = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)", re.ASCII)
    _MAJOR: Final = re.compile(r"0|[1-9][0-9]*", re.ASCII)

    def is_version(self, text: str) -> bool:
        return self._COMPLETE.fullmatch(text) is not None

    def check(self, text: str) -> None:
        if not (self.is_version(text) or self._MAJOR.fullmatch(text)):
            raise InvalidVersion(text, "write a major version such as 1, or a major and minor version such as 1.2")

    def sort_key(self, version: str) -> tuple[int, int]:
        major, minor = version.split(".")
        return int(major), int(minor)

    def series(self, version: str) -> str:
        return version.partition(".")[0]

    def select(self, partial: str | None, versions: Iterable[str]) -> Sequence[str]:
        latest_first = _latest_first(self, versions)
        return [v for v in latest_first if partial is None or partial in (v, self.series(v))]

    def first(self) -> str:
        return "0.0"

    def following(self, bump: Bump, versions: Sequence[str]) -> str | None:
        if bump.major is not None and not self._MAJOR.fullmatch(bump.major):
            raise InvalidVersion(bump.major, "a major version must be a number such as 1")
        candidates = self.select(bump.major, versions)
        if not candidates:
            return None if bump.major is not None else self.first()
        major, minor = self.sort_key(candidates[0])
        return f"{major + 1}.0" if bump.bump_major else f"{major}.{minor + 1}"


class SimpleDate(VersioningScheme):
    """A scheme whose versions are the UTC times of their pushes, such as `2026-03-09T17-05-00Z`.

    A new version is at least one second later than the latest version.

    Args:
        clock: a function that returns the current time in UTC. It is replaced in tests.
    """

    name = "simple_date"  # pyright: ignore[reportAssignmentType]
    _FORMAT: Final = "%Y-%m-%dT%H-%M-%SZ"
    _SHAPE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z", re.ASCII)

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    def is_version(self, text: str) -> bool:
        try:
            return self._SHAPE.fullmatch(text) is not None and bool(self.sort_key(text))
        except ValueError:
            return False

    def check(self, text: str) -> None:
        if not self.is_version(text):
            raise InvalidVersion(text, "expected a UTC time such as 2026-03-09T17-05-00Z")

    def sort_key(self, version: str) -> datetime:
        date, _, time = version.removesuffix("Z").partition("T")
        return datetime.fromisoformat(f"{date}T{time.replace('-', ':')}+00:00")  # many times faster than strptime

    def series(self, version: str) -> str:
        return ""

    def select(self, partial: str | None, versions: Iterable[str]) -> Sequence[str]:
        return [v for v in _latest_first(self, versions) if partial in (None, v)]

    def first(self) -> str:
        return self._clock().strftime(self._FORMAT)

    def following(self, bump: Bump, versions: Sequence[str]) -> str | None:
        if bump.major is not None or bump.bump_major:
            raise UsageError("The versioning scheme simple_date has no major versions.")
        latest = max((self.sort_key(v) for v in versions), default=None)
        now = self._clock()
        try:
            return (now if latest is None else max(now, latest + timedelta(seconds=1))).strftime(self._FORMAT)
        except OverflowError:
            raise UsageError(f"No version later than {latest:{self._FORMAT}} is possible.") from None


SCHEMES: Final[dict[str, Callable[[], VersioningScheme]]] = {"major_minor": MajorMinor, "simple_date": SimpleDate}


def scheme_named(name: str) -> VersioningScheme:
    """Return the built-in scheme with the given name.

    Raises:
        InvalidSetting: if there is no built-in scheme with this name.
    """
    try:
        return SCHEMES[name]()
    except KeyError:
        raise InvalidSetting(
            f"Unknown versioning scheme {name!r}. Choose one of {', '.join(sorted(SCHEMES))}."
        ) from None
