"""Requests to Azure Blob Storage, sent through the SDK's client."""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import anyio

from aioassets.drivers.azure.errors import read_service_error, translate
from aioassets.drivers.azure.values import Account, answered_at, expiry
from aioassets.drivers.bodies import MIB, being_sent
from aioassets.drivers.http.connections import MAX_ANSWER, MAX_ERROR, received, send_once
from aioassets.drivers.protocol import Data
from aioassets.drivers.service_errors import ForeignAnswer, Kind, Request, ServiceErrorRaised, translating
from aioassets.errors import InvalidSetting, MissingCredentials
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.threads import in_thread

T = TypeVar("T")
D = TypeVar("D", bound=Data)

INLINE: Final = 64 * 1024
"""Bytes that are hashed and parsed on the loop; for more, a thread is worth its hop."""
API_VERSION: Final = "2021-12-02"
"""Of the REST API that the requests here are written against; old enough for installed emulators."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answered to a request.

    Attributes:
        headers: of any case.
        body: all of it.
    """

    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Connecting:
    """How to connect, where no client is given.

    Attributes:
        account: where, and with which key or signature.
        credential: a token credential of the SDK's, instead of those.
        anonymous: use no credential at all.
        verify: whether to verify the server's certificate.
        ca_bundle: certificate authorities to trust instead of the usual ones.
        connect_timeout: seconds.
        read_timeout: seconds without a byte.
        connections: how many there may be at once.
    """

    account: Account
    credential: Any
    anonymous: bool
    verify: bool
    ca_bundle: str | os.PathLike[str] | None
    connect_timeout: float
    read_timeout: float
    connections: int


