"""The SDK client for a single container, and the requests made through it."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import anyio

from aioassets.drivers.azure.values import API_VERSION, Account, parent_of, target
from aioassets.drivers.bodies import MIB, being_sent, body_of
from aioassets.drivers.http.connections import send_once
from aioassets.drivers.http.responses import SDKResponse
from aioassets.drivers.protocol import Data
from aioassets.errors import InvalidSetting, MissingCredentials
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from aioassets.drivers.azure.direct import DirectClient
    from aioassets.drivers.http.proxies import Proxy

_SIGN_IN: Final = "https://login.microsoftonline.com"
"""The service that issues tokens."""


@dataclass(frozen=True, slots=True)
class Connecting:
    """Options for creating an SDK client.

    Attributes:
        account: the account, with its key or signature if there is one.
        credential: an SDK token credential to use instead of a key or signature.
        anonymous: whether to use no credentials.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of the system's.
        connect_timeout: the connection timeout in seconds.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        connections: the maximum number of concurrent connections.
    """

    account: Account
    credential: Any
    anonymous: bool
    verify: bool
    ca_bundle: str | os.PathLike[str] | None
    connect_timeout: float
    read_timeout: float
    connections: int

    @property
    def signs_in(self) -> bool:
        """Whether requests carry tokens."""
        return not (self.anonymous or (self.credential is None and (self.account.key or self.account.sas)))


class SDKClient:
    """The SDK's `ContainerClient`, which is created by the first request.

    Requests go through the client's pipeline, because the client's methods hash and copy whole bodies on the
    event loop.

    Args:
        url: the container's URL, for error messages.
        container: the container's name.
        connecting: options for creating a client; `None` if one is given.
        client: an existing `ContainerClient` to use instead. It is never closed.
        read_timeout: how many seconds sending a request body may stall before the request fails.
    """

    def __init__(
        self, url: str, container: str, connecting: Connecting | None, client: Any, *, read_timeout: float
    ) -> None:
        self._url = url
        self._container = container
        self._connecting = connecting
        self._client = client
        self._read_timeout = read_timeout
        self._credential: Any = None
        self._opening = anyio.Lock()
        self.url = "" if client is None else str(client.url)
        """The container's URL, including the shared access signature if one is used. Set when the client is opened."""
        self.direct: DirectClient | None = None
        """A client for the same container that uses aioassets' own connections, or `None` if it can't be used."""

    async def opened(self) -> Any:
        """Return the SDK client, creating it if necessary."""
        if self._client is None and self._connecting is not None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._open(self._connecting)
        return self._client

    async def send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Data | None,
        *,
        to_account: bool = False,
    ) -> SDKResponse:
        """Send a request once: to a blob, to the container if the key is empty, or to the account."""
        from azure.core.rest import HttpRequest  # noqa: PLC0415 - loaded with the client

        if body is not None:
            headers = {**headers, "content-length": str(len(body))}
        with body_of(body or b"") as content, being_sent(content, self._read_timeout):
            request = HttpRequest(
                method,
                target(parent_of(self.url) if to_account else self.url, key, query),
                headers={"x-ms-version": API_VERSION, **headers},
                content=None if body is None else content,
            )

            def rewind(_: Any) -> None:
                """Rewind the body, because the SDK resends it if a token is rejected."""
                if isinstance(content, BytesIO) and not content.closed:
                    content.seek(0)

            # The pipeline behind all of the client's methods, which has no public name.
            pipeline = self._client._pipeline  # noqa: SLF001
            answer = await pipeline.run(request, stream=True, raw_response_hook=rewind, permit_redirects=False)
        response = answer.http_response
        return SDKResponse(response.status_code, response.headers, response.iter_raw(), response.close)

    async def aclose(self) -> None:
        """Close the connections, and the SDK client if this object created it."""
        with cleanup_scope():
            async with self._opening:
                if self._connecting is None or self._client is None:
                    return
                client, self._client = self._client, None
                direct, self.direct = self.direct, None
                if direct is not None:
                    await direct.aclose()
                await client.close()
                if self._credential is not None:
                    await self._credential.close()

    async def _open(self, how: Connecting) -> Any:
        client, transport, tls, proxy = await in_thread(self._make_client, how)
        import aiohttp  # noqa: PLC0415 - loaded by now

        # Like the SDK's own session, but with as many connections as the budget allows requests.
        transport.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=how.connections, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=True,
        )
        send_once(transport.session)
        self.url = client.url  # a property that the SDK computes on each access
        self.direct = self._make_direct(how, tls, proxy)
        return client

    def _make_direct(self, how: Connecting, tls: ssl.SSLContext, proxy: Proxy | None) -> DirectClient | None:
        from aioassets.drivers.azure.direct import DirectClient  # noqa: PLC0415 - loaded by now
        from aioassets.drivers.azure.signing import SharedKey, Tokens  # noqa: PLC0415
        from aioassets.drivers.http.host import Host  # noqa: PLC0415

        authorization: SharedKey | Tokens | None = None
        credential = how.credential or self._credential
        if credential is not None:
            authorization = Tokens(credential)
        elif how.account.key and not how.anonymous:
            try:
                authorization = SharedKey(f"{how.account.name}", how.account.key)
            except ValueError:  # the SDK reports the invalid key
                return None
        host = Host(self.url, tls=tls, connect_timeout=how.connect_timeout, read_timeout=how.read_timeout, proxy=proxy)
        return DirectClient(host, self.url, authorization)

    def _make_client(self, how: Connecting) -> tuple[Any, Any, ssl.SSLContext, Proxy | None]:
        """Import the SDK and create its client. Blocking."""
        try:
            from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415 - optional, and slow
            from azure.storage.blob.aio import ContainerClient  # noqa: PLC0415

            import aioassets.drivers.azure.direct  # noqa: F401, PLC0415 - whose dependencies are optional, too
            from aioassets.drivers.http.proxies import (  # noqa: PLC0415
                check_session_proxies,
                environment_proxy,
                tls_context,
            )
        except ImportError as error:
            raise InvalidSetting(
                "Azure requires the azure-storage-blob package: pip install 'aioassets[azure]'."
            ) from error
        # The SDK logs the errors that it raises. Without a handler, they would appear on standard error.
        logging.getLogger("azure").addHandler(logging.NullHandler())
        check_session_proxies(how.account.url, *([_SIGN_IN] if how.signs_in else []))
        transport = AioHttpTransport(
            connection_timeout=how.connect_timeout,
            read_timeout=how.read_timeout,
            connection_data_block_size=MIB,
        )
        try:
            client = ContainerClient(
                how.account.url,
                self._container,
                credential=self._credential_for(how),
                transport=transport,
                retry_total=0,  # the dispatcher retries
            )
        except ValueError as error:  # for example, a token with plain HTTP
            raise InvalidSetting(f"Cannot use {self._url}: {error}") from error
        cafile = None if how.ca_bundle is None else os.fspath(how.ca_bundle)
        return client, transport, tls_context(cafile, verify=how.verify), environment_proxy(how.account.url)

    def _credential_for(self, how: Connecting) -> Any:
        account = how.account
        if how.anonymous:
            return None
        if how.credential is not None:
            return how.credential
        if account.key:
            return {"account_name": account.name, "account_key": account.key}
        if account.sas:
            return account.sas
        try:
            from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - optional, and slow
        except ImportError as error:
            raise MissingCredentials(
                self._url,
                "set connection_string (AZURE_STORAGE_CONNECTION_STRING), account_key or sas_token, install "
                "azure-identity, or set anonymous=true for a public container.",
            ) from error
        self._credential = DefaultAzureCredential()
        return self._credential
