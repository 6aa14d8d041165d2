"""What `.meta` and `.versions` objects hold, and their JSON.

Whatever is parsed here comes from a store, so it is untrusted: it is checked whole, and
each problem is one `ValueError` with a sentence.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, pairwise
from typing import Any, BinaryIO, Final

from aioassets.digests import PREFERRED, best_of
from aioassets.entries import FileEntry, FileTable
from aioassets.jsontext import LongText, Reader, dump, load, pieces, shown, text_of
from aioassets.layout import MAX_KEY_BYTES, MAX_SEGMENT_BYTES
from aioassets.spec import version_problem
from aioassets.threads import gathered

MAX_ENTRIES: Final = 1_000_000
"""Files and empty folders of a version, its folders, and versions of an index: more isn't read, nor pushed."""
MAX_INDEX: Final = 64 * 1024 * 1024
"""Bytes of the largest index that is read: one of a million versions, with what is known of them, has some 30 MB."""
_MAX_INDEX_VALUES: Final = 4 * MAX_ENTRIES
"""Values in an index: as Python's objects, this many take some 250 MB."""
_MAX_SIZE: Final = 2**63 - 1

_CLAIM: Final = "aioassets_claim"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_HEX: Final = re.compile(r"[0-9a-f]{0,256}")


def _typed(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"its {what} isn't of type {kind.__name__}")
    return value


def _rows(value: Any, what: str) -> list[Any]:
    rows: list[Any] = _typed(value, list, what)
    if len(rows) > MAX_ENTRIES:
        raise ValueError(f"its {what} has more than {MAX_ENTRIES:,} entries")
    return rows


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_typed(item, str, what) for item in _rows(value, what))


def _timestamp(text: Any) -> datetime:
    try:
        parsed = datetime.fromisoformat(_typed(text, str, "push_date"))
        parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        parsed.astimezone(UTC)  # raises where that is before the year 1, or after 9999
    except (ValueError, OverflowError):
        raise ValueError("its push_date isn't an ISO 8601 time") from None
    return parsed


def path_problem(path: str) -> str | None:
    """Why a relative path can't stand in a manifest, or `None` where it can."""
    if _CONTROL.search(path):
        return "it holds a control character"
    if "\\" in path:
        return "it holds a backslash"
    if _DRIVE.match(path):
        return "it begins like a Windows drive"
    segments = path.split("/")
    if not {"", ".", ".."}.isdisjoint(segments):
        return "it isn't a relative path of plain segments"
    try:
        nbytes = len(path.encode())
    except UnicodeEncodeError:
        return "it isn't valid UTF-8"
    if nbytes > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    if nbytes > MAX_SEGMENT_BYTES and any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return f"it has a segment of more than {MAX_SEGMENT_BYTES} bytes"
    return None


def _check_paths(files: Sequence[str], folders: Sequence[str]) -> None:
    for kind, paths in (("path", files), ("folder", folders)):
        for path in paths:
            if (problem := path_problem(path)) is not None:
                raise ValueError(f"it lists the {kind} {shown(path)}: {problem}")
        is_ascending = all(path < following for path, following in pairwise(paths))  # as ours are: no set is needed
        if not is_ascending and len(set(paths)) != len(paths):
            raise ValueError(f"it lists the {kind} {shown(_repeated(paths))} twice")
    if both := {*folders, *inner_folders(files, folders)}.intersection(files):
        raise ValueError(f"it lists {shown(min(both))} both as a file and as a folder")


