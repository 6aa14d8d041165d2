"""FastAPI application that serves a model, publishes new versions of it, and lists them.

Run it with any ASGI server. The environment configures the store and all other settings of aioassets:

    pip install '.[s3]' fastapi uvicorn
    export AIOASSETS_BUCKET=s3://models
    SERVICE_CREATE=1 uvicorn --app-dir examples service:app --timeout-graceful-shutdown 20

    curl -X POST -T model.bin localhost:8000/versions
    curl localhost:8000/versions

The model must exist: a misspelt setting ends the start with an error. `SERVICE_CREATE=1` publishes an empty file as
its first version if there is none. Set it for the first start only.

The application watches the model, and serves each new version as soon as it has fetched it, after at most
`SERVICE_INTERVAL` seconds (30). Requests that are being answered keep the version that they began with. While the store
can't be reached, the application serves the version that it has.

Responses to `POST /versions`:

- 201: the version is published. It stays listed and unchanged.
- 4xx: nothing was published. Repeating the request fails again, except possibly after 409.
- 503: nothing was published. Repeat the request after `Retry-After` seconds.
- 500, or no response: the version may have been published. If the response has a `version`, look for it in the
  listing. Otherwise repeat the request, which at worst publishes the content twice.

Shutdown: uvicorn stops accepting requests and waits for running ones, at most `--timeout-graceful-shutdown` seconds
if that is set. Then it cancels them. A cancelled push abandons its version and removes what it uploaded, or lists its
version if that was sealed already. This takes at most about `AIOASSETS_CLEANUP_TIMEOUT` (5 s). The application waits
for it; uvicorn doesn't. So a supervisor that sends SIGTERM must allow for both times, and a little more, before it
sends SIGKILL. After SIGKILL, no version is incomplete, but a claim and some content may remain.

The application has no authentication and no limit on the size of uploads. Put a proxy with both in front of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, TypedDict, cast

import anyio
from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from aioassets import (
    AioAssetsError,
    AssetExists,
    AssetNotFound,
    AssetsManager,
    BucketNotFound,
    Conflict,
    FetchedAsset,
    ManagerStateError,
    NotFound,
    PublicationUncertain,
    StoreUnavailable,
)

MODEL: Final = os.environ.get("SERVICE_MODEL", "team/model")
"""Name of the asset."""
CREATE: Final = os.environ.get("SERVICE_CREATE") == "1"
"""Whether to publish an empty first version if the asset doesn't exist."""
INTERVAL: Final = float(os.environ.get("SERVICE_INTERVAL", "30"))
"""Number of seconds between two looks for a new version."""
RETRY_AFTER: Final = 5.0
"""Seconds until a client should retry, unless the store says how long to wait."""
STATUSES: Final = {NotFound: 404, Conflict: 409, StoreUnavailable: 503, ManagerStateError: 503}
"""Status codes by error class. Any other error is a 500."""


class Served:
    """The version to serve."""

    def __init__(self, model: FetchedAsset) -> None:
        self.model = model


class State(TypedDict):
    """State that lives as long as the application."""

    manager: AssetsManager
    served: Served
    uploads: set[asyncio.Task[Any]]


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Open one manager for all requests, fetch the model before the first, and wait for the last upload."""
    uploads: set[asyncio.Task[Any]] = set()
    async with AssetsManager() as manager:
        served = Served(await fetch_model(manager))
        following = asyncio.create_task(follow(manager, served))
        try:
            yield State(manager=manager, served=served, uploads=uploads)
        finally:
            following.cancel()
            await asyncio.wait([following, *uploads])


async def follow(manager: AssetsManager, served: Served) -> None:
    """Serve each new version. A real service would load it in a thread, before it replaces the former one."""
    async for fetched in manager.watch(MODEL, interval=INTERVAL):
        served.model = fetched


async def fetch_model(manager: AssetsManager) -> FetchedAsset:
    """Fetch the latest version."""
    try:
        return await manager.fetch_asset(MODEL)
    except (AssetNotFound, BucketNotFound) as error:
        if not CREATE:
            error.add_note(
                "Check AIOASSETS_BUCKET and SERVICE_MODEL. For a new model, start once with SERVICE_CREATE=1."
            )
            raise
        async with anyio.NamedTemporaryFile() as empty:
            with contextlib.suppress(AssetExists):  # another process created it first
                await manager.create_asset(str(empty.name), MODEL)
        return await manager.fetch_asset(MODEL)


async def the_manager(request: Request) -> AssetsManager:
    """Return the manager."""
    return cast("AssetsManager", request.state.manager)


async def the_model(request: Request) -> FetchedAsset:
    """Return the version to serve. As long as its object exists, it isn't evicted from the cache."""
    return cast("Served", request.state.served).model


async def is_upload(request: Request) -> None:
    """Make the application wait for this request at shutdown."""
    if task := asyncio.current_task():
        request.state.uploads.add(task)
        task.add_done_callback(request.state.uploads.discard)


Manager = Annotated[AssetsManager, Depends(the_manager)]
Model = Annotated[FetchedAsset, Depends(the_model)]
app = FastAPI(title="Models", lifespan=lifespan)


@app.get("/versions")
async def list_versions(manager: Manager) -> list[str]:
    """List all versions, latest first."""
    return await manager.list_versions(MODEL)


@app.post("/versions", status_code=201, dependencies=[Depends(is_upload)])
async def push_version(request: Request, manager: Manager) -> dict[str, str]:
    """Publish the request body as the next version."""
    async with anyio.NamedTemporaryFile() as file:
        async for chunk in request.stream():
            await file.write(chunk)
        await file.flush()
        pushed = await manager.update_asset(str(file.name), MODEL)
    return {"name": pushed.name, "version": pushed.version}


@app.get("/model")
async def serve_model(model: Model) -> FileResponse:
    """Return the latest version that was fetched, and keep it in the cache until the response is sent."""
    keep = BackgroundTask(lambda model: None, model)
    return FileResponse(model.path, headers={"X-Model-Version": model.version}, background=keep)


@app.exception_handler(ClientDisconnect)
async def forget(_: Request, __: ClientDisconnect) -> Response:
    """End the request quietly when the client has disconnected."""
    return Response(status_code=400)


@app.exception_handler(AioAssetsError)
async def refuse(_: Request, error: AioAssetsError) -> JSONResponse:
    """Respond with the error, and with the version if it may have been published."""
    content: dict[str, Any] = {"detail": str(error)}
    if isinstance(error, PublicationUncertain):
        content["version"] = error.version
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
    wait = getattr(error, "retry_after", None) or RETRY_AFTER
    return JSONResponse(content, status, {"Retry-After": str(math.ceil(wait))} if status == 503 else None)
