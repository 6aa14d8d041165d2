"""Server-side copies of objects. A large copy takes several requests."""

from __future__ import annotations

from functools import partial

from aioassets.drivers.gcs.bucket import Bucket, described
from aioassets.drivers.gcs.errors import translate
from aioassets.drivers.gcs.values import token_of
from aioassets.drivers.protocol import ObjectInfo
from aioassets.drivers.service_errors import Request, translating
from aioassets.errors import StoreError
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects


async def rewrite(
    source: Bucket, info: ObjectInfo, bucket: Bucket, key: str, dispatcher: Dispatcher, effects: Effects | None
) -> ObjectInfo:
    """Copy one generation of an object to a key that doesn't exist yet, and return the copy's metadata.

    Args:
        source: the bucket that contains the original.
        info: the metadata of the original.
        bucket: the bucket for the copy, whose connection sends the requests.
        key: the key of the copy.
        dispatcher: the dispatcher that limits and retries requests.
        effects: records a copy whose effect is unknown.
    """
    request = Request(bucket.url, "copy", key, conditional=True)
    token: str | None = None
    while True:
        url = source.address(
            *("o", info.key, "rewriteTo", "b", bucket.name, "o", key),
            ifGenerationMatch="0",
            ifSourceGenerationMatch=info.revision or None,
            sourceGeneration=info.revision or None,
            rewriteToken=token,
        )
        step = await dispatcher.send(partial(bucket.connection.ask, request, "POST", url), effects=effects)
        if step.get("done"):
            return described(request, step.get("resource") or {})
        with translating(translate, request):
            token = token_of(step, "rewriteToken")
        if not token:
            told = f"{bucket.url} did not finish copying {info.key!r}, and returned no token to continue with."
            raise StoreError(told, uncertain=True)
