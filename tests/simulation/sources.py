"""Sources to push: a few small files, some of which have equal fingerprints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

LONG: Final = 20
"""Size in bytes of a file that is uploaded in several parts."""
_CONTENTS: Final[dict[str, dict[str, int]]] = {
    "file": {"": 3},
    "long": {"": LONG},
    "folder": {"a": 3, "b/c": LONG},
    "small": {"a": 2, "empty": 0},
}
"""Sizes of files by path, by the name of the source."""
TWINS: Final = "12"
"""Suffixes of sources with the same sizes and times, but different bytes."""
NAMES: Final = tuple(f"{name}{twin}" for name in _CONTENTS for twin in TWINS)
MEMORY: Final = "/dev/shm"
"""Folder in memory on Linux."""
_MTIME: Final = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """Local folders that all schedules share.

    Attributes:
        root: the root folder.
    """

    root: Path

    @property
    def cache(self) -> Path:
        """The assets directory of managers that don't fetch."""
        return self.root / "cache"

    def source(self, name: str) -> Path:
        """Return the path of a source."""
        return self.root / "sources" / name

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Workspace]:
        """Create the sources, and delete them at the end of the block."""
        with TemporaryDirectory(prefix="simulation-", dir=MEMORY if os.path.isdir(MEMORY) else None) as root:
            workspace = cls(Path(root))
            for name in NAMES:
                for path, data in content(name).items():
                    file = workspace.source(name) / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(data)
                    os.utime(file, (_MTIME, _MTIME))
            yield workspace


def content(name: str) -> dict[str, bytes]:
    """Return the files of a source, by path."""
    twin = name[-1].encode()
    return {path: twin * size for path, size in _CONTENTS[name[:-1]].items()}
