"""The request, plan and result of a push."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType

from aioassets.errors import UsageError
from aioassets.model.arguments import check_labels, check_note, check_texts
from aioassets.model.names import AssetSpec
from aioassets.model.operations import BUMP_MAJOR, CREATE, UPDATE
from aioassets.model.versioning import Bump
from aioassets.push.accepted import AssetSource
from aioassets.push.hashes import Hashes
from aioassets.push.reuse import Reuse
from aioassets.push.scan import Tree
from aioassets.store.documents import IndexState

__all__ = ["PushPlan", "PushResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """A request for a push.

    Attributes:
        source: a local path, the URL of an object or prefix, or contents.
        name: the asset's name.
        operation: `create`, `update` or `bump_major`; `None` to create the asset, or update it if it exists.
        bump: the version increment.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        include: gitignore-style patterns for files to push; empty for all files.
        exclude: gitignore-style patterns for files to leave out.
        allow_empty: whether a version without files may be published.
        if_changed: whether to publish nothing if the latest version has the same content.
        base: the version whose files the store may copy; `...` for the one that the push follows; `None` for none.

    Raises:
        UsageError: if the message, a label or a pattern isn't valid text, or the base isn't the spec of a version.
    """

    source: AssetSource = field(repr=False)
    name: str
    operation: str | None = None
    bump: Bump = field(default_factory=Bump)
    message: str | None = None
    labels: Mapping[str, str] | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    allow_empty: bool = False
    if_changed: bool = False
    base: str | AssetSpec | EllipsisType | None = ...

    def __post_init__(self) -> None:
        check_note(self.message, "message")
        object.__setattr__(self, "base", _parsed_base(self.base))
        object.__setattr__(self, "labels", check_labels(self.labels))
        object.__setattr__(self, "include", check_texts(self.include, "include patterns"))
        object.__setattr__(self, "exclude", check_texts(self.exclude, "exclude patterns"))

    def operation_for(self, *, exists: bool) -> str:
        """Return the requested operation. If there is none, choose it depending on whether the asset exists."""
        if self.operation is None and not exists:
            return CREATE
        return self.operation or (BUMP_MAJOR if self.bump.bump_major else UPDATE)


def _parsed_base(base: str | AssetSpec | EllipsisType | None) -> AssetSpec | EllipsisType | None:
    if isinstance(base, str) and "://" in base:
        raise UsageError("The base is a version in the same store: write its spec, such as team/model:1.2, not a URL.")
    parsed = AssetSpec.parse(base) if isinstance(base, str) else base
    if not isinstance(parsed, AssetSpec | EllipsisType | None):
        raise UsageError(f"Cannot use a value of type {type(base).__name__} as the base: pass a spec or None.")
    if isinstance(parsed, AssetSpec) and parsed.part is not None:
        raise UsageError(f"Cannot use a part of a version as the base: write {replace(parsed, part=None)}.")
    return parsed


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
        copied: the total size in bytes of the files that the store would copy from the base.
        reuse: the files that the store may copy from the base; `None` if there is none.
        hashes: the digests of the source's files, which are remembered after the push.
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
    copied: int = 0
    reuse: Reuse | None = field(default=None, repr=False, compare=False)
    hashes: Hashes | None = field(default=None, repr=False, compare=False)

    @property
    def streams(self) -> int:
        """The number of files whose size is unknown before they are uploaded, such as async iterators.

        They don't count in `size` and `uploaded`. A plan with streams can be carried out only once.
        """
        return self.tree.streams

    @property
    def base(self) -> str | None:
        """The version whose files the store may copy, such as `model:1.2`; `None` if there is none."""
        return None if self.reuse is None else self.reuse.base

    @property
    def uploaded(self) -> int:
        """The total size in bytes of the files that the push would upload."""
        return 0 if self.unchanged else self.size - self.copied

    def forecast(self, *, dry_run: bool = True) -> PushResult:
        """Return the expected result.

        Args:
            dry_run: whether to mark it as the result of a dry run.
        """
        return PushResult(
            self.name,
            self.version,
            self.url,
            self.files,
            self.size,
            dry_run,
            self.unchanged,
            self.uploaded,
            self.copied,
            self.base,
            self.streams,
        )


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
        uploaded: the total size in bytes of the files that were uploaded.
        copied: the total size in bytes of the files that the store copied. The files that an interrupted push had
            stored before count neither as uploaded nor as copied.
        base: the version whose files the store was asked to copy, such as `model:1.2`; `None` if there was none.
        streams: for a dry run, the number of files whose size is unknown. They don't count in `size` and `uploaded`.
    """

    name: str
    version: str
    url: str
    files: int
    size: int
    dry_run: bool = False
    unchanged: bool = False
    uploaded: int = 0
    copied: int = 0
    base: str | None = None
    streams: int = 0
