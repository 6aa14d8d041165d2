"""Changes of one hundredth of the data."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Final

SHARE: Final = 100
"""Number of files, of which one is changed, and the inverse of the share of bytes that is changed in a single file."""
REGIONS: Final = 5
"""Number of regions in which a single file is changed."""
INSERTED: Final = 1000
"""Number of bytes to insert into a single file near its start."""
BLOCK: Final = 1024 * 1024


def files_of(folder: Path) -> list[Path]:
    """Return the files below a folder, in the same order each time."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def change(path: Path) -> None:
    """Replace the content of one file in a hundred, or one byte in a hundred of a single file in five regions."""
    dice = random.Random(1)
    if path.is_file():
        _overwrite(path, dice)
        return
    for file in files_of(path)[::SHARE]:
        size = file.stat().st_size
        file.unlink()  # it may be a hard link, or be read-only
        file.write_bytes(dice.randbytes(size))


def _overwrite(path: Path, dice: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        for number in range(REGIONS):
            file.seek(size * (2 * number + 1) // (2 * REGIONS))
            left = size // SHARE // REGIONS
            while left:
                left -= file.write(dice.randbytes(min(BLOCK, left)))


def insert(path: Path) -> None:
    """Insert bytes near the start of a file."""
    new = path.with_name(f"{path.name}.new")
    with path.open("rb") as file, new.open("wb") as target:
        target.write(file.read(INSERTED))
        target.write(random.Random(2).randbytes(INSERTED))
        while data := file.read(BLOCK):
            target.write(data)
    new.replace(path)


if __name__ == "__main__":
    (insert if "insert" in sys.argv[2:] else change)(Path(sys.argv[1]))
