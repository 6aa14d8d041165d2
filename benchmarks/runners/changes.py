"""Changes of one file in a hundred."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Final

SHARE: Final = 100
"""Number of files, of which one is changed."""


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder, in the same order each time."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def change(folder: Path) -> None:
    """Replace the content of one file in a hundred, at least of one, by other bytes of the same number."""
    dice = random.Random(1)
    for path in files_of(folder)[::SHARE]:
        size = path.stat().st_size
        path.unlink()  # it may be a hard link, or be read-only
        path.write_bytes(dice.randbytes(size))


if __name__ == "__main__":
    change(Path(sys.argv[1]))
