"""A long JSON document that is encoded each time it is sent, so that it is never in memory whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aioassets.model.jsontext import dump_chunks
from aioassets.runtime.threads import coalesced


@dataclass(frozen=True, slots=True)
class StreamedJson:
    """JSON of an object that is made anew whenever it is read, so that it never is in memory whole.

    Attributes:
        fields: makes the object, the same each time; an iterator in it becomes a list.
        size: bytes of the JSON.
        sha256: in lower-case hex.
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
    """JSON of an object, which is made anew whenever it is read where it is more than a MiB."""
    size, digest, short = 0, hashlib.sha256(), b""
    for chunk in coalesced(dump_chunks(fields())):
        short = b"" if size else chunk
        size += len(chunk)
        digest.update(chunk)
    return short or StreamedJson(fields, size, digest.hexdigest())
