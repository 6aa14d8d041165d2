"""Human-readable sizes and durations."""

from __future__ import annotations

from datetime import timedelta


def human_bytes(nbytes: int) -> str:
    """Format a size with decimal units, such as 1.5 MB."""
    if nbytes < 1000:
        return f"{nbytes} byte{'' if nbytes == 1 else 's'}"
    size = float(nbytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"


def human_files(files: int, nbytes: int) -> str:
    """Format a number of files and their total size."""
    return f"{files:,} file{'' if files == 1 else 's'}, {human_bytes(nbytes)}"


def human_duration(duration: timedelta) -> str:
    """Format a duration in its largest suitable unit, such as 3 h."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
