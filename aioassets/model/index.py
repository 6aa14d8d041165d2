"""The index of an asset's versions, and its JSON form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aioassets.model.fields import MAX_ENTRIES, texts_of
from aioassets.model.jsontext import dump, load, no_check, quoted
from aioassets.model.names import version_problem

MAX_INDEX: Final = 64 * 1024 * 1024
"""Maximum size of an index in bytes. An index of a million versions takes about 30 MB."""
_MAX_VALUES: Final = 4 * MAX_ENTRIES
"""Maximum number of values in an index. As Python objects, they take about 250 MB."""


@dataclass(frozen=True, slots=True)
class VersionIndex:
    """Content of a `.versions` document.

    Attributes:
        versions: the listed versions, latest first.
        extra: unknown fields, which are kept when the index is rewritten.
    """

    versions: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def with_versions(self, versions: Sequence[str]) -> VersionIndex:
        """Return the index with its versions replaced."""
        return replace(self, versions=tuple(versions))

    def to_json(self) -> bytes:
        """Return the JSON document."""
        return dump({**self.extra, "versions": list(self.versions)})

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
        return cls(tuple(distinct), value)
