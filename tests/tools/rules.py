"""Rules of the model that a test can make stricter."""

from __future__ import annotations

import pytest


def limit_entries(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let a version have at most so many files, so that a test needs only a few."""
    for module in ("fields", "manifest", "paths"):
        monkeypatch.setattr(f"aioassets.model.{module}.MAX_ENTRIES", most)
