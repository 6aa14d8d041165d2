"""The manifest of a sealed version, and its JSON form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from aioassets.model.arguments import check_optional_text, check_text
from aioassets.model.claim import CLAIM_FIELD
from aioassets.model.digests import PREFERRED, best_of
from aioassets.model.fields import MAX_ENTRIES, optional_text, texts_of, timestamp, typed
from aioassets.model.files import SHA256_BYTES, FileEntry, FileTable, is_revision
from aioassets.model.jsontext import Reader, dump, no_check, quoted
from aioassets.model.marks import Mark
from aioassets.model.origin import Origin
from aioassets.model.paths import check_paths
from aioassets.model.pusher import Pusher

__all__ = ["Manifest"]

_MAX_SIZE: Final = 2**63 - 1
_HEX: Final = re.compile(r"[0-9a-f]{0,256}")
_STATES: Final = {True: "yanked", False: "restored"}
_KNOWN: Final = frozenset(
    (
        *("push_date", "is_directory", "contents", "files", "empty_directories", "pushed_by", "tool", "message"),
        *("labels", "token", "content_digest", "chunks_digest", "origin", "mark"),
    )
)
"""Fields that this version of aioassets understands."""


def _entry(value: Any) -> FileEntry:
    entry = typed(value, dict, "file entry")
    size = entry.get("size")
    if size is not None and not 0 <= typed(size, int, "file size") <= _MAX_SIZE:
        raise ValueError(f"it lists a file size that is {'negative' if size < 0 else '2**63 bytes or more'}")
    digests = typed(entry.get("digests", {}), dict, "digests")
    if not all(_HEX.fullmatch(typed(digest, str, "digest")) for digest in digests.values()):
        raise ValueError("it lists a digest that isn't lowercase hexadecimal")
    revision = entry.get("revision")
    if revision is not None and not is_revision(typed(revision, str, "revision")):
        raise ValueError("it lists a revision that isn't 1 to 128 printable ASCII characters")
    return FileEntry(
        path=typed(entry.get("path"), str, "file path"),
        size=size,
        digests=digests,
        executable=typed(entry.get("executable", False), bool, "executable flag"),
        revision=revision,
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of one complete version: the content of a sealed `.meta`.

    Attributes:
        push_date: the time at which the version was sealed, by the pusher's clock; always timezone-aware.
        is_directory: whether the asset is a directory.
        files: the files, sorted by path; a file asset has exactly one, with an empty path.
        empty_directories: the relative paths of empty directories, sorted.
        pushed_by: the user and host that pushed, if known.
        tool: the program that pushed, such as `aioassets/0.1.0`; `None` if it was modelkit.
        message: the pusher's message.
        labels: the pusher's labels.
        token: a random identifier of the push; `None` if modelkit pushed the version.
        content_digest: the content digest (see `model.content.content_digest`); `None` if it can't be computed.
        chunks_digest: the SHA-256 of the version's `.chunks` in lowercase hexadecimal; `None` if it has none.
        origin: the version that this one was copied from; `None` if it was pushed.
        mark: who last yanked or restored the version, when and why; `None` if it was never yanked.
        is_yanked: whether the version is yanked.
        extra: unknown fields, which are kept when the manifest is rewritten.

    Raises:
        UsageError: if the message, a label, the tool or the token isn't valid text.
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
    content_digest: str | None = None
    chunks_digest: str | None = None
    origin: Origin | None = None
    mark: Mark | None = field(default=None, compare=False)
    is_yanked: bool = field(default=False, compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", self.table)
        for what in ("tool", "message", "token"):
            check_optional_text(getattr(self, what), what)
        for key, text in self.labels.items():
            check_text(key, "key of a label")
            check_text(text, f"label {quoted(key)}")

    @property
    def table(self) -> FileTable:
        """The files as a table."""
        return self.files if isinstance(self.files, FileTable) else FileTable(self.files)

    @property
    def size(self) -> int | None:
        """The total size in bytes, or `None` if modelkit pushed the version."""
        return self.table.total

    @property
    def verifiable(self) -> bool:
        """Whether every file has a digest whose algorithm can be computed on this machine."""
        return None not in self._best()

    @property
    def verified_by(self) -> tuple[str, ...]:
        """The algorithms used to verify the files on this machine, strongest first."""
        used = self._best()
        return tuple(algorithm for algorithm in PREFERRED if algorithm in used)

    def _best(self) -> set[str | None]:
        return {best_of(algorithms) for algorithms in self.table.algorithms}

    def to_json(self) -> bytes:
        """Return the manifest as a JSON document. modelkit reads only the first three fields."""
        return dump(self.to_fields())

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of the JSON document, with iterators in place of long arrays."""
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
            "content_digest": self.content_digest,
            "chunks_digest": self.chunks_digest,
            "origin": None if self.origin is None else self.origin.to_json(),
            "mark": self._mark_json(),
        }
        return value | {key: item for key, item in optional.items() if item} | dict(self.extra)

    def _mark_json(self) -> dict[str, Any] | None:
        return None if self.mark is None else {"state": _STATES[self.is_yanked], **self.mark.to_json()}

    @property
    def yanked(self) -> Mark | None:
        """Who yanked the version, when and why; `None` if it isn't yanked."""
        return self.mark if self.is_yanked else None

    def marked(self, mark: Mark, *, yanked: bool) -> Manifest:
        """Return a copy of the manifest that marks the version as yanked or restored."""
        return replace(self, mark=mark, is_yanked=yanked)

    @classmethod
    def from_json(cls, data: bytes, check: Callable[[], None] = no_check) -> Manifest:
        """Parse a sealed `.meta`, or raise `ValueError` if it is invalid."""
        return cls.from_fields(fields_of(data, check))

    @classmethod
    def from_fields(cls, value: dict[str, Any]) -> Manifest:
        """Create a manifest from parsed JSON fields, or raise `ValueError` if they are invalid."""
        mark, is_yanked = _mark(value.get("mark"))
        is_directory = typed(value.get("is_directory"), bool, "is_directory")
        contents = list(texts_of(value.get("contents", []), "contents")) if is_directory else [""]
        files = value.get("files")
        if files is None:
            files = FileTable(map(FileEntry, contents))
        elif files.paths != contents and sorted(files.paths) != sorted(contents):
            raise ValueError("its fields 'contents' and 'files' list different paths")
        folders = texts_of(value.get("empty_directories", []), "empty_directories")
        if is_directory:
            check_paths(files.paths, folders)
        elif folders:
            raise ValueError("it describes a single file, but lists empty folders")
        pushed_by = typed(value.get("pushed_by", {}), dict, "pushed_by")
        labels = typed(value.get("labels", {}), dict, "labels")
        return cls(
            push_date=timestamp(value.get("push_date"), "push_date"),
            is_directory=is_directory,
            files=files,
            empty_directories=folders,
            pushed_by=Pusher(optional_text(pushed_by, "user"), optional_text(pushed_by, "host")),
            tool=optional_text(value, "tool"),
            message=optional_text(value, "message"),
            labels={key: typed(item, str, "label") for key, item in labels.items()},
            token=optional_text(value, "token"),
            content_digest=optional_text(value, "content_digest"),
            chunks_digest=_chunks_digest(value),
            origin=None if value.get("origin") is None else Origin.from_value(value["origin"]),
            mark=mark,
            is_yanked=is_yanked,
            extra={key: item for key, item in value.items() if key not in _KNOWN},
        )


