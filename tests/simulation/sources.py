"""What is pushed: few small files, some of which differ in nothing that a fingerprint tells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

LONG: Final = 20
"""Bytes of a file that is uploaded in parts."""
_CONTENTS: Final[dict[str, dict[str, int]]] = {
    "file": {"": 3},
    "long": {"": LONG},
    "folder": {"a": 3, "b/c": LONG},
    "small": {"a": 2, "empty": 0},
}
"""Sizes by path, by the name of a source."""
TWINS: Final = "12"
"""Sources of one name have the same sizes and times, and other bytes."""
NAMES: Final = tuple(f"{name}{twin}" for name in _CONTENTS for twin in TWINS)
MEMORY: Final = "/dev/shm"
"""Where files are in memory, on Linux."""
_MTIME: Final = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders on this machine that all schedules share.

    Attributes:
        root: where they are.
    """

    root: Path

    @property
    def cache(self) -> Path:
        """The assets directory of all that don't fetch."""
        return self.root / "cache"

    def source(self, name: str) -> Path:
        """Return where a source is."""
        return self.root / "sources" / name

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Workspace]:
        """Make the sources, for as long as the block runs."""
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
