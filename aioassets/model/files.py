"""File entries, and compact tables for up to a million of them."""

from __future__ import annotations

import re
from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self, TypeVar, overload

from aioassets.model.digests import SHA256

__all__ = ["FileEntry"]

T = TypeVar("T")

SHA256_BYTES: Final = 32
"""Length of a SHA-256 digest in bytes."""
_NONE: Final = bytes(SHA256_BYTES)
_UNKNOWN: Final = -1
_REVISION: Final = re.compile(r"[!-~]{1,128}")
_PLACE: Final = 256
"""Factor of the offset in the place of a revision. The rest is its length."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Metadata of one file in a version.

    Attributes:
        path: the path relative to the asset, with `/` as the separator; empty for a file asset.
        size: the size in bytes; `None` if modelkit pushed the file.
        digests: lowercase hexadecimal digests by algorithm; empty if modelkit pushed the file.
        executable: whether the file's owner may execute it.
        revision: the revision of the file's object when it was stored, with which a later push has the store copy it;
            `None` if it wasn't recorded, as for small files. It isn't compared, because it doesn't describe content.
    """

    path: str
    size: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    executable: bool = False
    revision: str | None = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        value: dict[str, Any] = {"path": self.path, "size": self.size, "digests": dict(self.digests)}
        if self.executable:
            value["executable"] = True
        if self.revision is not None:
            value["revision"] = self.revision
        return value


class DigestColumn:
    """The digests of many files, by row number.

    A row takes 32 bytes if it contains only a SHA-256 digest, as most rows do.

    Args:
        count: the initial number of rows, which contain no digests.
    """

    __slots__ = ("_others", "_sha256")

    def __init__(self, count: int = 0) -> None:
        self._sha256 = bytearray(count * SHA256_BYTES)
        self._others: dict[int, Mapping[str, str]] = {}

    def append(self, digests: Mapping[str, str]) -> None:
        """Append a row."""
        packed = _packed(digests)
        if packed is None:
            self._others[len(self)] = digests
        self._sha256 += packed or _NONE

    def __len__(self) -> int:
        return len(self._sha256) // SHA256_BYTES

    def __getitem__(self, number: int) -> Mapping[str, str]:
        if (others := self._others.get(number)) is not None:
            return others
        sha256 = self._sha256[_slice_of(number)]
        return {SHA256: sha256.hex()} if sha256 != _NONE else {}

    def __setitem__(self, number: int, digests: Mapping[str, str]) -> None:
        packed = _packed(digests)
        self._sha256[_slice_of(number)] = packed or _NONE
        if packed is None:
            self._others[number] = digests
        else:
            self._others.pop(number, None)

    @classmethod
    def of_sha256(cls, packed: bytes) -> Self:
        """Return a column with these SHA-256 digests, which are concatenated."""
        column = cls()
        column._sha256 += packed
        return column

    @property
    def all_sha256(self) -> bytes | None:
        """The SHA-256 digests of all rows, concatenated; `None` if any row has another digest or none."""
        packed = bytes(self._sha256)
        numbers = range(0, len(packed), SHA256_BYTES)
        return None if self._others or any(packed.startswith(_NONE, number) for number in numbers) else packed

    @property
    def algorithms(self) -> set[tuple[str, ...]]:
        """The distinct combinations of algorithms that occur in the rows."""
        packed = {self._sha256[_slice_of(number)] != _NONE for number in range(len(self)) if number not in self._others}
        return {tuple(digests) for digests in self._others.values()} | {(SHA256,) if known else () for known in packed}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DigestColumn):
            return NotImplemented
        return (self._sha256, self._others) == (other._sha256, other._others)

    __hash__ = None  # type: ignore[assignment]


def _slice_of(number: int) -> slice:
    """Return the slice of the SHA-256 column that belongs to a row."""
    return slice(number * SHA256_BYTES, (number + 1) * SHA256_BYTES)


def _packed(digests: Mapping[str, str]) -> bytes | None:
    """Return the 32 bytes for a row with only a SHA-256 digest or no digest at all, or `None` for any other row."""
    if not digests:
        return _NONE
    sha256 = digests.get(SHA256, "")
    if len(digests) > 1 or len(sha256) != 2 * SHA256_BYTES:
        return None
    try:
        packed = bytes.fromhex(sha256)
    except ValueError:
        return None
    return packed if packed != _NONE and packed.hex() == sha256 else None