def _repeated(paths: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(path for path in paths if path in seen or seen.add(path))  # type: ignore[func-returns-value]


def inner_folders(files: Sequence[str], empty_directories: Sequence[str]) -> set[str]:
    """The folders that something is in; raises `ValueError` where a version would have too much of either."""
    found: set[str] = set()
    for path in chain(files, empty_directories):
        for folder in parents(path):
            if folder in found:
                break
            found.add(folder)
        if len(found) > MAX_ENTRIES:
            break
    if max(len(found), len(files) + len(empty_directories)) > MAX_ENTRIES:
        raise ValueError(f"it has more than {MAX_ENTRIES:,} files or folders")
    return found


def parents(path: str) -> Iterator[str]:
    """The folders above a relative path, innermost first."""
    while (cut := path.rfind("/")) > 0:
        path = path[:cut]
        yield path


def _entry(value: Any) -> FileEntry:
    entry = _typed(value, dict, "file entry")
    size = entry.get("size")
    if size is not None and not 0 <= _typed(size, int, "file size") <= _MAX_SIZE:
        raise ValueError(f"it lists a file size {'that is negative' if size < 0 else 'of more than 2**63 bytes'}")
    digests = _typed(entry.get("digests", {}), dict, "digests")
    if not all(_HEX.fullmatch(_typed(digest, str, "digest")) for digest in digests.values()):
        raise ValueError("it lists a digest that isn't lower-case hex")
    return FileEntry(
        path=_typed(entry.get("path"), str, "file path"),
        size=size,
        digests=digests,
        executable=_typed(entry.get("executable", False), bool, "executable flag"),
    )


@dataclass(frozen=True, slots=True)
class Pusher:
    """Who pushed, and from where; either may be withheld."""

    user: str | None = None
    host: str | None = None

    def to_json(self) -> dict[str, str]:
        """As a JSON value, without what is withheld."""
        return {key: value for key, value in (("user", self.user), ("host", self.host)) if value is not None}

    def __str__(self) -> str:
        shown = (part if part.isprintable() else repr(part) for part in (self.user, self.host) if part)
        return "@".join(shown) or "somebody"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sealed `.meta` holds: one complete version.

    Attributes:
        push_date: when it was sealed, by the pusher's clock, with a time zone.
        is_directory: whether the asset is a directory tree.
        files: sorted by path; exactly one, with an empty path, for a file asset.
        empty_directories: sorted relative paths.
        pushed_by: who pushed it, where known.
        tool: which program pushed it, like `aioassets/0.1.0`; `None` for modelkit.
        message: free text of the pusher.
        labels: key-value pairs of the pusher.
        token: tells this push from any other; `None` for modelkit.
    """

    push_date: datetime
    is_directory: bool
    files: Sequence[FileEntry]
    empty_directories: tuple[str, ...] = ()
    pushed_by: Pusher = field(default_factory=Pusher)
    tool: str | None = None
    message: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", self.table)

    @property
    def table(self) -> FileTable:
        """Its files, as they are kept."""
        return self.files if isinstance(self.files, FileTable) else FileTable(self.files)

    @property
    def size(self) -> int | None:
        """Bytes in all, or `None` where modelkit pushed it."""
        return self.table.total

    @property
    def verifiable(self) -> bool:
        """Whether each file has a digest that it can be verified by here."""
        return None not in self._best()

    @property
    def verified_by(self) -> tuple[str, ...]:
        """The algorithms that its files can be verified by here, strongest first."""
        used = self._best()
        return tuple(algorithm for algorithm in PREFERRED if algorithm in used)

    def _best(self) -> set[str | None]:
        return {best_of(algorithms) for algorithms in self.table.algorithms}

    def text(self) -> bytes | LongText:
        """The manifest as stored; modelkit reads the first three fields."""
        return text_of(self._fields)

    def write_to(self, file: BinaryIO) -> None:
        """Write it as it is stored."""
        file.writelines(gathered(pieces(self._fields())))

    def _fields(self) -> dict[str, Any]:
        value: dict[str, Any] = {"push_date": self.push_date.isoformat(), "is_directory": self.is_directory}
        if self.is_directory:
            value["contents"] = iter(self.table.paths)
        value["files"] = (file.to_json() for file in self.files)
        if self.empty_directories:
            value["empty_directories"] = iter(self.empty_directories)
        optional = {
            "pushed_by": self.pushed_by.to_json(),
            "tool": self.tool,
            "message": self.message,
            "labels": dict(self.labels),
            "token": self.token,
        }
        return value | {key: item for key, item in optional.items() if item}

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Parse a sealed `.meta`; raises `ValueError`."""
        return cls._from_fields(_fields_of(data))

    @classmethod
    def _from_fields(cls, value: dict[str, Any]) -> Manifest:
        is_directory = _typed(value.get("is_directory"), bool, "is_directory")
        contents = list(_texts(value.get("contents", []), "contents")) if is_directory else [""]
        files = value.get("files")
        if files is None:
            files = FileTable(map(FileEntry, contents))
        elif files.paths != contents and sorted(files.paths) != sorted(contents):
            raise ValueError("its contents and its files don't name the same paths")
        folders = _texts(value.get("empty_directories", []), "empty_directories")
        if is_directory:
            _check_paths(files.paths, folders)
        elif folders:
            raise ValueError("it is of a file, but lists other files or folders")
        pushed_by = _typed(value.get("pushed_by", {}), dict, "pushed_by")
        labels = _typed(value.get("labels", {}), dict, "labels")
        return cls(
            push_date=_timestamp(value.get("push_date")),
            is_directory=is_directory,
            files=files,
            empty_directories=folders,
            pushed_by=Pusher(_optional(pushed_by, "user"), _optional(pushed_by, "host")),
            tool=_optional(value, "tool"),
            message=_optional(value, "message"),
            labels={key: _typed(item, str, "label") for key, item in labels.items()},
            token=_optional(value, "token"),
        )


def _fields_of(data: bytes) -> dict[str, Any]:
    """The fields of a `.meta`; its files are parsed one by one, so that they never all are there as JSON values."""
    reader = Reader(data)
    fields: dict[str, Any] = {}
    for key in reader.fields():
        is_table = key == "files" and _CLAIM not in fields
        fields[key] = _files(reader, fields.get("contents")) if is_table else reader.value()
    return fields


def _files(reader: Reader, contents: Any) -> FileTable:
    rows = reader.items()
    if rows is None:
        raise ValueError("its files isn't of type list")
    return FileTable(_entries(rows, contents if isinstance(contents, list) else []))


def _entries(rows: Iterator[Any], contents: Sequence[Any]) -> Iterator[FileEntry]:
    """Parse file entries; a path that is in the contents as well is kept in memory once."""
    for number, row in enumerate(rows):
        if number == MAX_ENTRIES:
            raise ValueError(f"its files has more than {MAX_ENTRIES:,} entries")
        if isinstance(row, dict) and number < len(contents) and contents[number] == row.get("path"):
            row["path"] = contents[number]
        yield _entry(row)


def _optional(value: Mapping[str, Any], key: str) -> str | None:
    item = value.get(key)
    return None if item is None else str(_typed(item, str, key))


class ClaimState(enum.Enum):
    """Where a `.meta` that isn't sealed stands in its life."""

    CLAIMED = "claimed"
    """A push holds the number, or died holding it."""
    ABANDONED = "abandoned"
    """The push gave up; content may be left, or still arrive."""
    RELEASED = "released"
    """The push gave up and left nothing: the number may be claimed again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The content of a `.meta` before it is sealed: one push reserves one version number.

    Attributes:
        token: tells this push from any other.
        operation: `create`, `update` or `bump_major`.
        fingerprint: of the source (paths, sizes, times of change).
        machine: a digest that is equal for processes that can see one another.
        pid: the pusher's process, on that machine.
        started: when that process started, as the system tells it; tells reused pids apart.
        holder: who pushes, for people.
        state: where it stands.
        renewals: how often it was renewed; makes each renewal another content.
    """

    token: str
    operation: str
    fingerprint: str
    machine: str
    pid: int
    started: str
    holder: Pusher = field(default_factory=Pusher)
    state: ClaimState = ClaimState.CLAIMED
    renewals: int = 0

    def renewed(self) -> Claim:
        """The same claim, once more."""
        return replace(self, renewals=self.renewals + 1)

    def in_state(self, state: ClaimState) -> Claim:
        """The same claim in another state."""
        return replace(self, state=state)

    def to_json(self) -> bytes:
        """The claim as stored; it has none of the fields by which modelkit knows a manifest."""
        claim = {
            "state": self.state.value,
            "token": self.token,
            "operation": self.operation,
            "fingerprint": self.fingerprint,
            "machine": self.machine,
            "pid": self.pid,
            "started": self.started,
            "holder": self.holder.to_json(),
            "renewals": self.renewals,
        }
        return dump({_CLAIM: claim})

    @classmethod
    def _from_value(cls, value: Any) -> Claim:
        claim = _typed(value, dict, "claim")
        holder = _typed(claim.get("holder", {}), dict, "holder")
        try:
            state = ClaimState(claim.get("state"))
        except ValueError:
            raise ValueError("its claim is in an unknown state") from None
        return cls(
            token=_typed(claim.get("token"), str, "token"),
            operation=_typed(claim.get("operation"), str, "operation"),
            fingerprint=_typed(claim.get("fingerprint"), str, "fingerprint"),
            machine=_typed(claim.get("machine"), str, "machine"),
            pid=_typed(claim.get("pid"), int, "pid"),
            started=_typed(claim.get("started"), str, "started"),
            holder=Pusher(_optional(holder, "user"), _optional(holder, "host")),
            state=state,
            renewals=_typed(claim.get("renewals", 0), int, "renewals"),
        )


def parse_meta(data: bytes) -> Manifest | Claim:
    """Tell a sealed `.meta` from a claim; raises `ValueError` where it is neither."""
    value = _fields_of(data)
    if _CLAIM in value:
        return Claim._from_value(value[_CLAIM])  # noqa: SLF001 - one module, one format
    return Manifest._from_fields(value)  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class VersionIndex:
    """What a `.versions` object holds.

    Attributes:
        versions: latest first, as listed.
        extra: fields that we don't know, kept when the index is rewritten.
    """

    versions: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def with_versions(self, versions: Sequence[str]) -> VersionIndex:
        """The same index with other versions."""
        return replace(self, versions=tuple(versions))

    def to_json(self) -> bytes:
        """The index as stored."""
        return dump({**self.extra, "versions": list(self.versions)})

    @classmethod
    def from_json(cls, data: bytes) -> VersionIndex:
        """Parse an index; raises `ValueError`."""
        value = load(data, _MAX_INDEX_VALUES)
        if "versions" not in value:
            raise ValueError("it has no versions")
        versions = _texts(value.pop("versions"), "versions")
        for version in versions:
            if (problem := version_problem(version)) is not None:
                raise ValueError(f"it lists the version {shown(version)}: {problem}")
        return cls(tuple(dict.fromkeys(versions)), value)
