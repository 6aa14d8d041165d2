"""The version that a copied version came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aioassets.model.fields import optional_text, typed
from aioassets.model.marks import Mark

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of a version that was copied from another store, prefix or asset.

    Attributes:
        store: the URL under which the original store keeps its assets.
        name: the asset's name in that store.
        version: the version in that store.
        copied: who copied the version, and when.
    """

    store: str
    name: str
    version: str
    copied: Mark

    def to_json(self) -> dict[str, Any]:
        """Return the origin as a JSON object."""
        return {"store": self.store, "name": self.name, "version": self.version, **self.copied.to_json()}

    @classmethod
    def from_value(cls, value: Any) -> Origin:
        """Create an origin from a parsed JSON value, or raise `ValueError` if the value is invalid."""
        fields = typed(value, dict, "origin")
        store, name, version = (optional_text(fields, key) or "" for key in ("store", "name", "version"))
        return cls(store, name, version, Mark.from_value(fields, "origin"))