def _chunks_digest(value: Mapping[str, Any]) -> str | None:
    digest = optional_text(value, "chunks_digest")
    if digest is not None and not (len(digest) == 2 * SHA256_BYTES and _HEX.fullmatch(digest)):
        raise ValueError("its chunks_digest isn't a SHA-256 in lowercase hexadecimal")
    return digest


def _mark(value: Any) -> tuple[Mark | None, bool]:
    if value is None:
        return None, False
    state = typed(value, dict, "mark").get("state")
    if state not in _STATES.values():
        raise ValueError("its mark has an unknown state")
    return Mark.from_value(value, "mark"), state == _STATES[True]


def fields_of(data: bytes, check: Callable[[], None] = no_check) -> dict[str, Any]:
    """Parse the fields of a `.meta`. To save memory, file entries are parsed one by one into a table."""
    reader = Reader(data, check)
    fields: dict[str, Any] = {}
    for key in reader.fields():
        is_table = key == "files" and CLAIM_FIELD not in fields
        fields[key] = _files(reader, fields.get("contents")) if is_table else reader.value()
    return fields


def _files(reader: Reader, contents: Any) -> FileTable:
    rows = reader.items()
    if rows is None:
        raise ValueError("its files must be a list")
    return FileTable(_entries(rows, contents if isinstance(contents, list) else []))


def _entries(rows: Iterator[Any], contents: Sequence[Any]) -> Iterator[FileEntry]:
    """Parse file entries. To save memory, paths share their string objects with `contents`."""
    for number, row in enumerate(rows):
        if number == MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES:,} files")
        if isinstance(row, dict) and number < len(contents) and contents[number] == row.get("path"):
            row["path"] = contents[number]
        yield _entry(row)
