"""URLs of objects, signed by the SDK. Signing sends no request, except perhaps for credentials."""

from __future__ import annotations

from typing import Any, Final

_SIGNER: Final = "choose-signer.s3.GetObject"
_RESOLUTION: Final = "before-endpoint-resolution.s3"
_SIGNING: Final = "before-sign.s3.GetObject"
_PAYER: Final = "x-amz-request-payer"


async def presigned(sdk: Any, bucket: str, key: str, seconds: int = 3600, **params: str) -> str:
    """Return the URL of an object, signed with version 4 for the regional endpoint.

    If the client doesn't sign requests, neither is the URL signed.

    Args:
        sdk: an aiobotocore S3 client.
        bucket: the bucket's name.
        key: the object's key.
        seconds: the lifetime of the URL.
        params: further parameters of `get_object`.
    """
    sdk.meta.events.register_first(_SIGNER, _version_4, unique_id="aioassets-presign-version-4")
    sdk.meta.events.register_first(_RESOLUTION, _regional, unique_id="aioassets-presign-regional")
    sdk.meta.events.register_first(_SIGNING, _payer_in_query, unique_id="aioassets-presign-payer")
    url: str = await sdk.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key, **params}, ExpiresIn=seconds
    )
    return url


def _version_4(signature_version: Any, **_: Any) -> str | None:
    """Select signature version 4 for presigning. By default, the SDK presigns with the outdated version 2."""
    return "s3v4-query" if signature_version in ("v4-query", "s3v4-query") else None


def _regional(context: dict[str, Any], **_: Any) -> None:
    """Keep the SDK from presigning for the global endpoint, which redirects requests for new buckets."""
    if "use_global_endpoint" in context:
        context["use_global_endpoint"] = False


def _payer_in_query(request: Any, **_: Any) -> None:
    """Move the consent of a requester-pays bucket's reader from the headers, which a browser doesn't send."""
    if request.context.get("is_presign_request") and _PAYER in request.headers:
        request.params[_PAYER] = request.headers[_PAYER]
        del request.headers[_PAYER]
