"""Content-defined chunks of large files, and the `.chunks` document that lists them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, Final, Self, overload

from aioassets.model.fields import MAX_ENTRIES, typed
from aioassets.model.jsontext import Reader, dump, no_check, quoted
from aioassets.model.paths import path_problem

DIGEST_BYTES: Final = 32
"""Length of the digest of a chunk in bytes, with any algorithm."""
MAX_CHUNKS: Final = 4_000_000
"""Maximum number of chunks in a document. The files of this many chunks have about 1 TiB."""
_MAX_LENGTH: Final = 2**32 - 1
_MAX_NAME: Final = 100
"""Maximum number of characters in the name of an algorithm."""
_KIB: Final = 1024
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a file, whose boundaries depend only on the bytes around them.

    Attributes:
        offset: the position in the file in bytes.
        length: the length in bytes.
        digest: the digest of its bytes.
    """

    offset: int
    length: int
    digest: bytes

    @property
    def stop(self) -> int:
        """The position of the first byte after the chunk."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Chunking:
    """The rules by which files are divided into chunks. All sizes are in bytes.

    Attributes:
        algorithm: the algorithm that finds the boundaries.
        min_size: the minimum size of each chunk except the last one of a file.
        average_size: the size that most chunks are close to.
        max_size: the maximum size of a chunk.
        digest: the algorithm that identifies chunks. Only lists with the same digest algorithm can be compared.
        threshold: the minimum size of a file that has chunks.
    """

    algorithm: str
    min_size: int
    average_size: int
    max_size: int
    digest: str
    threshold: int

    def to_json(self) -> dict[str, Any]:
        """Return the rules as a JSON object."""
        return asdict(self)

    @classmethod
    def from_value(cls, value: Any) -> Chunking:
        """Create rules from a JSON object, or raise `ValueError` if they are invalid."""
        given = typed(value, dict, "chunking")
        names = {name: typed(given.get(name), str, name) for name in ("algorithm", "digest")}
        for name, text in names.items():
            if not (0 < len(text) <= _MAX_NAME and text.isascii() and text.isprintable()):
                raise ValueError(f"its {name} is not a valid name: {quoted(text)}")
        sizes = {
            name: typed(given.get(name), int, name) for name in ("min_size", "average_size", "max_size", "threshold")
        }
        if not 0 < sizes["min_size"] <= sizes["average_size"] <= sizes["max_size"] <= _MAX_LENGTH:
            raise ValueError("its sizes of chunks are not in ascending order between 1 and 2**32 - 1")
        if sizes["threshold"] < 0:
            raise ValueError("its threshold is negative")
        return cls(**names, **sizes)


CHUNKING: Final = Chunking("fastcdc-2020-nc2", 64 * _KIB, 256 * _KIB, _MIB, "blake3", 16 * _MIB)
"""The rules for new versions. `docs/adr/0035-chunks.md` gives the measurements that they are based on."""


class ChunkList(Sequence[Chunk]):
    """The chunks of one file in the order of their offsets, stored in columns. A chunk takes 44 bytes.

    Args:
        lengths: the lengths of the chunks in bytes.
        digests: the digests of the chunks, concatenated.

    Raises:
        ValueError: if a length isn't between 1 and 2**32 - 1, or the number of digests is another one.
    """

    __slots__ = ("_digests", "_lengths", "_offsets", "size")

    size: int
    """The size of the file in bytes."""

    def __init__(self, lengths: Iterable[int], digests: bytes | bytearray) -> None:
        try:
            self._lengths = array("I", lengths)
        except (OverflowError, TypeError):
            raise ValueError("it lists a length of a chunk that isn't between 1 and 2**32 - 1") from None
        if 0 in self._lengths:
            raise ValueError("it lists a chunk without bytes")
        if len(digests) != DIGEST_BYTES * len(self._lengths):
            raise ValueError("it lists more or fewer digests than lengths of chunks")
        self._digests = bytes(digests)
        self._offsets = array("Q", accumulate(self._lengths, initial=0))
        self.size = self._offsets.pop()

    @property
    def offsets(self) -> Sequence[int]:
        """The offsets of all chunks in bytes, in ascending order."""
        return self._offsets

    @property
    def longest(self) -> int:
        """The length of the longest chunk in bytes; 0 if there are none."""
        return max(self._lengths, default=0)

    def digest(self, number: int) -> bytes:
        """Return the digest of the chunk with the given number, which must not be negative."""
        return self._digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, number: int) -> Chunk: ...

    @overload
    def __getitem__(self, number: slice) -> tuple[Chunk, ...]: ...

    def __getitem__(self, number: int | slice) -> Chunk | tuple[Chunk, ...]:
        numbers = range(len(self))[number]
        return tuple(map(self._chunk, numbers)) if isinstance(numbers, range) else self._chunk(numbers)

    def __iter__(self) -> Iterator[Chunk]:
        return map(self._chunk, range(len(self)))

    def _chunk(self, number: int) -> Chunk:
        return Chunk(self._offsets[number], self._lengths[number], self.digest(number))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChunkList):
            return NotImplemented
        return (self._lengths, self._digests) == (other._lengths, other._digests)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} chunks>"

    def to_json(self) -> dict[str, Any]:
        """Return the list as a JSON object."""
        digests = base64.b64encode(self._digests).decode()
        return {"size": self.size, "lengths": self._lengths.tolist(), "digests": digests}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Create a list from a JSON object, or raise `ValueError` if it is invalid."""
        lengths = typed(value.get("lengths"), list, "lengths")
        if not all(type(length) is int for length in lengths):
            raise ValueError("its lengths must be integers")
        found = cls(lengths, _decoded(typed(value.get("digests"), str, "digests")))
        if found.size != typed(value.get("size"), int, "file size"):
            raise ValueError(f"its chunks have {found.size} bytes in total, which isn't the size of their file")
        return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its digests aren't valid base64") from None