class AzureClient:
    """One container, by the requests of the REST API.

    The SDK's client gives credentials, signatures and connections: its pipeline. Its own
    operations aren't used, because they hash and copy whole bodies on the event loop, read
    downloads into memory, and retry those behind the caller's back.

    Args:
        url: the container's, for people.
        container: its name.
        connecting: how to make a client; `None` where one is given.
        client: a `ContainerClient` of somebody else's.
        read_timeout: seconds after which a request is given up whose body isn't taken.
    """

    def __init__(
        self, url: str, container: str, connecting: Connecting | None, client: Any = None, *, read_timeout: float
    ) -> None:
        self._url = url
        self._container = container
        self._connecting = connecting
        self._client = client
        self._read_timeout = read_timeout
        self._credential: Any = None
        self._opening = anyio.Lock()

    async def account(self) -> str:
        """The account's host, which tells whether two containers are of one account."""
        return str((await self._connected()).primary_hostname)

    async def blob_url(self, key: str) -> str:
        """Where a blob is; with the signature, where access is by one."""
        return self._target(await self._connected(), key, {})

    async def call(
        self,
        method: str,
        key: str = "",
        *,
        verb: str = "write",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | BytesIO | None = None,
    ) -> Answer:
        """Send one request, once, and read its answer.

        Args:
            verb: what it does, for people: `read`, `write`, `list` or `delete`.
        """
        async with self.stream(method, key, verb=verb, query=query, headers=headers, body=body) as (answer, pieces):
            return Answer(answer.headers, await self._whole(pieces, Request(self._url, verb, key)))

    def reading(self, verb: str, key: str) -> contextlib.AbstractContextManager[None]:
        """Raise our errors where an answer can't be read."""
        return translating(translate, Request(self._url, verb, key))

    async def ask(self, parse: Callable[[bytes], T], key: str = "", *, verb: str, query: Mapping[str, str]) -> T:
        """Send one request, once, for a document, and parse it where that doesn't stall others."""
        body = (await self.call("GET", key, verb=verb, query=query)).body
        with self.reading(verb, key):
            return await off_the_loop(parse, body)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        key: str = "",
        *,
        verb: str = "read",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | BytesIO | None = None,
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Send one request, once, and read its answer's body piece by piece; closed on leaving."""
        client = await self._connected()
        headers = headers or {}
        conditional = "If-Match" in headers or "If-None-Match" in headers
        request = Request(self._url, verb, key, conditional, server=client.url)
        with translating(translate, request), being_sent(body, self._read_timeout):
            response = await self._send(client, method, self._target(client, key, query or {}), headers, body)
        try:
            with translating(translate, request):
                if response.status_code >= 300:
                    await self._drain(response)
                    refusal = read_service_error(response.status_code, response.reason, response.headers)
                    if refusal.kind is Kind.DENIED and (since := expiry(client.url, answered_at(response.headers))):
                        refusal = replace(refusal, message=f"The shared access signature has expired, at {since}")
                    raise ServiceErrorRaised(refusal)
                if response.status_code < 200 or "x-ms-request-id" not in response.headers:
                    raise ForeignAnswer
            async with contextlib.aclosing(self._pieces(response, request)) as pieces:
                yield Answer(response.headers), pieces
        finally:
            await response.close()

    async def aclose(self) -> None:
        """Close a client that was made here."""
        with cleanup_scope():
            async with self._opening:
                if self._connecting is not None and self._client is not None:
                    client, self._client = self._client, None
                    await client.close()
                    if self._credential is not None:
                        await self._credential.close()

    async def _send(
        self, client: Any, method: str, url: str, headers: Mapping[str, str], body: bytes | BytesIO | None
    ) -> Any:
        from azure.core.rest import HttpRequest  # noqa: PLC0415 - loaded with the client

        request = HttpRequest(method, url, headers={"x-ms-version": API_VERSION, **headers}, content=body)

        def rewind(_: Any) -> None:
            """The SDK sends a request again whose token is refused, and would then send no body."""
            if isinstance(body, BytesIO) and not body.closed:
                body.seek(0)

        # The client's own operations go through this very pipeline; it has no public name.
        pipeline = client._pipeline  # noqa: SLF001
        answer = await pipeline.run(request, stream=True, raw_response_hook=rewind, permit_redirects=False)
        return answer.http_response

    async def _drain(self, response: Any) -> None:
        """Read the body of an error, which says nothing more, so that the connection can be used again."""
        async with contextlib.aclosing(response.iter_raw()) as pieces:
            await received(pieces, MAX_ERROR, self._read_timeout)

    async def _whole(self, pieces: AsyncIterator[bytes], request: Request) -> bytes:
        with translating(translate, request):
            return await received(pieces, MAX_ANSWER)

    async def _pieces(self, response: Any, request: Request) -> AsyncGenerator[bytes, None]:
        with translating(translate, request):
            async with contextlib.aclosing(response.iter_raw()) as pieces:
                async for piece in pieces:
                    yield piece

    def _target(self, client: Any, key: str, query: Mapping[str, str]) -> str:
        base, _, signature = client.url.partition("?")
        path = f"{base}/{quote(key, safe='~/')}" if key else base
        fields = "&".join(filter(None, (urlencode(query, quote_via=quote), signature)))
        return f"{path}?{fields}" if fields else path

    async def _connected(self) -> Any:
        if self._client is None and self._connecting is not None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._open(self._connecting)
        return self._client

    async def _open(self, how: Connecting) -> Any:
        client, transport, trust = await in_thread(self._make_client, how)
        import aiohttp  # noqa: PLC0415 - loaded by now

        # As the SDK makes it, but with as many connections as there may be requests. It belongs to this loop.
        transport.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=how.connections, ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=True,
        )
        send_once(transport.session)
        return client

    def _make_client(self, how: Connecting) -> tuple[Any, Any, ssl.SSLContext | bool]:
        """Import the SDK and make its client, which blocks: to be run in a worker thread."""
        try:
            from azure.core.pipeline.transport import AioHttpTransport  # noqa: PLC0415 - optional, and slow
            from azure.storage.blob.aio import ContainerClient  # noqa: PLC0415
        except ImportError as error:
            raise InvalidSetting(
                "Azure needs the package azure-storage-blob: pip install 'aioassets[azure]'."
            ) from error
        # The SDK warns of what it raises, too; unless somebody set up logging, that would be on standard error.
        logging.getLogger("azure").addHandler(logging.NullHandler())
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
                retry_total=0,  # retrying is the dispatcher's
            )
        except ValueError as error:  # for example a token over plain HTTP
            raise InvalidSetting(f"{self._url} can't be used: {error}") from error
        return client, transport, _trusting(how)

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


async def off_the_loop(work: Callable[[D], T], data: D) -> T:
    """Run `work(data)` where it doesn't stall others."""
    return work(data) if len(data) <= INLINE else await in_thread(work, data)


def _trusting(how: Connecting) -> ssl.SSLContext | bool:
    """What a connection needs to verify the server."""
    if not how.verify:
        return False
    if how.ca_bundle is None:
        return True
    try:
        return ssl.create_default_context(cafile=os.fspath(how.ca_bundle))
    except OSError as error:
        raise InvalidSetting(f"The certificate authorities in {how.ca_bundle!r} can't be read: {error}.") from error
