"""Asset names and specs: parsed once, never changed."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import Final

from aioassets.errors import InvalidName, InvalidSpec, InvalidVersion
from aioassets.model.keys import MAX_SEGMENT_BYTES

__all__ = ["AssetSpec"]

MAX_VERSION: Final = 128
"""Characters of a version: with what is added to it, it is the name of a file."""

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
            and ending with a letter or digit, without empty, `.` or `..` segments, and none of
            more than 255 characters.
    """
    if not _NAME.fullmatch(text):
        raise InvalidName(
            text, "use letters, digits, '.', '_', '-' and '/', and begin and end with a letter or a digit"
        )
    segments = text.split("/")
    if not {"", ".", ".."}.isdisjoint(segments):
        raise InvalidName(text, "its segments must not be empty, '.' or '..'")
    if max(map(len, segments)) > MAX_SEGMENT_BYTES:
        raise InvalidName(text, f"its segments must not be longer than {MAX_SEGMENT_BYTES} characters")
    return text


def is_name(text: str) -> bool:
    """Whether an asset could have this name."""
    with contextlib.suppress(InvalidName):
        return bool(parse_name(text))
    return False


def version_problem(text: str) -> str | None:
    """Why this can't be a version of any scheme, or `None` where it can."""
    if len(text) > MAX_VERSION:
        return f"it is longer than {MAX_VERSION} characters"
    if not _VERSION.fullmatch(text):
        return "it isn't made of letters, digits, '.', '_' and '-'"
    if not text.strip("."):
        return "it is made of dots alone"
    return None


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
        if self.version is not None and (problem := version_problem(self.version)) is not None:
            raise InvalidVersion(self.version, problem)
        if self.part is not None:
            object.__setattr__(self, "part", parse_part(self.part))

    @classmethod
    def parse(cls, text: str) -> AssetSpec:
        """Parse `name`, `name:1`, `name:1.2`, each with an optional `[sub/part]`.

        Raises:
            InvalidSpec: it isn't of that form.
            InvalidName: the name breaks the grammar.
            InvalidVersion: the version has other characters than letters, digits, `.`, `_`, `-`,
                or more than 128 of them.
        """
        match = _SPEC.fullmatch(text)
        if match is None:
            raise InvalidSpec(text, "it isn't of the form name[:version][[sub/part]]")
        return cls(match["name"], match["version"], match["part"])

    def __str__(self) -> str:
        version = f":{self.version}" if self.version is not None else ""
        part = f"[{self.part}]" if self.part is not None else ""
        return f"{self.name}{version}{part}"
