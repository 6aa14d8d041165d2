"""What is asked of a push, what it would do, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aioassets.model.versioning import Bump
from aioassets.push.scan import Tree
from aioassets.store.documents import IndexState

__all__ = ["PushPlan", "PushResult"]


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would do: a forecast, since others may push meanwhile.

    Attributes:
        name: the asset.
        version: the number that it would get now.
        operation: `create`, `update` or `bump_major`.
        versions: what is listed now, latest first.
        url: where the version's content would be.
        files: how many files would be uploaded.
        size: how many bytes they hold.
        tree: the scanned source.
        bump: what is asked of the versioning scheme.
        message: free text for the manifest.
        labels: key-value pairs for the manifest.
        new_store: whether the store's folder doesn't exist yet, and the push would make it.
        index: the index as it was read; what is done soon after counts on it.
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


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did.

    Attributes:
        name: the asset.
        version: the number that it got.
        url: where the version's content is.
        files: how many files it has.
        size: how many bytes they hold.
        dry_run: whether nothing was written, and this only says what would have been.
    """

    name: str
    version: str
    url: str
    files: int
    size: int
    dry_run: bool = False
