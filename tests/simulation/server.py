"""Simulated store in memory, which honours conditions and executes requests one after the other."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from aioassets.drivers.protocol import CommonPrefix, Document, Expect, ObjectInfo, OpenUpload, Revision
from aioassets.errors import ObjectNotFound, PreconditionFailed

BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
PAGE: Final = 4
"""Number of keys in one page of a listing."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """Behaviour of a store.

    Attributes:
        etags: whether a revision is a digest of the content, as on S3, instead of a unique number.
        checks_completion: whether copies, and the completion of a multipart upload, honour their condition.
        checksums: whether the store reports checksums.
    """

    etags: bool
    checks_completion: bool
    checksums: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """Object in the store."""

    data: bytes
    revision: Revision
    modified: datetime


@dataclass(slots=True)
class Upload:
    """Open multipart upload."""

    key: str
    begun: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


class Watcher(Protocol):
    """Observer of changes of objects."""

    def changed(self, key: str, before: bytes | None, after: bytes | None) -> None:
        """Handle a change, before the next request takes effect."""


class NoSuchUpload(Exception):
    """Upload that was completed or aborted."""


class Server:
    """Simulated store.

    Args:
        kinds: its behaviour.
        clock: a clock in seconds since the start of the run.
        watcher: the observer of changes.
    """

    def __init__(self, kinds: Kinds, clock: Callable[[], float], watcher: Watcher) -> None:
        self.kinds = kinds
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self._clock = clock
        self._watcher = watcher
        self._numbers = itertools.count(1)

    def now(self, skew: float = 0.0) -> datetime:
        """Return the time by a clock of the store with this error."""
        return BEGINNING + timedelta(seconds=int(self._clock() + skew))

    def read(self, key: str, skew: float) -> Document:
        found = self._get(key)
        return Document(found.data, found.revision, found.modified, self.now(skew))

    def stat(self, key: str) -> ObjectInfo:
        found = self._get(key)
        checksums = {"sha256": hashlib.sha256(found.data).hexdigest()} if self.kinds.checksums else {}
        return ObjectInfo(key, len(found.data), found.revision, found.modified, checksums)

    def write(self, key: str, data: bytes, expected: Revision | Expect, skew: float) -> Revision:
        found = self.objects.get(key)
        if expected is Expect.ABSENT:
            refused = found is not None
        else:
            refused = expected is not Expect.ANYTHING and (found is None or found.revision != expected)
        if refused:
            raise PreconditionFailed(key)
        return self._put(key, data, skew)

    def list(self, prefix: str, delimiter: str | None, after: str) -> list[ObjectInfo | CommonPrefix]:
        """Return one page of a listing."""
        found: list[ObjectInfo | CommonPrefix] = []
        for key in sorted(self.objects):
            if len(found) == PAGE:
                break
            if (
                key <= after
                or not key.startswith(prefix)
                or (delimiter and after.endswith(delimiter) and key.startswith(after))
            ):
                continue
            head, folded, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            item = CommonPrefix(prefix + head + folded) if folded else self.stat(key)
            if not found or found[-1] != item:
                found.append(item)
        return found

    def delete(self, key: str) -> None:
        if (found := self.objects.pop(key, None)) is not None:
            self._watcher.changed(key, found.data, None)

    def copy(self, source: str, revision: Revision, key: str, skew: float) -> ObjectInfo:
        """Copy one revision of an object, and honour the condition that there is none at the key, if any is honoured.

        Like `complete`, because stores that ignore the condition of one ignore that of the other as well.
        """
        found = self._get(source)
        if found.revision != revision:
            raise PreconditionFailed(source)
        self.write(key, found.data, Expect.ABSENT if self.kinds.checks_completion else Expect.ANYTHING, skew)
        return self.stat(key)

    def begin(self, key: str, skew: float) -> str:
        upload = f"upload{next(self._numbers)}"
        self.uploads[upload] = Upload(key, self.now(skew))
        return upload

    def send_part(self, upload: str, number: int, data: bytes) -> None:
        self._upload(upload).parts[number] = data

    def complete(self, upload: str, expected: Expect, skew: float) -> Revision:
        found = self._upload(upload)
        if not self.kinds.checks_completion:
            expected = Expect.ANYTHING
        data = b"".join(found.parts[number] for number in sorted(found.parts))
        revision = self.write(found.key, data, expected, skew)
        del self.uploads[upload]
        return revision

    def abort(self, upload: str) -> None:
        self.uploads.pop(upload, None)

    def open_uploads(self, prefix: str) -> Sequence[OpenUpload]:
        return [
            OpenUpload(each.key, name, each.begun) for name, each in self.uploads.items() if each.key.startswith(prefix)
        ]

    def _upload(self, upload: str) -> Upload:
        try:
            return self.uploads[upload]
        except KeyError:
            raise NoSuchUpload(upload) from None

    def _get(self, key: str) -> Stored:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFound(key) from None

    def _put(self, key: str, data: bytes, skew: float) -> Revision:
        before = self.objects.get(key)
        text = hashlib.md5(data, usedforsecurity=False).hexdigest() if self.kinds.etags else str(next(self._numbers))
        revision = Revision(text)
        self.objects[key] = Stored(data, revision, self.now(skew))
        self._watcher.changed(key, None if before is None else before.data, data)
        return revision
