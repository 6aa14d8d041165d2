"""Records in the assets directory: metadata of cached versions."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from aioassets.fetch.directory import IS_SPARE
from aioassets.model.jsontext import dump_chunks
from aioassets.model.manifest import Manifest
from aioassets.runtime.threads import check_cancelled, coalesced

_MANIFEST: Final = b',"manifest":'
"""The bytes before the manifest. They can't occur inside a JSON string, where quotation marks are escaped."""
_HEAD: Final = 64 * 1024
"""Number of bytes to read to find the manifest. The fields before it are much shorter."""


@dataclass(frozen=True, slots=True)
class RecordHead:
    """The fields of a record before its manifest.

    Attributes:
        source: see `Record`.
        payload: see `Record`.
        files: the number of files of the whole version; `None` in records from early releases.
        size: their total size in bytes; `None` if the manifest doesn't record it, and in records from early releases.
    """

    source: str
    payload: str
    files: int | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Record:
    """Metadata of one cached version.

    Attributes:
        source: the identity of the store that the version came from.
        manifest: the manifest of the version.
        label: the asset's name and version; empty in records from early releases.
        payload: the suffix of the payload's path below `OWN_FOLDER`; empty if it is in its usual place.
    """

    source: str
    manifest: Manifest
    label: str = field(default="", compare=False)
    payload: str = field(default="", compare=False)

    def write_to(self, file: BinaryIO) -> None:
        """Write the record as a JSON document. Blocking."""
        head = {
            "source": self.source,
            "asset": self.label,
            **({"payload": self.payload} if self.payload else {}),
            "files": len(self.manifest.files),
            "size": self.manifest.size,
        }
        file.write(json.dumps(head).encode()[:-1] + _MANIFEST)
        file.writelines(coalesced(dump_chunks(self.manifest.to_fields())))
        file.write(b"}")

    @staticmethod
    def head_in(file: BinaryIO) -> RecordHead:
        """Return the fields of a record before its manifest, without reading that. Blocking.

        Raises:
            ValueError: if the file doesn't contain a record.
        """
        value, _ = _read_head(file)
        return RecordHead(value["source"], value["payload"], _count(value, "files"), _count(value, "size"))

    @classmethod
    def read_from(cls, file: BinaryIO) -> Record:
        """Parse a record. Blocking.

        Raises:
            ValueError: if the file doesn't contain a valid record.
        """
        value, begin = _read_head(file)
        end = file.seek(0, os.SEEK_END) - 1
        file.seek(begin)
        manifest = Manifest.from_json(file.read(end - begin), check_cancelled)
        return cls(value["source"], manifest, str(value.get("asset", "")), value["payload"])


def _read_head(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return the fields before the manifest and the offset at which the manifest begins."""
    head, _, rest = file.read(_HEAD).partition(_MANIFEST)
    value = json.loads(head + b"}") if rest else None
    if not isinstance(value, dict) or not isinstance(value.get("source"), str):
        raise ValueError("it isn't a record")  # noqa: TRY004 - invalid data, not a wrong argument type
    payload = value.setdefault("payload", "")
    if payload != "" and not (isinstance(payload, str) and IS_SPARE.fullmatch(payload)):
        raise ValueError("its payload has an invalid name")
    return value, len(head) + len(_MANIFEST)


def _count(value: dict[str, Any], name: str) -> int | None:
    found = value.get(name)
    return found if isinstance(found, int) else None
