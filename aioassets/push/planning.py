"""Planning a push: scanning the source, reading the index and choosing the next version."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from aioassets.errors import InvalidName, SourceError, StoreCorrupt, VersionNotFound
from aioassets.model.keys import MAX_KEY_BYTES, Layout
from aioassets.model.names import AssetSpec, parse_new_name
from aioassets.model.operations import CREATE
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.push.base import is_copied, read_base
from aioassets.push.compare import has_content
from aioassets.push.hashes import Hashes
from aioassets.push.locate import Sources
from aioassets.push.plan import PushPlan, PushRequest
from aioassets.push.reuse import Reuse
from aioassets.push.scan import Tree
from aioassets.runtime.tasks import gather2
from aioassets.store.documents import AssetStore, IndexState
from aioassets.store.index import check_exists, next_version
from aioassets.store.resolve import SealedVersion, find_version, first_available
from aioassets.store.settling import recovered

logger = logging.getLogger(__name__)


async def plan_push(
    request: PushRequest, store: AssetStore, scheme: VersioningScheme, sources: Sources, *, is_forecast: bool = True
) -> PushPlan:
    """Scan the source and read the index and the named base concurrently, and return a plan. Nothing is written.

    If the request says so, the source is then compared with the version that the push would follow.

    Args:
        request: the push to plan.
        store: the store to push to.
        scheme: the versioning scheme.
        sources: the object that scans the source.
        is_forecast: whether to find out which files the store would copy from the base. Otherwise, the push does,
            and reads a base that wasn't named.

    Raises:
        AssetExists: if the asset to create exists.
        AssetNotFound: if the asset to update doesn't exist.
        VersionNotFound: if the index has no version with the requested major version.
        InvalidName: if the asset's name is invalid.
        SourceNotFound: if the source doesn't exist.
        SourceError: if the source can't be pushed or has no files.
        NotFound: if the named base doesn't exist, or was deleted.
    """
    parse_new_name(request.name)
    (tree, state), named = await gather2(
        lambda: gather2(
            lambda: sources.scan(request, store.driver.url),
            lambda: store.read_index(request.name, creating=request.operation in (CREATE, None)),
        ),
        lambda: _named_base(request, store, scheme),
    )
    state = await recovered(store, scheme, request.name, state)
    hashes = Hashes(tree.files, sources.known)
    plan = replace(_plan(request, store, scheme, tree, state), hashes=hashes)
    latest: SealedVersion | None = None
    if request.if_changed and plan.operation != CREATE:
        latest = await _compared(store, scheme, plan)
        if latest is not None and await has_content(tree, latest.manifest, hashes):
            return replace(plan, version=latest.version, url=store.url_of(plan.name, latest.version), unchanged=True)
    follows = request.base is ... and plan.operation != CREATE
    read = partial(_followed, store, scheme, plan) if follows and latest is None else None
    base = named or (latest if follows else None) or read
    return await _reusing(plan, store, hashes, base, is_forecast=is_forecast)


async def _named_base(request: PushRequest, store: AssetStore, scheme: VersioningScheme) -> SealedVersion | None:
    return await find_version(store, scheme, request.base) if isinstance(request.base, AssetSpec) else None


async def _reusing(
    plan: PushPlan,
    store: AssetStore,
    hashes: Hashes,
    base: SealedVersion | Callable[[], Awaitable[SealedVersion]] | None,
    *,
    is_forecast: bool,
) -> PushPlan:
    """Add the files that the store may copy from a base to a plan.

    Args:
        plan: the plan.
        store: the store.
        hashes: the digests of the source's files.
        base: the base, or a function that reads it.
        is_forecast: whether to compare the source with the base.
    """
    if base is None or not is_copied(plan.tree.largest):
        return plan
    reuse = Reuse(plan.tree.files, hashes, partial(read_base, store, base), store.driver.composable)
    if not is_forecast:
        return replace(plan, reuse=reuse)
    await reuse.prepare()
    return replace(plan, reuse=reuse, copied=await reuse.size())


async def _followed(store: AssetStore, scheme: VersioningScheme, plan: PushPlan) -> SealedVersion:
    """Return the latest version of the series that a push would continue."""
    versions = scheme.select(plan.bump.major, plan.versions)
    return await first_available(store, AssetSpec(plan.name), versions)


async def _compared(store: AssetStore, scheme: VersioningScheme, plan: PushPlan) -> SealedVersion | None:
    """Return the version that a push would follow, or `None` if there is none to compare with."""
    try:
        return await _followed(store, scheme, plan)
    except VersionNotFound:  # all are yanked or deleted
        return None
    except StoreCorrupt as error:
        logger.warning(
            "Cannot compare with the latest version of %s; treating the files as changed: %s", plan.name, error
        )
        return None


def _plan(request: PushRequest, store: AssetStore, scheme: VersioningScheme, tree: Tree, state: IndexState) -> PushPlan:
    name, operation = request.name, request.operation_for(exists=state.exists)
    bump = Bump() if operation == CREATE else request.bump
    check_exists(state, operation, name, store.url)
    version = next_version(state, scheme, name, bump, store.url)
    if not (tree.files or request.allow_empty):
        raise _no_files(request, tree)
    check_keys(tree, store.layout, name, version)
    return PushPlan(
        name=name,
        version=version,
        operation=operation,
        versions=state.index.versions,
        url=store.url_of(name, version),
        files=len(tree.files),
        size=tree.size,
        tree=tree,
        bump=bump,
        message=request.message,
        labels=dict(request.labels or {}),
        new_store=state.new_store,
        index=state,
    )


def _no_files(request: PushRequest, tree: Tree) -> SourceError:
    problem = "no file matches the patterns" if request.include or request.exclude else "it contains no files"
    return SourceError(tree.root, f"{problem}; to publish an empty version, use --allow-empty (allow_empty=True)")


def check_keys(tree: Tree, layout: Layout, name: str, version: str) -> None:
    """Raise `InvalidName` or `SourceError` if the keys of a version would be too long."""
    if len(layout.meta(name, version).encode()) > MAX_KEY_BYTES:
        raise InvalidName(
            name,
            f"keys with the prefix and this name exceed {MAX_KEY_BYTES} bytes; shorten the prefix or the name",
        )
    longest = MAX_KEY_BYTES - len(layout.content(name, version, "-").encode()) + 1
    if tree.longest_path > longest:
        file = next(file for file in tree.files if len(file.path.encode()) > longest)
        raise SourceError(
            file.source,
            f"its path makes the key longer than {MAX_KEY_BYTES} bytes; "
            "shorten the path, exclude the file, or pack it into an archive file",
        )
