"""Lock files, which pin the versions that a service uses, and the lists of specs that they are made from.

Both are TOML documents: `assets.toml` is written by people, and `assets.lock` by `aioassets lock`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aioassets.errors import IntegrityError, UsageError
from aioassets.model.content import content_digest, listing_digest
from aioassets.model.manifest import Manifest
from aioassets.model.names import AssetSpec, version_problem
from aioassets.model.versioning import VersioningScheme, check_complete

LOCK_VERSION: Final = 1
"""The format of the lock files that are written, and the only one that is read."""
CONTENT: Final = "content_digest"
LISTING: Final = "listing_digest"
_HEADER: Final = """\
# The exact versions of the assets in assets.toml. `aioassets lock` writes this file, and `aioassets sync` fetches
# these versions. Commit it to version control.
"""
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ("spec", "name", "version")
_ADVICE: Final = "Write it again with `aioassets lock`."


@dataclass(frozen=True, slots=True)
class LockedAsset:
    """A spec and the version that it is pinned to.

    Attributes:
        spec: the spec as it was resolved, such as `team/model@prod`.
        version: the version.
        digest: the content digest of the version, or if that is unknown, the digest of its listing.
        kind: which of the two it is: `content_digest` or `listing_digest`.
    """

    spec: AssetSpec
    version: str
    digest: str
    kind: str

    @classmethod
    def of(cls, spec: AssetSpec, version: str, manifest: Manifest) -> LockedAsset:
        """Pin a spec to a version with this manifest. Blocking."""
        digest = content_digest(manifest.files, manifest.empty_directories)
        if digest is not None:
            return cls(spec, version, digest, CONTENT)
        return cls(spec, version, listing_digest(manifest), LISTING)

    def exact(self, scheme: VersioningScheme) -> AssetSpec:
        """Return the spec with the pinned version.

        Raises:
            InvalidVersion: if the version isn't complete.
            UsageError: if the spec can't refer to the version.
        """
        check_complete(scheme, self.version)
        if not scheme.select(self.spec.version, [self.version]):
            raise UsageError(f"The lock pins {str(self.spec)!r} to version {self.version}. {_ADVICE}")
        return AssetSpec(self.spec.name, self.version, self.spec.part)

    def check(self, manifest: Manifest) -> None:
        """Raise `IntegrityError` if a manifest isn't that of the pinned version. Blocking."""
        if self.kind == CONTENT:
            found = content_digest(manifest.files, manifest.empty_directories)
        else:
            found = listing_digest(manifest)
        if found != self.digest:
            kind = self.kind.replace("_", " ")
            label = f"{self.spec.name}:{self.version}"
            raise IntegrityError(label, f"{kind} {self.digest}", found or "none", reference="what was locked")

    def to_toml(self) -> str:
        """Return the table of the asset."""
        rows = {"spec": str(self.spec), "name": self.spec.name, "version": self.version, self.kind: self.digest}
        return "[[assets]]\n" + "".join(f"{key} = {_quoted(value)}\n" for key, value in rows.items())


