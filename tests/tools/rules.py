"""Limits of the model that tests can lower."""

from __future__ import annotations

import pytest


def limit_entries(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Limit the files of a version, so that a test needs only a few."""
    for module in ("fields", "manifest", "paths"):
        monkeypatch.setattr(f"aioassets.model.{module}.MAX_ENTRIES", most)
