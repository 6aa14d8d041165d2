"""Planning a push: scanning the source, reading the index and choosing the next version."""

from __future__ import annotations

import logging
from dataclasses import replace

from aioassets.errors import InvalidName, SourceError, StoreCorrupt, VersionNotFound
from aioassets.model.keys import MAX_KEY_BYTES, Layout
from aioassets.model.names import AssetSpec, parse_new_name
from aioassets.model.operations import CREATE
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.push.compare import has_content
from aioassets.push.hashes import Hashes
from aioassets.push.locate import Sources
from aioassets.push.plan import PushPlan, PushRequest
from aioassets.push.scan import Tree
from aioassets.runtime.tasks import gather2
from aioassets.store.documents import AssetStore, IndexState
from aioassets.store.index import check_exists, next_version
from aioassets.store.resolve import SealedVersion, first_available
from aioassets.store.settling import recovered

logger = logging.getLogger(__name__)


async def plan_push(request: PushRequest, store: AssetStore, scheme: VersioningScheme, sources: Sources) -> PushPlan:
    """Scan the source and read the index concurrently, and return a plan. Nothing is written.

    If the request says so, the source is then compared with the version that the push would follow.

    Raises:
        AssetExists: if the asset to create exists.
        AssetNotFound: if the asset to update doesn't exist.
        VersionNotFound: if the index has no version with the requested major version.
        InvalidName: if the asset's name is invalid.
        SourceNotFound: if the source doesn't exist.
        SourceError: if the source can't be pushed or has no files.
    """
    parse_new_name(request.name)
    tree, state = await gather2(
        lambda: sources.scan(request, store.driver.url),
        lambda: store.read_index(request.name, creating=request.operation in (CREATE, None)),
    )
    state = await recovered(store, scheme, request.name, state)
    plan = _plan(request, store, scheme, tree, state)
    if not request.if_changed or plan.operation == CREATE:
        return plan
    hashes = Hashes(tree.files, sources.known)
    latest = await _followed(store, scheme, plan)
    if latest is None or not await has_content(tree, latest.manifest, hashes):
        return plan
    return replace(plan, version=latest.version, url=store.url_of(plan.name, latest.version), unchanged=True)


async def _followed(store: AssetStore, scheme: VersioningScheme, plan: PushPlan) -> SealedVersion | None:
    """Return the latest version of the series that a push would continue, or `None` if there is none to compare."""
    versions = scheme.select(plan.bump.major, plan.versions)
    try:
        return await first_available(store, AssetSpec(plan.name), versions)
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