@dataclass(frozen=True, slots=True)
class Lock:
    """Content of a lock file.

    Attributes:
        assets: the pinned assets, sorted by spec.
    """

    assets: tuple[LockedAsset, ...]

    @classmethod
    def of(cls, assets: Iterable[LockedAsset]) -> Lock:
        """Return the lock of these assets, each of which has another spec."""
        return cls(tuple(sorted(assets, key=lambda asset: str(asset.spec))))

    def to_toml(self) -> str:
        """Return the TOML document. Equal locks give equal texts."""
        tables = "".join(f"\n{asset.to_toml()}" for asset in self.assets)
        return f"{_HEADER}lock_version = {LOCK_VERSION}\n{tables}"

    @classmethod
    def parse(cls, text: str, where: str) -> Lock:
        """Parse a lock file.

        Args:
            text: the TOML document.
            where: the name of the file, for error messages.

        Raises:
            UsageError: if it isn't a valid lock file.
        """
        table = _parsed(text, where, _ADVICE)
        if table.get("lock_version") != LOCK_VERSION:
            raise _unusable(where, f"its lock_version must be {LOCK_VERSION}", _ADVICE)
        _check_keys(table, ("lock_version", "assets"), text, where)
        rows = table.get("assets", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _unusable(where, "'assets' must be an array of tables", _ADVICE)
        found = [_locked(row, text, where) for row in rows]
        twice = [str(spec) for spec, count in Counter(asset.spec for asset in found).items() if count > 1]
        if twice:
            raise _unusable(where, f"it pins {twice[0]!r} more than once", _ADVICE)
        return cls.of(found)


def parse_dependencies(text: str, where: str) -> tuple[AssetSpec, ...]:
    """Parse a list of specs such as `assets = ["team/model@prod", "team/index:1"]`.

    Args:
        text: the TOML document.
        where: the name of the file, for error messages.

    Raises:
        UsageError: if the document isn't valid.
    """
    table = _parsed(text, where)
    _check_keys(table, ("assets",), text, where)
    specs = table.get("assets")
    if not isinstance(specs, list):
        raise _unusable(where, "it needs a list of specs, such as assets = ['team/model@prod', 'team/index:1']")
    return tuple(dict.fromkeys(_spec(spec, text, where) for spec in specs))


def _parsed(text: str, where: str, advice: str = "") -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        if re.search(r"^(<<<<<<<|=======|>>>>>>>)", text, re.MULTILINE):
            raise _unusable(where, "it contains a merge conflict; resolve it first", advice) from None
        reason = "its values are nested too deeply" if isinstance(error, RecursionError) else f"{error}".rstrip(".")
        raise _unusable(where, f"it isn't valid TOML: {reason[:1].lower()}{reason[1:]}", advice) from None


def _unusable(where: str, problem: str, advice: str = "") -> UsageError:
    return UsageError(f"Cannot use {where!r}: {problem}.{' ' if advice else ''}{advice}")


def _check_keys(table: Mapping[str, Any], known: Sequence[str], text: str, where: str) -> None:
    """Raise `UsageError` for the first unknown key, and suggest a known one."""
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            advice = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}."
            raise _unusable(where, f"unknown key {key!r}{_line(key, text)}", advice)


def _line(part: str, text: str) -> str:
    """Return the line that contains a text, for an error message."""
    numbers = (number for number, line in enumerate(text.splitlines(), 1) if part and part in line)
    return f" (line {number})" if (number := next(numbers, None)) is not None else ""


def _spec(value: Any, text: str, where: str) -> AssetSpec:
    if not isinstance(value, str):
        raise _unusable(where, f"a spec must be a string, not {type(value).__name__}{_line(repr(value), text)}")
    try:
        return AssetSpec.parse(value)
    except UsageError as error:
        raise _unusable(where, f"{str(error).rstrip('.')}{_line(value, text)}") from None


def _locked(row: Mapping[str, Any], text: str, where: str) -> LockedAsset:
    _check_keys(row, (*_FIELDS, CONTENT, LISTING), text, where)
    kinds = [kind for kind in (CONTENT, LISTING) if kind in row]
    if not all(isinstance(row.get(field), str) for field in (*_FIELDS, *kinds)) or len(kinds) != 1:
        raise _unusable(where, f"each asset needs {', '.join(_FIELDS)} and either {CONTENT} or {LISTING}", _ADVICE)
    spec, version, digest = _spec(row["spec"], text, where), row["version"], row[kinds[0]]
    if spec.name != row["name"] or (problem := version_problem(version)) is not None:
        what = problem if spec.name == row["name"] else "its name is another one"
        raise _unusable(where, f"the entry of {str(spec)!r} is invalid: {what}{_line(row['spec'], text)}", _ADVICE)
    if not _SHA256.fullmatch(digest):
        raise _unusable(where, f"{digest!r} is not a SHA-256 digest{_line(digest, text)}", _ADVICE)
    return LockedAsset(spec, version, digest, kinds[0])


def _quoted(text: str) -> str:
    """Return a TOML string. Characters that can't be printed are escaped, so that a reader sees all of them."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04X}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08X}"
