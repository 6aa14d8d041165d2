"""The request, plan and result of a push."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aioassets.model.arguments import check_labels, check_optional_text, check_texts
from aioassets.model.operations import BUMP_MAJOR, CREATE, UPDATE
from aioassets.model.versioning import Bump
from aioassets.push.scan import Tree
from aioassets.store.documents import IndexState

__all__ = ["PushPlan", "PushResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """A request for a push.

    Attributes:
        source: a local path, or the URL of an object or prefix.
        name: the asset's name.
        operation: `create`, `update` or `bump_major`; `None` to create the asset, or update it if it exists.
        bump: the version increment.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        include: gitignore-style patterns for files to push; empty for all files.
        exclude: gitignore-style patterns for files to leave out.
        allow_empty: whether a version without files may be published.
        if_changed: whether to publish nothing if the latest version has the same content.

    Raises:
        UsageError: if the message, a label or a pattern isn't valid text.
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
    if_changed: bool = False

    def __post_init__(self) -> None:
        check_optional_text(self.message, "message")
        object.__setattr__(self, "labels", check_labels(self.labels))
        object.__setattr__(self, "include", check_texts(self.include, "include patterns"))
        object.__setattr__(self, "exclude", check_texts(self.exclude, "exclude patterns"))

    def operation_for(self, *, exists: bool) -> str:
        """Return the requested operation. If there is none, choose it depending on whether the asset exists."""
        if self.operation is None and not exists:
            return CREATE
        return self.operation or (BUMP_MAJOR if self.bump.bump_major else UPDATE)


@dataclass(frozen=True, slots=True)
class PushPlan:
    """A plan for a push. If other pushes run concurrently, the push may get a different version.

    Attributes:
        name: the asset's name.
        version: the version that the push would currently get.
        operation: `create`, `update` or `bump_major`.
        versions: the listed versions, latest first.
        url: the URL of the version's content.
        files: the number of files to upload.
        size: the total size of the files in bytes.
        tree: the scanned source.
        bump: the version increment.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        new_store: whether the push would create the store's folder.
        index: the index as it was read for the plan. If the push follows soon, it doesn't read the index again.
        unchanged: whether `version` exists and has the same content, so that the push would publish nothing.
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
    unchanged: bool = False

    def forecast(self, *, dry_run: bool = True) -> PushResult:
        """Return the expected result.

        Args:
            dry_run: whether to mark it as the result of a dry run.
        """
        return PushResult(self.name, self.version, self.url, self.files, self.size, dry_run, self.unchanged)


@dataclass(frozen=True, slots=True)
class PushResult:
    """The result of a push.

    Attributes:
        name: the asset's name.
        version: the version that was published, or that already has this content.
        url: the URL of the version's content.
        files: the number of files in the version.
        size: the total size of the files in bytes.
        dry_run: whether this is only the expected result, and nothing was written.
        unchanged: whether nothing was published, because `version` already has this content (see `if_changed`).
    """

    name: str
    version: str
    url: str
    files: int
    size: int
    dry_run: bool = False
    unchanged: bool = False
