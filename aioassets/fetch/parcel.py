"""Parcels: cached files to deliver to a path outside the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aioassets.fetch.digests import verify_file
from aioassets.fetch.fetched import FetchedAsset
from aioassets.fetch.labels import file_label
from aioassets.fetch.local_copy import copy_verified
from aioassets.fetch.selection import Selection
from aioassets.model.content import content_digest
from aioassets.model.digests import SHA256
from aioassets.model.files import FileEntry
from aioassets.model.names import AssetSpec
from aioassets.runtime.batches import SMALL, in_batch
from aioassets.runtime.disk import create_file
from aioassets.runtime.lanes import FILES_AT_ONCE, side_by_side
from aioassets.runtime.threads import in_thread


@dataclass(frozen=True, slots=True)
class Parcel:
    """A version, or a part of one, to deliver.

    Attributes:
        spec: the spec with the exact version.
        source: the path of the cached file or folder.
        selection: its files and empty folders, relative to that path.
        content: a digest of the content, or other text that identifies it.
        is_link: whether to deliver a symbolic link to the source instead of a copy.
    """

    spec: AssetSpec
    source: Path
    selection: Selection
    content: str
    is_link: bool

    @classmethod
    def of(cls, fetched: FetchedAsset, store: Callable[[], str], *, link: bool) -> Parcel:
        """Return the parcel with the result of a fetch. Blocking.

        Args:
            fetched: the result of the fetch.
            store: a function that returns the identity of the store.
            link: whether to deliver a symbolic link.
        """
        spec = AssetSpec(fetched.name, fetched.version, fetched.part)
        source = Path(os.path.abspath(fetched.path))
        selection = Selection.of(fetched.manifest, spec, fetched.version)
        if fetched.part is not None:
            selection = selection.relative_to(fetched.part)
        if link:
            content = f"link to {source}"
        else:
            content = content_digest(selection.files, selection.folders) or f"{spec} in {store()}"
        return cls(spec, source, selection, content, link)

    @property
    def is_file(self) -> bool:
        """Whether it is a single file."""
        return [*self.selection.files.paths] == [""]

    async def stage(self, target: Path) -> None:
        """Create a link or a verified copy at a path.

        Raises:
            IntegrityError: if a cached file differs from the manifest.
        """
        if self.is_link:
            await in_thread(os.symlink, self.source, target)
            return
        if not self.is_file:
            await in_thread(self._make_folders, target)

        async def copy(number: int) -> None:
            file = self.selection.files[number]
            await (in_batch if (file.size or 0) <= SMALL else in_thread)(self._copy, file, target)

        files = self.selection.files
        await side_by_side(files.sizes, len(files), copy, FILES_AT_ONCE)

    def _make_folders(self, target: Path) -> None:
        target.mkdir()
        for folder in self.selection.all_folders():
            (target / folder).mkdir(parents=True, exist_ok=True)

    def _copy(self, file: FileEntry, root: Path) -> None:
        cached, target = self.source / file.path, root / file.path
        if file.size is not None and SHA256 in file.digests:
            if copy_verified(file, str(cached), str(target), may_copy=True):
                return
            verify_file(cached, file, self._label(file))
        os.close(create_file(str(target), executable=file.executable))
        shutil.copyfile(cached, target)
        verify_file(target, file, self._label(file))

    def _label(self, file: FileEntry) -> str:
        path = "/".join(filter(None, (self.spec.part, file.path)))
        return file_label(self.spec.name, str(self.spec.version), path)
