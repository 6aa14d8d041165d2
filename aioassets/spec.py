"""Asset names and specs: parsed once, never changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from aioassets.errors import InvalidName, InvalidSpec, InvalidVersion

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[0-9A-Za-z._-]+")
_SPEC: Final = re.compile(r"(?P<name>[^:\[\]]+)(?::(?P<version>[^\[\]]*))?(?:\[(?P<part>.*)\])?", re.DOTALL)
_LIKE_A_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z")
_OUR_ENDINGS: Final = (".meta", ".versions")


def looks_like_version(segment: str) -> bool:
    """Whether a path segment is a version in one of the built-in schemes."""
    return _LIKE_A_VERSION.fullmatch(segment) is not None


def parse_name(text: str) -> str:
    """Check that an asset of this name can be fetched and listed.

    Returns:
        The name itself.

    Raises:
        InvalidName: it breaks the grammar: letters, digits, `.`, `_`, `-` and `/`, beginning
            and ending with a letter or digit, without empty, `.` or `..` segments.
    """
    if not _NAME.fullmatch(text):
        raise InvalidName(
            text, "use letters, digits, '.', '_', '-' and '/', and begin and end with a letter or a digit"
        )
    if not {"", ".", ".."}.isdisjoint(text.split("/")):
        raise InvalidName(text, "its segments must not be empty, '.' or '..'")
    return text


def parse_new_name(text: str) -> str:
    """Check that an asset may be pushed under this name.

    Returns:
        The name itself.

    Raises:
        InvalidName: it breaks the grammar, or could be taken for a version or for an object of
            our own.
    """
    for segment in parse_name(text).split("/"):
        if looks_like_version(segment):
            raise InvalidName(text, f"its segment {segment!r} would be taken for a version")
        if segment.endswith(_OUR_ENDINGS):
            raise InvalidName(text, f"its segment {segment!r} ends like an object of the store's own")
    return text


def parse_part(text: str) -> str:
    """Check a sub-part, a relative path inside an asset; outer slashes are dropped.

    Raises:
        InvalidSpec: it is empty, or has empty, `.` or `..` segments.
    """
    part = text.strip("/")
    if not {"", ".", ".."}.isdisjoint(part.split("/")):
        raise InvalidSpec(text, "a sub-part is a relative path without empty, '.' or '..' segments")
    return part


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """What a user asks for: `name[:version][[sub/part]]`.

    Attributes:
        name: the asset's name.
        version: a version, perhaps partial (`1`), or `None` for the latest.
        part: a file or folder inside the asset, or `None` for all of it.
    """

    name: str
    version: str | None = None
    part: str | None = None

    def __post_init__(self) -> None:
        parse_name(self.name)
        if self.version is not None and not _VERSION.fullmatch(self.version):
            raise InvalidVersion(self.version, "use letters, digits, '.', '_' and '-'")
        if self.part is not None:
            object.__setattr__(self, "part", parse_part(self.part))

    @classmethod
    def parse(cls, text: str) -> AssetSpec:
        """Parse `name`, `name:1`, `name:1.2`, each with an optional `[sub/part]`.

        Raises:
            InvalidSpec: it isn't of that form.
            InvalidName: the name breaks the grammar.
            InvalidVersion: the version has other characters than letters, digits, `.`, `_`, `-`.
        """
        match = _SPEC.fullmatch(text)
        if match is None:
            raise InvalidSpec(text, "it isn't of the form name[:version][[sub/part]]")
        return cls(match["name"], match["version"], match["part"])

    def __str__(self) -> str:
        version = f":{self.version}" if self.version is not None else ""
        part = f"[{self.part}]" if self.part is not None else ""
        return f"{self.name}{version}{part}"