@dataclass(frozen=True, slots=True)
class ChunkTable:
    """The chunks of all large files in a version: the content of a `.chunks` document.

    Attributes:
        files: the chunks by path; the path of a file asset is empty.
        chunking: the rules by which the files were divided.

    Raises:
        ValueError: if there are too many chunks, or one is longer than the rules allow.
    """

    files: Mapping[str, ChunkList] = field(default_factory=dict)
    chunking: Chunking = CHUNKING

    def __post_init__(self) -> None:
        if sum(map(len, self.files.values())) > MAX_CHUNKS:
            raise ValueError(f"it has more than {MAX_CHUNKS:,} chunks")
        if any(chunks.longest > self.chunking.max_size for chunks in self.files.values()):
            raise ValueError(f"it lists a chunk of more than {self.chunking.max_size:,} bytes")

    def of(self, path: str, size: int | None) -> ChunkList | None:
        """Return the chunks of a file, or `None` if there are none for a file of this size."""
        chunks = self.files.get(path)
        return None if chunks is None or chunks.size != size else chunks

    def is_comparable(self, other: ChunkTable) -> bool:
        """Return whether the digests of both tables have the same algorithm."""
        return self.chunking.digest == other.chunking.digest

    def to_json(self) -> bytes:
        """Return the table as a JSON document."""
        return dump(self.to_fields())

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of the JSON document, with an iterator in place of the long array."""
        rows = ({"path": path, **self.files[path].to_json()} for path in sorted(self.files))
        return {"chunking": self.chunking.to_json(), "files": rows}

    @classmethod
    def from_json(cls, data: bytes, check: Callable[[], None] = no_check) -> ChunkTable:
        """Parse a `.chunks` document, or raise `ValueError` if it is invalid.

        Args:
            data: the document.
            check: a function that is called regularly and may raise an exception to stop parsing.
        """
        reader = Reader(data, check, MAX_CHUNKS + 4 * MAX_ENTRIES)
        files: dict[str, ChunkList] = {}
        chunking: Any = None
        for key in reader.fields():
            if key == "files":
                files = _files(reader)
            elif key == "chunking":
                chunking = reader.value()
            else:
                reader.value()
        return cls(files, Chunking.from_value(chunking))

    @classmethod
    def recorded(cls, data: bytes, digest: str, check: Callable[[], None] = no_check) -> ChunkTable:
        """Parse a `.chunks` document, or raise `ValueError` if it isn't the one that a manifest records.

        Args:
            data: the document.
            digest: its digest according to the manifest; see `document_digest`.
            check: a function that is called regularly and may raise an exception to stop parsing.
        """
        if (found := document_digest(data)) != digest:
            raise ValueError(f"its SHA-256 is {found}, but the manifest records {quoted(digest)}")
        return cls.from_json(data, check)


def document_digest(data: bytes) -> str:
    """Return the digest of a `.chunks` document that a manifest records: its SHA-256 in lowercase hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _files(reader: Reader) -> dict[str, ChunkList]:
    rows = reader.items()
    if rows is None:
        raise ValueError("its files must be a list")
    files: dict[str, ChunkList] = {}
    count = 0
    for row in rows:
        path = _path(typed(row, dict, "file entry").get("path"))
        if path in files:
            raise ValueError(f"it lists the path {quoted(path)} twice")
        files[path] = ChunkList.from_value(row)
        count += len(files[path])
        if len(files) > MAX_ENTRIES or count > MAX_CHUNKS:
            raise ValueError(f"it has more than {MAX_ENTRIES:,} files or {MAX_CHUNKS:,} chunks")
    return files


def _path(value: Any) -> str:
    path: str = typed(value, str, "file path")
    if path and (problem := path_problem(path)) is not None:
        raise ValueError(f"it lists the path {quoted(path)}: {problem}")
    return path
