"""Planning a push: scanning the source, reading the index and choosing the next version."""

from __future__ import annotations

from aioassets.errors import InvalidName, SourceError
from aioassets.model.keys import MAX_KEY_BYTES, Layout
from aioassets.model.names import parse_new_name
from aioassets.model.operations import CREATE
from aioassets.model.versioning import Bump, VersioningScheme
from aioassets.push.locate import Sources
from aioassets.push.plan import PushPlan, PushRequest
from aioassets.push.scan import Tree
from aioassets.runtime.tasks import gather2
from aioassets.store.documents import AssetStore, IndexState
from aioassets.store.index import check_exists, next_version
from aioassets.store.settling import recovered


async def plan_push(request: PushRequest, store: AssetStore, scheme: VersioningScheme, sources: Sources) -> PushPlan:
    """Scan the source and read the index concurrently, and return a plan. Nothing is written.

    Raises:
        AssetExists: if the asset to create exists.
        AssetNotFound: if the asset to update doesn't exist.
        VersionNotFound: if the index has no version with the requested major.
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
    return _plan(request, store, scheme, tree, state)


def _plan(request: PushRequest, store: AssetStore, scheme: VersioningScheme, tree: Tree, state: IndexState) -> PushPlan:
    name, operation = request.name, request.operation_for(exists=state.exists)
    bump = Bump() if operation == CREATE else request.bump
    check_exists(state, operation, name, store.url)
    version = next_version(state, scheme, name, bump, store.url)
    if not (tree.files or request.allow_empty):
        raise _no_files(request, tree)
    _check_keys(tree, store.layout, name, version)
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


def _check_keys(tree: Tree, layout: Layout, name: str, version: str) -> None:
    if len(layout.meta(name, version).encode()) > MAX_KEY_BYTES:
        raise InvalidName(
            name,
            f"keys from the prefix and this name exceed {MAX_KEY_BYTES} bytes; shorten one of them",
        )
    longest = MAX_KEY_BYTES - len(layout.content(name, version, "-").encode()) + 1
    if tree.longest_path > longest:
        file = next(file for file in tree.files if len(file.path.encode()) > longest)
        raise SourceError(
            file.source, f"its path makes the key longer than {MAX_KEY_BYTES} bytes; shorten, exclude or archive it"
        )
