"""Memory for large buffers."""

from __future__ import annotations

import contextlib
import mmap


def pages(size: int) -> mmap.mmap:
    """Allocate memory that is returned to the system when it is freed, unlike memory from malloc's arenas."""
    allocated = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # not on all systems; filling it takes a fifth of the time
        allocated.madvise(mmap.MADV_HUGEPAGE)
    return allocated
