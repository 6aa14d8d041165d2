"""The index of an asset's versions, and its JSON form."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aioassets.model.fields import MAX_ENTRIES, optional_text, texts_of, typed
from aioassets.model.jsontext import dump, load, no_check, quoted
from aioassets.model.names import version_problem

MAX_INDEX: Final = 64 * 1024 * 1024
"""Maximum size of an index in bytes. An index with a million versions takes about 30 MB."""
_MAX_VALUES: Final = 4 * MAX_ENTRIES
"""Maximum number of values in an index. That many Python objects take about 250 MB."""


class Fence(enum.StrEnum):
    """The reason why an index must not list a version."""

    YANKED = "yanked"
    """The version was yanked. It can be restored."""
    DELETED = "deleted"
    """The version was deleted. It can't be restored."""


@dataclass(frozen=True, slots=True)
class VersionIndex:
    """The content of a `.versions` document.

    Attributes:
        versions: the listed versions, latest first.
        fences: the versions that must not be listed, and why.
        token: a random identifier of the last change of a fence, so that no state of the document comes back when a
            version is restored. Some stores use a digest of the content as the revision, so a late write could succeed.
        extra: unknown fields, which are kept when the index is rewritten.
    """

    versions: tuple[str, ...] = ()
    fences: Mapping[str, Fence] = field(default_factory=dict)
    token: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def numbers(self) -> tuple[str, ...]:
        """All versions in the index, listed or fenced. Their numbers must not be used again."""
        listed = frozenset(self.versions)
        return (*self.versions, *(version for version in self.fences if version not in listed))

    def with_versions(self, versions: Sequence[str]) -> VersionIndex:
        """Return a copy of the index with different versions and the same fences."""
        return replace(self, versions=tuple(versions))

    def fenced(self, version: str, fence: Fence, token: str) -> VersionIndex:
        """Return the index without a version, and with a fence for it. A fence for a deleted version stays.

        Args:
            version: the version.
            fence: the fence.
            token: a new random token.
        """
        final = Fence.DELETED if self.fences.get(version) is Fence.DELETED else fence
        if version not in self.versions and self.fences.get(version) is final:
            return self
        versions = tuple(other for other in self.versions if other != version)
        return replace(self, versions=versions, fences={**self.fences, version: final}, token=token)

    def unfenced(self, version: str, token: str) -> VersionIndex:
        """Return the index without the fence for a version, unless the version was deleted.

        Args:
            version: the version.
            token: a new random token.
        """
        if self.fences.get(version) is not Fence.YANKED:
            return self
        fences = {other: why for other, why in self.fences.items() if other != version}
        return replace(self, fences=fences, token=token)

    def to_json(self) -> bytes:
        """Return the index as a JSON document."""
        fences = {"fences": {version: str(fence) for version, fence in self.fences.items()}} if self.fences else {}
        token = {"token": self.token} if self.token else {}
        return dump({**self.extra, **fences, **token, "versions": list(self.versions)})

    @classmethod
    def from_json(cls, data: bytes, check: Callable[[], None] = no_check) -> VersionIndex:
        """Parse an index, or raise `ValueError` if it is invalid."""
        value = load(data, check, _MAX_VALUES)
        if "versions" not in value:
            raise ValueError("it has no field 'versions'")
        distinct: dict[str, None] = {}  # filled in a loop, because dict.fromkeys would block other threads for too long
        for version in texts_of(value.pop("versions"), "versions"):
            if (problem := version_problem(version)) is not None:
                raise ValueError(f"it lists the version {quoted(version)}: {problem}")
            distinct[version] = None
        return cls(tuple(distinct), _fences(value.pop("fences", {})), _token(value), value)


def _token(value: dict[str, Any]) -> str | None:
    token = optional_text(value, "token")
    value.pop("token", None)
    return token or None


def _fences(value: Any) -> dict[str, Fence]:
    fences = {}
    for version, fence in typed(value, dict, "fences").items():
        if fence not in list(Fence) or version_problem(version) is not None:
            raise ValueError(f"it has an invalid fence for the version {quoted(version)}")
        fences[version] = Fence(fence)
    return fences
