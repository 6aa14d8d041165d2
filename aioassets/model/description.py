"""Descriptions of versions, without their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aioassets.errors import AioAssetsError
from aioassets.model.files import FileEntry, FileTable
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.origin import Origin
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone

__all__ = ["VersionDescription"]


@dataclass(frozen=True, slots=True)
class VersionDescription:
    """Description of a version, or of a part of one.

    Attributes:
        name: the asset's name.
        version: the version.
        url: the URL of its content.
        part: the described part; `None` for the whole version.
        push_date: the time at which the version was sealed, by the pusher's clock, with a time zone; `None` only if
            `error` or `deleted` is set.
        content_digest: the digest that identifies the content of the whole version; `None` if any file has no SHA-256.
        pushed_by: the user and host that pushed, if known.
        tool: the program that pushed, such as `aioassets/0.1.0`; `None` for modelkit.
        message: the pusher's message.
        labels: the pusher's labels.
        is_directory: whether the version is a directory.
        file_count: the number of files.
        size: the total size of the files in bytes; `None` if modelkit pushed the version.
        files: the files, sorted by path, which are created on access; empty in logs and listings. Paths are relative to
            the version or, if a part is described, to the part. The path of a single file is empty.
        empty_directories: the empty directories, with paths as for files; empty in logs and listings.
        aliases: the aliases that point at the version, sorted.
        yanked: who yanked the version, when and why; `None` if it isn't yanked.
        deleted: in logs, who deleted the version, when and why; `None` if it isn't deleted. Of a deleted version, only
            the content digest is known besides.
        origin: the version that this one was copied from; `None` if it was pushed.
        error: in logs, why the manifest can't be read; `None` if it can.
    """

    name: str
    version: str
    url: str
    part: str | None = None
    push_date: datetime | None = None
    content_digest: str | None = None
    pushed_by: Pusher = field(default_factory=Pusher)
    tool: str | None = None
    message: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    is_directory: bool = False
    file_count: int = 0
    size: int | None = None
    files: Sequence[FileEntry] = field(default=(), repr=False)
    empty_directories: tuple[str, ...] = field(default=(), repr=False)
    aliases: tuple[str, ...] = ()
    yanked: Mark | None = None
    deleted: Mark | None = None
    origin: Origin | None = None
    error: AioAssetsError | None = None

    @classmethod
    def of(
        cls,
        name: str,
        version: str,
        url: str,
        manifest: Manifest,
        aliases: tuple[str, ...],
        *,
        part: str | None = None,
        files: FileTable | None = None,
        empty_directories: tuple[str, ...] = (),
    ) -> VersionDescription:
        """Return the description of a version, without its files.

        Args:
            name: the asset's name.
            version: the version.
            url: the URL of its content.
            manifest: its manifest.
            aliases: the aliases that point at it, sorted.
            part: the part to describe; `None` for the whole version.
            files: the files, if the description should contain them, with paths relative to the part.
            empty_directories: the empty directories, likewise.
        """
        table = manifest.table if files is None else files
        return cls(
            name=name,
            version=version,
            url=url,
            part=part,
            push_date=manifest.push_date,
            content_digest=manifest.content_digest,
            pushed_by=manifest.pushed_by,
            tool=manifest.tool,
            message=manifest.message,
            labels=manifest.labels,
            is_directory=manifest.is_directory,
            file_count=len(table),
            size=table.total,
            files=() if files is None else files,
            empty_directories=empty_directories,
            aliases=aliases,
            yanked=manifest.yanked,
            origin=manifest.origin,
        )

    @classmethod
    def of_deleted(cls, name: str, version: str, url: str, tombstone: Tombstone) -> VersionDescription:
        """Return the description of a deleted version."""
        return cls(name, version, url, content_digest=tombstone.content_digest, deleted=tombstone.deleted)
