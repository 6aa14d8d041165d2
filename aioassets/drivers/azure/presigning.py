"""URLs of blobs with a shared access signature, made with the account's key or a user delegation key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from aioassets.drivers.azure.client import AzureClient
from aioassets.drivers.azure.values import delegation_request, parse_delegation_key, time_after
from aioassets.errors import CannotPresign, MissingCredentials


async def presigned(client: AzureClient, key: str, expires: timedelta) -> str:
    """Return the URL of a blob with a signature that lets anyone read it.

    With a token credential, one request asks the store for a user delegation key. It expires with the signature.

    Raises:
        CannotPresign: the client has only a shared access signature, which can't sign others.
        MissingCredentials: the client has no credentials.
        AccessDenied: the store refuses the user delegation key.
    """
    sdk = await client.opened()
    credential = sdk.credential
    if hasattr(credential, "account_key"):
        return _signed(client, sdk, key, expires, account_key=credential.account_key)
    if hasattr(credential, "get_token"):
        delegation = await _delegation_key(client, expires)
        return _signed(client, sdk, key, expires, user_delegation_key=_as_key_of_sdk(delegation))
    if client.has_signature:
        raise CannotPresign(
            client.url, "a shared access signature can't sign others. Use the account's key, or sign in to Azure."
        )
    raise MissingCredentials(client.url, "anonymous access can't sign URLs.")


def _signed(client: AzureClient, sdk: Any, key: str, expires: timedelta, **by: Any) -> str:
    from azure.storage.blob import BlobSasPermissions, generate_blob_sas  # noqa: PLC0415 - loaded with the client

    signature = generate_blob_sas(
        f"{sdk.account_name}",
        client.container,
        key,
        permission=BlobSasPermissions(read=True),
        expiry=time_after(expires),
        **by,
    )
    return f"{client.plain_url(key)}?{signature}"


async def _delegation_key(client: AzureClient, expires: timedelta) -> Mapping[str, str]:
    document = delegation_request(time_after(timedelta()), time_after(expires))
    return await client.ask_account(
        parse_delegation_key,
        verb="get a user delegation key",
        query={"restype": "service", "comp": "userdelegationkey"},
        body=document,
    )


def _as_key_of_sdk(fields: Mapping[str, str]) -> Any:
    from azure.storage.blob import UserDelegationKey  # noqa: PLC0415 - loaded with the client

    key: Any = cast("Any", UserDelegationKey)()
    key.signed_oid, key.signed_tid = fields["SignedOid"], fields["SignedTid"]
    key.signed_start, key.signed_expiry = fields["SignedStart"], fields["SignedExpiry"]
    key.signed_service, key.signed_version = fields["SignedService"], fields["SignedVersion"]
    key.value = fields["Value"]
    return key
