"""Serve a model, take in new versions of it, and list them: a FastAPI application.

Run it with any server for ASGI; the store and all else that aioassets needs come from the environment:

    pip install '.[s3]' fastapi uvicorn
    export AIOASSETS_BUCKET=s3://models
    uvicorn --app-dir examples service:app --timeout-graceful-shutdown 20

    curl -X POST -T model.bin localhost:8000/versions
    curl localhost:8000/versions

What its clients can rely on:

- 201: the version is published. It stays listed and intact, whatever happens next.
- 4xx: nothing was published, and the same again would end the same way (after 409, it need not).
- 503: nothing was published; send it again after `Retry-After` seconds.
- 500, or no answer: it may have been published. Where the answer names a `version`, look for it in the
  listing; otherwise send it again, which at worst publishes it twice.

When it is told to stop, uvicorn accepts nothing new, and lets requests under way end for as long as
`--timeout-graceful-shutdown` says; without it, for as long as they take. Then it cancels them. A cancelled push
abandons its version and removes what it uploaded; one that was sealed already is still listed. That takes at most
about `AIOASSETS_CLEANUP_TIMEOUT` (5 s), and the application waits for it, which uvicorn doesn't. So whatever stops
the service by SIGTERM has to allow for both times, and a little more, before it sends SIGKILL. Even then nothing is
half-published, but a claim and some content may be left behind.

It neither authenticates nor limits what it takes in: put something before it that does.
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
"""The asset's name."""
RETRY_AFTER: Final = 5.0
"""Seconds until a client should try again, where the store doesn't say."""
STATUSES: Final = {NotFound: 404, Conflict: 409, StoreUnavailable: 503, ManagerStateError: 503}
"""What an error is answered with; any other with 500."""


class State(TypedDict):
    """What lives as long as the application."""

    manager: AssetsManager
    model: FetchedAsset
    uploads: set[asyncio.Task[Any]]


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Hold one manager for all requests; fetch the model before the first of them, and wait for the last upload."""
    uploads: set[asyncio.Task[Any]] = set()
    async with AssetsManager() as manager:
        yield State(manager=manager, model=await fetch_model(manager), uploads=uploads)
        if uploads:
            await asyncio.wait(uploads)


async def fetch_model(manager: AssetsManager) -> FetchedAsset:
    """Fetch the latest version; the very first start finds none, and publishes an empty one."""
    try:
        return await manager.fetch_asset(MODEL)
    except (AssetNotFound, BucketNotFound):
        async with anyio.NamedTemporaryFile() as empty:
            with contextlib.suppress(AssetExists):  # another process was faster
                await manager.create_asset(str(empty.name), MODEL)
        return await manager.fetch_asset(MODEL)


async def the_manager(request: Request) -> AssetsManager:
    """Hand the manager to an endpoint."""
    return cast("AssetsManager", request.state.manager)


async def the_model(request: Request) -> FetchedAsset:
    """Hand the model to an endpoint."""
    return cast("FetchedAsset", request.state.model)


async def is_upload(request: Request) -> None:
    """Have the application wait for this request before it ends."""
    if task := asyncio.current_task():
        request.state.uploads.add(task)
        task.add_done_callback(request.state.uploads.discard)


Manager = Annotated[AssetsManager, Depends(the_manager)]
Model = Annotated[FetchedAsset, Depends(the_model)]
app = FastAPI(title="Models", lifespan=lifespan)


@app.get("/versions")
async def list_versions(manager: Manager) -> list[str]:
    """All versions, latest first."""
    return await manager.list_versions(MODEL)


@app.post("/versions", status_code=201, dependencies=[Depends(is_upload)])
async def push_version(request: Request, manager: Manager) -> dict[str, str]:
    """Publish the request's body as the next version."""
    async with anyio.NamedTemporaryFile() as file:
        async for chunk in request.stream():
            await file.write(chunk)
        await file.flush()
        pushed = await manager.update_asset(str(file.name), MODEL)
    return {"name": pushed.name, "version": pushed.version}


@app.get("/model")
async def serve_model(model: Model) -> FileResponse:
    """The version that was the latest when the service started."""
    return FileResponse(model.path, headers={"X-Model-Version": model.version})


@app.exception_handler(ClientDisconnect)
async def forget(_: Request, __: ClientDisconnect) -> Response:
    """End quietly where a client broke off; nobody reads this answer."""
    return Response(status_code=400)


@app.exception_handler(AioAssetsError)
async def refuse(_: Request, error: AioAssetsError) -> JSONResponse:
    """Answer with what went wrong, and how much of it was done."""
    content: dict[str, Any] = {"detail": str(error)}
    if isinstance(error, PublicationUncertain):
        content["version"] = error.version
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
    wait = getattr(error, "retry_after", None) or RETRY_AFTER
    return JSONResponse(content, status, {"Retry-After": str(math.ceil(wait))} if status == 503 else None)
