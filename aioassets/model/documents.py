"""Parsing of `.meta` documents, which hold a claim, a manifest or a tombstone."""

from __future__ import annotations

from collections.abc import Callable

from aioassets.model.claim import CLAIM_FIELD, Claim
from aioassets.model.jsontext import no_check
from aioassets.model.manifest import Manifest, fields_of
from aioassets.model.tombstone import TOMBSTONE_FIELD, Tombstone


def parse_meta(data: bytes, check: Callable[[], None] = no_check) -> Manifest | Claim | Tombstone:
    """Parse a `.meta` document, or raise `ValueError` if it is invalid."""
    value = fields_of(data, check)
    if CLAIM_FIELD in value:
        return Claim.from_value(value[CLAIM_FIELD])
    if TOMBSTONE_FIELD in value:
        return Tombstone.from_value(value[TOMBSTONE_FIELD])
    return Manifest.from_fields(value)
