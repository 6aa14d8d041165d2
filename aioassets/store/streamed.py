"""Long JSON documents that are encoded each time they are sent, to save memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aioassets.model.jsontext import dump_chunks
from aioassets.runtime.threads import coalesced


@dataclass(frozen=True, slots=True)
class StreamedJson:
    """A JSON document that is encoded each time it is read.

    Attributes:
        fields: a function that returns the same fields each time, with new iterators in place of long arrays.
        size: the size of the encoded document in bytes.
        sha256: the SHA-256 digest of the encoded document, in lowercase hexadecimal.
    """

    fields: Callable[[], Mapping[str, Any]]
    size: int
    sha256: str

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        return dump_chunks(self.fields())

    def __bytes__(self) -> bytes:
        return b"".join(coalesced(self))


def encoded(fields: Callable[[], Mapping[str, Any]]) -> bytes | StreamedJson:
    """Encode an object as JSON. Return bytes, or a streamed document if the JSON is larger than about 1 MiB."""
    size, digest, short = 0, hashlib.sha256(), b""
    for chunk in coalesced(dump_chunks(fields())):
        short = b"" if size else chunk
        size += len(chunk)
        digest.update(chunk)
    return short or StreamedJson(fields, size, digest.hexdigest())
