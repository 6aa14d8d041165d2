"""The version that a copied version came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aioassets.model.fields import optional_text, typed
from aioassets.model.marks import Mark

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of a version that was copied from another store, prefix or asset.

    Attributes:
        store: the URL under which the other store keeps its assets.
        name: the asset's name there.
        version: the version there.
        copied: who copied it, and when.
    """

    store: str
    name: str
    version: str
    copied: Mark

    def to_json(self) -> dict[str, Any]:
        """Return the origin as a JSON value."""
        return {"store": self.store, "name": self.name, "version": self.version, **self.copied.to_json()}

    @classmethod
    def from_value(cls, value: Any) -> Origin:
        """Return the origin in a parsed JSON value, or raise `ValueError` if it isn't valid."""
        fields = typed(value, dict, "origin")
        store, name, version = (optional_text(fields, key) or "" for key in ("store", "name", "version"))
        return cls(store, name, version, Mark.from_value(fields, "origin"))
