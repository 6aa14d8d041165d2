"""Records of the assets directory: the metadata of cached versions."""

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
"""Text before the manifest. It can't occur in a JSON string, where a backslash precedes each quotation mark."""
_HEAD: Final = 64 * 1024
"""Bytes that are read to find the manifest. All that precedes it is much shorter."""


@dataclass(frozen=True, slots=True)
class Record:
    """Metadata of one cached version.

    Attributes:
        source: the identity of the store that it came from.
        manifest: the manifest of the version.
        label: name and version; empty in records of early releases.
        payload: suffix of the payload in the own folder, if it is not in its usual place; usually empty.
    """

    source: str
    manifest: Manifest
    label: str = field(default="", compare=False)
    payload: str = field(default="", compare=False)

    def write_to(self, file: BinaryIO) -> None:
        """Write the record as a JSON document. Blocking."""
        head = {"source": self.source, "asset": self.label, **({"payload": self.payload} if self.payload else {})}
        file.write(json.dumps(head).encode()[:-1] + _MANIFEST)
        file.writelines(coalesced(dump_chunks(self.manifest.to_fields())))
        file.write(b"}")

    @staticmethod
    def head_in(file: BinaryIO) -> tuple[str, str]:
        """Return the source and the payload of a record, without reading its manifest. Blocking.

        Raises:
            ValueError: the file holds no record.
        """
        value, _ = _read_head(file)
        return value["source"], value["payload"]

    @classmethod
    def read_from(cls, file: BinaryIO) -> Record:
        """Parse a record. Blocking.

        Raises:
            ValueError: the file holds no record.
        """
        value, begin = _read_head(file)
        end = file.seek(0, os.SEEK_END) - 1
        file.seek(begin)
        manifest = Manifest.from_json(file.read(end - begin), check_cancelled)
        return cls(value["source"], manifest, str(value.get("asset", "")), value["payload"])


def _read_head(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Return the fields before the manifest, and the offset at which that begins."""
    head, _, rest = file.read(_HEAD).partition(_MANIFEST)
    value = json.loads(head + b"}") if rest else None
    if not isinstance(value, dict) or not isinstance(value.get("source"), str):
        raise ValueError("it isn't a record")  # noqa: TRY004 - the type of data, not of an argument
    payload = value.setdefault("payload", "")
    if payload != "" and not (isinstance(payload, str) and IS_SPARE.fullmatch(payload)):
        raise ValueError("its payload isn't in the own folder")
    return value, len(head) + len(_MANIFEST)
