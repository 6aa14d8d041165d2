"""The tombstone of a deleted version, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aioassets.model.fields import optional_text, typed
from aioassets.model.jsontext import dump
from aioassets.model.marks import Mark

TOMBSTONE_FIELD: Final = "aioassets_deleted"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The content of a deleted version's `.meta`. It is kept forever, so that the version number isn't used again.

    Attributes:
        deleted: who deleted the version, when and why.
        content_digest: the content digest of the version; `None` if its manifest had none.
        push_token: the random identifier of the push, by which it recognises its version; `None` for modelkit.
    """

    deleted: Mark
    content_digest: str | None = None
    push_token: str | None = None

    def to_json(self) -> bytes:
        """Return the JSON document, which has none of the fields by which modelkit recognises a manifest."""
        value = {**self.deleted.to_json(), "content_digest": self.content_digest, "push_token": self.push_token}
        return dump({TOMBSTONE_FIELD: value})

    @classmethod
    def from_value(cls, value: Any) -> Tombstone:
        """Create a tombstone from a parsed JSON value, or raise `ValueError` if the value is invalid."""
        fields = typed(value, dict, "tombstone")
        mark = Mark.from_value(fields, "tombstone")
        return cls(mark, optional_text(fields, "content_digest"), optional_text(fields, "push_token"))
