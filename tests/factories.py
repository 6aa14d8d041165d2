"""Types of fixtures that make things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aioassets import AssetsManager

ManagerFactory = Callable[..., AssetsManager]
"""Makes a manager over a driver, with settings by name."""
Files = Callable[[str], Path]
"""Makes a file with this content."""
