"""Asset names and specs."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import Final

from aioassets.errors import InvalidAlias, InvalidName, InvalidSpec, InvalidVersion, UsageError
from aioassets.model.keys import MAX_SEGMENT_BYTES

__all__ = ["AssetSpec"]

MAX_VERSION: Final = 128
"""Maximum length of a version in characters. A file name must have room for a version and a suffix."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[0-9A-Za-z._-]+")
_ALIAS: Final = re.compile(r"[A-Za-z](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SPEC: Final = re.compile(
    r"(?P<name>[^:@\[\]]+)(?::(?P<version>[^@\[\]]*))?(?:@(?P<alias>[^:@\[\]]*))?(?:\[(?P<part>.*)\])?", re.DOTALL
)
_LIKE_A_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z")
_RESERVED_SUFFIXES: Final = (".meta", ".versions", ".aliases", ".chunks", ".fragments")


def _kind_problem(value: object) -> str | None:
    return None if isinstance(value, str) else f"it must be a string, not {type(value).__name__}"


def looks_like_version(segment: str) -> bool:
    """Return whether a path segment has the format of a version in a built-in scheme."""
    return _LIKE_A_VERSION.fullmatch(segment) is not None


def parse_name(text: str) -> str:
    """Return the name if it is a valid asset name. Pushes also require `parse_new_name` to accept it.

    A name consists of letters, digits, `.`, `_`, `-` and `/`, and begins and ends with a letter or
    digit. None of its segments is empty, `.`, `..` or longer than 255 characters.

    Raises:
        InvalidName: if the name breaks these rules.
    """
    if (problem := _kind_problem(text)) is not None:
        raise InvalidName(text, problem)
    if not _NAME.fullmatch(text):
        raise InvalidName(text, "use letters, digits, '.', '_', '-' and '/', and begin and end with a letter or digit")
    segments = text.split("/")
    if not {"", ".", ".."}.isdisjoint(segments):
        raise InvalidName(text, "its segments must not be empty, '.' or '..'")
    if max(map(len, segments)) > MAX_SEGMENT_BYTES:
        raise InvalidName(text, f"its segments must not be longer than {MAX_SEGMENT_BYTES} characters")
    return text


def is_name(text: str) -> bool:
    """Return whether the text is a valid asset name."""
    with contextlib.suppress(InvalidName):
        return bool(parse_name(text))
    return False


def version_problem(text: str) -> str | None:
    """Return the reason why the text can't be a version in any scheme, or `None` if it can."""
    if (problem := _kind_problem(text)) is not None:
        return problem
    if len(text) > MAX_VERSION:
        return f"it is longer than {MAX_VERSION} characters"
    if not _VERSION.fullmatch(text):
        return "it must consist of letters, digits, '.', '_' and '-'"
    if not text.strip("."):
        return "it consists of dots only"
    return None


def alias_problem(text: str) -> str | None:
    """Return the reason why the text can't be an alias, or `None` if it can."""
    if (problem := _kind_problem(text)) is not None:
        return problem
    if len(text) > MAX_VERSION:
        return f"it is longer than {MAX_VERSION} characters"
    if not _ALIAS.fullmatch(text):
        return "use letters, digits, '.', '_' and '-', begin with a letter, and end with a letter or digit"
    return "it always means the latest version, which needs no alias" if text == "latest" else None


def parse_alias(text: str) -> str:
    """Return the text if it is a valid alias.

    Raises:
        InvalidAlias: if it isn't.
    """
    if (problem := alias_problem(text)) is not None:
        raise InvalidAlias(text, problem)
    return text


def parse_new_name(text: str) -> str:
    """Return the name if assets may be pushed under it.

    Raises:
        InvalidName: if the name is invalid, or could be confused with a version or an internal object.
    """
    for segment in parse_name(text).split("/"):
        if looks_like_version(segment):
            raise InvalidName(text, f"its segment {segment!r} looks like a version")
        if segment.endswith(_RESERVED_SUFFIXES):
            raise InvalidName(text, f"its segment {segment!r} ends with a reserved suffix")
    return text


def parse_part(text: str) -> str:
    """Return the relative path of a part of an asset, without leading or trailing slashes.

    Raises:
        InvalidSpec: if the path is empty, or has empty, `.` or `..` segments.
    """
    if (problem := _kind_problem(text)) is not None:
        raise InvalidSpec(text, problem)
    part = text.strip("/")
    if not {"", ".", ".."}.isdisjoint(part.split("/")):
        raise InvalidSpec(text, "a part must be a relative path without empty, '.' or '..' segments")
    return part


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """A reference to an asset, or to a version or part of it: `name[:version | @alias][[sub/part]]`.

    Attributes:
        name: the asset's name.
        version: a version, which may be partial (`1`), or `None` for the latest.
        part: a file or folder in the asset, or `None` for the whole asset.
        alias: an alias to use instead of a version, or `None`.
    """

    name: str
    version: str | None = None
    part: str | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        parse_name(self.name)
        if self.version is not None and (problem := version_problem(self.version)) is not None:
            raise InvalidVersion(self.version, problem)
        if self.alias is not None:
            parse_alias(self.alias)
            if self.version is not None:
                raise InvalidSpec(str(self), "give either a version or an alias, not both")
        if self.part is not None:
            object.__setattr__(self, "part", parse_part(self.part))

    @classmethod
    def parse(cls, text: str) -> AssetSpec:
        """Parse `name`, `name:1`, `name:1.2` or `name@alias`, optionally followed by `[sub/part]`.

        Raises:
            InvalidSpec: if the text doesn't have this format, or the part is invalid.
            InvalidName: if the name is invalid.
            InvalidAlias: if the alias is invalid.
            InvalidVersion: if the version contains characters other than letters, digits, `.`, `_` and
                `-`, consists of dots only, or is longer than 128 characters.
        """
        if (problem := _kind_problem(text)) is not None:
            raise InvalidSpec(text, problem)
        match = _SPEC.fullmatch(text)
        if match is None:
            raise InvalidSpec(text, "it does not have the expected format")
        return cls(match["name"], match["version"], match["part"], match["alias"])

    @classmethod
    def series(cls, text: str | AssetSpec) -> AssetSpec:
        """Parse `name`, `name:1` or `name:1.2`, which selects versions of an asset.

        Raises:
            InvalidSpec: if the text has another format.
            UsageError: if it has an alias or a part.
        """
        spec = text if isinstance(text, AssetSpec) else cls.parse(text)
        if spec.alias is None and spec.part is None:
            return spec
        raise UsageError(
            f"Versions are listed by the name of the asset, or by a part of the version: write {spec.name} or "
            f"{spec.name}:1 instead of {spec}."
        )

    def __str__(self) -> str:
        version = f":{self.version}" if self.version is not None else ""
        version += f"@{self.alias}" if self.alias is not None else ""
        part = f"[{self.part}]" if self.part is not None else ""
        return f"{self.name}{version}{part}"
