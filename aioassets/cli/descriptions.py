"""Lines, rows and JSON documents that describe versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aioassets.cli.escaping import Escaped, escaped_field
from aioassets.cli.units import human_bytes

if TYPE_CHECKING:
    from aioassets.model.description import VersionDescription
    from aioassets.model.files import FileEntry
    from aioassets.model.marks import Mark
    from aioassets.store.listing import AssetVersions

SHA256: Final = "sha256"
DIGITS_SHOWN: Final = 12
"""Number of hexadecimal digits of a file's digest that a table on a terminal shows."""
LOG_TITLES: Final = ("Version", "Pushed (UTC)", "Size", "By", "Aliases", "Message")
LIST_TITLES: Final = ("Asset", "Version", "Pushed (UTC)", "Size", "By", "Labels")
FILE_TITLES: Final = ("Path", "Size", "SHA-256", "Executable")


def description_json(found: VersionDescription) -> dict[str, Any]:
    """Return the JSON value of a description, without its files."""
    origin = found.origin
    return {
        "name": found.name,
        "version": found.version,
        "part": found.part,
        "url": found.url,
        "content_digest": found.content_digest,
        "push_date": None if found.push_date is None else found.push_date.isoformat(),
        "pushed_by": found.pushed_by.to_json(),
        "tool": found.tool,
        "message": found.message,
        "labels": dict(found.labels),
        "is_directory": found.is_directory,
        "files": found.file_count,
        "size": found.size,
        "aliases": list(found.aliases),
        "yanked": optional_mark_json(found.yanked),
        "deleted": optional_mark_json(found.deleted),
        "origin": None
        if origin is None
        else {"store": origin.store, "name": origin.name, "version": origin.version, **mark_json(origin.copied)},
        "error": None if found.error is None else str(found.error),
    }


def mark_json(mark: Mark) -> dict[str, Any]:
    """Return the JSON value of a mark."""
    return {"date": mark.date.isoformat(), "by": mark.by.to_json(), "reason": mark.reason}


def optional_mark_json(mark: Mark | None) -> dict[str, Any] | None:
    """Return the JSON value of the mark of a yanked or deleted version, or `None` if it has none."""
    return None if mark is None else mark_json(mark)


def fact_lines(found: VersionDescription, *, for_people: bool) -> Iterator[tuple[str, str]]:
    """Yield the facts about a version with their names. For people, facts that are unknown are left out."""
    titles = {"url": "URL", "push_date": "Pushed", "pushed_by": "By"}
    for name, text in _facts(found, for_people=for_people).items():
        if not for_people:
            yield name, text
        elif text:
            yield titles.get(name, name.replace("_", " ").capitalize()), text


def _facts(found: VersionDescription, *, for_people: bool) -> dict[str, str]:
    return {
        "name": found.name,
        "version": found.version,
        "part": found.part or "",
        "url": found.url,
        "content_digest": found.content_digest or "",
        "push_date": _date_in_text(found.push_date, for_people=for_people),
        "pushed_by": who(found),
        "tool": found.tool or "",
        "message": found.message or "",
        "labels": labels_text(found.labels, for_people=for_people),
        "files": f"{found.file_count:,}" if for_people else str(found.file_count),
        "size": size_text(found.size, for_people=for_people),
        "aliases": ",".join(found.aliases),
        "yanked": "" if found.yanked is None else _mark_text(found.yanked, for_people=for_people),
        "origin": _origin_text(found, for_people=for_people),
    }


def _origin_text(found: VersionDescription, *, for_people: bool) -> str:
    origin = found.origin
    if origin is None:
        return ""
    return f"{origin.name}:{origin.version} in {origin.store}, {_mark_text(origin.copied, for_people=for_people)}"


def _mark_text(mark: Mark, *, for_people: bool) -> str:
    because = f": {mark.reason}" if mark.reason else ""
    return f"{_date_in_text(mark.date, for_people=for_people)} by {mark.by}{because}"


def log_row(found: VersionDescription, *, for_people: bool) -> list[str]:
    """Return a version as a row of a log. For programs, more fields tell whether it is withdrawn, when and why."""
    row = [
        found.version,
        date_text(found.push_date, for_people=for_people),
        size_text(found.size, for_people=for_people),
        who(found),
        ",".join(found.aliases),
        found.message or "",
    ]
    state, mark = _state(found)
    if not for_people:
        return [*row, state, *_mark_fields(mark)]
    *rest, message = row[1:]
    withdrawn = "" if mark is None else f"[{state} {_mark_text(mark, for_people=True)}]"
    return [f"{found.version} ({state})" if state else found.version, *rest, f"{message} {withdrawn}".strip()]


def _state(found: VersionDescription) -> tuple[str, Mark | None]:
    if found.deleted is not None:
        return "deleted", found.deleted
    if found.yanked is not None:
        return "yanked", found.yanked
    return "" if found.error is None else "unreadable", None


def _mark_fields(mark: Mark | None) -> list[str]:
    return ["", "", ""] if mark is None else [date_text(mark.date, for_people=False), str(mark.by), mark.reason or ""]


def list_row(asset: AssetVersions, *, for_people: bool) -> list[str]:
    """Return an asset and its described version as a row of a listing."""
    found = asset.described
    if found is None:
        return [asset.name, "", "", "", "", ""]
    return [
        asset.name,
        found.version,
        date_text(found.push_date, for_people=for_people),
        size_text(found.size, for_people=for_people),
        who(found),
        labels_text(found.labels, for_people=for_people),
    ]


def file_row(file: FileEntry, *, for_people: bool) -> list[str]:
    """Return a file as a row of a table."""
    digest = file.digests.get(SHA256, "")
    return [
        shown_path(file.path),
        size_text(file.size, for_people=for_people),
        digest[:DIGITS_SHOWN] if for_people else digest,
        "x" if file.executable else "",
    ]


def directory_row(path: str) -> list[str]:
    """Return an empty directory as a row of a table."""
    return [f"{path}/", "", "", ""]


def shown_path(path: str) -> str:
    """Return a path relative to a version or part. That of a single file is `.`, not empty."""
    return path or "."


def date_text(date: datetime | None, *, for_people: bool) -> str:
    """Format a date in UTC."""
    if date is None:
        return ""
    utc = date.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}" if for_people else utc.isoformat()


def _date_in_text(date: datetime | None, *, for_people: bool) -> str:
    text = date_text(date, for_people=for_people)
    return f"{text} UTC" if text and for_people else text


def size_text(size: int | None, *, for_people: bool) -> str:
    """Format a size in bytes, which may be unknown."""
    if size is None:
        return ""
    return human_bytes(size) if for_people else str(size)


def labels_text(labels: Mapping[str, str], *, for_people: bool) -> str:
    """Format labels as `key=value`, separated by commas. For programs, these two characters in labels are escaped."""
    pairs = sorted(labels.items())
    if for_people:
        return ", ".join(f"{key}={value}" for key, value in pairs)
    return Escaped(",".join("=".join(escaped_field(text, ",=") for text in pair) for pair in pairs))


def who(found: VersionDescription) -> str:
    """Return the user and host that pushed a version, or an empty string if neither was recorded."""
    return str(found.pushed_by) if found.pushed_by.to_json() else ""


def file_json(file: FileEntry) -> dict[str, Any]:
    """Return the JSON value of a file."""
    return {
        "path": shown_path(file.path),
        "size": file.size,
        "digests": dict(file.digests),
        "executable": file.executable,
    }