class RevisionColumn:
    """The revisions of some files' objects, by row number. A row takes 8 bytes plus its text; trailing rows none."""

    __slots__ = ("_places", "_texts")

    def __init__(self) -> None:
        self._texts = bytearray()
        self._places = array("Q")

    def __getitem__(self, number: int) -> str | None:
        place = self._places[number] if number < len(self._places) else 0
        start, length = divmod(place, _PLACE)
        return self._texts[start : start + length].decode("ascii") if length else None

    def __setitem__(self, number: int, revision: str | None) -> None:
        if revision is None or not is_revision(revision):
            return
        if (missing := number + 1 - len(self._places)) > 0:
            self._places.frombytes(bytes(missing * self._places.itemsize))
        self._places[number] = len(self._texts) * _PLACE + len(revision)
        self._texts += revision.encode("ascii")


def is_revision(text: str) -> bool:
    """Return whether a manifest may record a text as a revision: at most 128 printable ASCII characters, no spaces."""
    return _REVISION.fullmatch(text) is not None


class _File(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def executable(self) -> bool: ...


class Table(Sequence[T]):
    """A sequence of files that is stored in columns. The objects for its rows are created on access."""

    __slots__ = ("_paths",)

    def __init__(self) -> None:
        self._paths: list[str] = []

    @property
    def paths(self) -> Sequence[str]:
        """The paths of all rows."""
        return self._paths

    @abstractmethod
    def _row(self, number: int) -> T:
        """Return the row with the given number, which must be in range and not negative."""

    @overload
    def __getitem__(self, number: int) -> T: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[T, ...]: ...

    def __getitem__(self, number: int | slice) -> T | tuple[T, ...]:
        numbers = range(len(self))[number]
        return tuple(map(self._row, numbers)) if isinstance(numbers, range) else self._row(numbers)

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[T]:
        return map(self._row, range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self):,} rows>"


class FileTable(Table[FileEntry]):
    """The files of a version, stored in columns. A row takes 41 bytes plus its path.

    Args:
        entries: the initial rows.
    """

    __slots__ = ("_digests", "_executable", "_revisions", "_sizes")

    def __init__(self, entries: Iterable[FileEntry] = ()) -> None:
        super().__init__()
        self._sizes = array("q")
        self._executable = bytearray()
        self._digests = DigestColumn()
        self._revisions = RevisionColumn()
        for number, entry in enumerate(entries):
            self._add(entry)
            self._digests.append(entry.digests)
            self._revisions[number] = entry.revision

    @classmethod
    def of(cls, files: Iterable[_File], digests: DigestColumn, revisions: RevisionColumn | None = None) -> Self:
        """Return a table that combines files with a column of their digests, and one of their revisions."""
        table = cls()
        for file in files:
            table._add(file)
        table._digests = digests
        table._revisions = revisions or RevisionColumn()
        return table

    def _add(self, file: _File) -> None:
        self._paths.append(file.path)
        self._sizes.append(_UNKNOWN if file.size is None else file.size)
        self._executable.append(file.executable)

    @property
    def sizes(self) -> Iterator[int | None]:
        """The file sizes in bytes, with `None` for each unknown size."""
        return (None if size == _UNKNOWN else size for size in self._sizes)

    def has_columns(self, paths: Sequence[str], sizes: array[int], executable: bytearray) -> bool:
        """Return whether the rows have these paths, sizes and modes."""
        these = (self._paths, self._sizes.tolist(), self._executable)
        return these == (paths, sizes.tolist(), executable)

    def has_digests(self, digests: DigestColumn) -> bool:
        """Return whether the rows have these digests, and no others."""
        return self._digests == digests

    @property
    def sha256s(self) -> Iterator[str | None]:
        """The SHA-256 digests of the files, with `None` for each unknown one."""
        return (self._digests[number].get(SHA256) for number in range(len(self)))

    @property
    def total(self) -> int | None:
        """The total size in bytes, or `None` if any size is unknown."""
        return None if _UNKNOWN in self._sizes else sum(self._sizes)

    @property
    def algorithms(self) -> set[tuple[str, ...]]:
        """The distinct combinations of digest algorithms that occur in the rows."""
        return self._digests.algorithms

    def _row(self, number: int) -> FileEntry:
        size = self._sizes[number]
        return FileEntry(
            self._paths[number],
            None if size == _UNKNOWN else size,
            self._digests[number],
            bool(self._executable[number]),
            self._revisions[number],
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileTable):
            return NotImplemented
        these = (self._paths, self._sizes, self._digests, self._executable)
        return these == (other._paths, other._sizes, other._digests, other._executable)

    __hash__ = None  # type: ignore[assignment]
