"""Values of a push: its request, its plan and its result."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aioassets.model.operations import BUMP_MAJOR, CREATE, UPDATE
from aioassets.model.versioning import Bump
from aioassets.push.scan import Tree
from aioassets.store.documents import IndexState

__all__ = ["PushPlan", "PushResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """A push as a caller asks for it.

    Attributes:
        source: a path on this machine, or the URL of an object or of a prefix.
        name: the asset.
        operation: `create`, `update` or `bump_major`; `None` to create an absent asset and update any other.
        bump: the part of the version to raise.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        include: gitignore-style patterns of files to push; all if empty.
        exclude: gitignore-style patterns of files to leave out.
        allow_empty: whether a version without files may be published.
    """

    source: str | os.PathLike[str]
    name: str
    operation: str | None = None
    bump: Bump = field(default_factory=Bump)
    message: str | None = None
    labels: Mapping[str, str] | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    allow_empty: bool = False

    def operation_for(self, *, exists: bool) -> str:
        """Return the operation for an asset that exists or doesn't."""
        if self.operation is None and not exists:
            return CREATE
        return self.operation or (BUMP_MAJOR if self.bump.bump_major else UPDATE)


@dataclass(frozen=True, slots=True)
class PushPlan:
    """A forecast of a push. Concurrent pushes may change the version that it gets.

    Attributes:
        name: the asset.
        version: the version that the push would get now.
        operation: `create`, `update` or `bump_major`.
        versions: the listed versions, latest first.
        url: the URL of the version's content.
        files: the number of files to upload.
        size: the bytes in them.
        tree: the scanned source.
        bump: the part of the version to raise.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        new_store: whether the push would make the store's folder.
        index: the index as it was read. A push soon after doesn't read it again.
    """

    name: str
    version: str
    operation: str
    versions: tuple[str, ...]
    url: str
    files: int
    size: int
    tree: Tree = field(repr=False)
    bump: Bump = field(default_factory=Bump)
    message: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    new_store: bool = False
    index: IndexState | None = field(default=None, repr=False, compare=False)

    def forecast(self) -> PushResult:
        """Return the expected result, as `dry_run=True` does."""
        return PushResult(self.name, self.version, self.url, self.files, self.size, dry_run=True)


@dataclass(frozen=True, slots=True)
class PushResult:
    """The result of a push.

    Attributes:
        name: the asset.
        version: the version that was published.
        url: the URL of the version's content.
        files: the number of its files.
        size: the bytes in them.
        dry_run: whether nothing was written, so that this is only a forecast.
    """

    name: str
    version: str
    url: str
    files: int
    size: int
    dry_run: bool = False
