"""Rows, summaries and JSON documents of differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from aioassets.cli.descriptions import file_json, shown_path, size_text
from aioassets.cli.units import human_bytes

if TYPE_CHECKING:
    from aioassets.model.diff import FileChange, VersionDiff
    from aioassets.model.files import FileEntry

DIFF_TITLES: Final = ("Change", "Path", "Before", "After", "Detail")


def diff_rows(found: VersionDiff, *, for_people: bool) -> Iterator[list[str]]:
    """Yield differences as rows: kind, path, sizes before and after, and the previous path or the change of mode."""

    def row(kind: str, path: str, before: FileEntry | None, after: FileEntry | None, detail: str = "") -> list[str]:
        sizes = ("" if file is None else size_text(file.size, for_people=for_people) for file in (before, after))
        return [kind, shown_path(path), *sizes, detail]

    yield from (row("removed", file.path, file, None) for file in found.removed)
    yield from (row("removed", f"{folder}/", None, None) for folder in found.removed_directories)
    yield from (row("added", file.path, None, file) for file in found.added)
    yield from (row("added", f"{folder}/", None, None) for folder in found.added_directories)
    for change in found.renamed:
        previous = shown_path(change.before.path)
        yield row("renamed", change.after.path, change.before, change.after, "from " * for_people + previous)
    for kind, changes in (("changed", found.changed), ("mode", found.mode_changed), ("unknown", found.unknown)):
        yield from (row(kind, each.after.path, each.before, each.after, _mode(each)) for each in changes)


def _mode(change: FileChange) -> str:
    if change.before.executable == change.after.executable:
        return ""
    return "+x" if change.after.executable else "-x"


def diff_summary(found: VersionDiff) -> str:
    """Return one sentence with the numbers of differences."""
    sides = f"{found.a} and {found.b}"
    if found.is_equal:
        return f"{sides} have the same content ({_files(found.unchanged)})."
    counts = {
        "added": len(found.added),
        "removed": len(found.removed),
        "changed": len(found.changed),
        "renamed": len(found.renamed),
        "with another mode": len(found.mode_changed),
        "of unknown content": len(found.unknown),
        "unchanged": found.unchanged,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    folders = len(found.added_directories) + len(found.removed_directories)
    parts += [f"{folders:,} empty director{'y' if folders == 1 else 'ies'} added or removed"] if folders else []
    sizes = (("+", found.bytes_added), ("-", found.bytes_removed))
    sized = ", ".join(f"{sign}{human_bytes(size)}" for sign, size in sizes if size)
    verb = "may differ" if _only_unknown(found) else "differ"
    return f"{sides} {verb}: {', '.join(parts)}" + (f" ({sized})." if sized else ".")


def _only_unknown(found: VersionDiff) -> bool:
    known = found.added or found.removed or found.changed or found.renamed or found.mode_changed
    return not (known or found.added_directories or found.removed_directories)


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def diff_json(found: VersionDiff) -> dict[str, Any]:
    """Return the differences as a JSON value."""
    changes = {
        "changed": found.changed,
        "renamed": found.renamed,
        "mode_changed": found.mode_changed,
        "unknown": found.unknown,
    }
    return {
        "a": found.a,
        "b": found.b,
        "equal": found.is_equal,
        "unchanged": found.unchanged,
        "bytes_added": found.bytes_added,
        "bytes_removed": found.bytes_removed,
        "added": [file_json(file) for file in found.added],
        "removed": [file_json(file) for file in found.removed],
        **{kind: [_change_json(change) for change in each] for kind, each in changes.items()},
        "added_directories": list(found.added_directories),
        "removed_directories": list(found.removed_directories),
    }


def _change_json(change: FileChange) -> dict[str, Any]:
    return {"before": file_json(change.before), "after": file_json(change.after)}
