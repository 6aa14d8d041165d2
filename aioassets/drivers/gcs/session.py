"""Requests to Google Cloud Storage, sent through the SDK's session or over aioassets' own connections."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import anyio

from aioassets.drivers.bodies import being_sent, body_of
from aioassets.drivers.gcs.credentials import TOKEN_SERVICES, Tokens, make_token
from aioassets.drivers.gcs.errors import read_service_error, translate
from aioassets.drivers.gcs.values import Checksum, Multipart
from aioassets.drivers.http.connections import MAX_ANSWER, MAX_ERROR, send_once, unredirected
from aioassets.drivers.http.responses import AnyResponse, SDKResponse
from aioassets.drivers.protocol import Data
from aioassets.drivers.service_errors import REDIRECTS, ForeignAnswer, Request, ServiceErrorRaised, translating
from aioassets.errors import InvalidSetting
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from aioassets.drivers.http.host import Host
    from aioassets.drivers.http.proxies import Proxy

_log = logging.getLogger(__name__)

RESUME_INCOMPLETE: Final = 308


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that has been read completely.

    Attributes:
        status: the HTTP status.
        headers: the headers, with lower-case names.
        body: the response body.
    """

    status: int
    headers: Mapping[str, str]
    body: Data


class Connection:
    """The connection to the API, which sends a driver's requests.

    The first request opens the connection. Any part of this that blocks runs in a worker thread. If a
    client is given, its session sends all requests.

    Args:
        url: the bucket's URL, for error messages.
        root: the URL of the API.
        service_file: a credentials file; `None` for application-default credentials.
        anonymous: whether to send no credentials.
        verify: whether to verify the server's TLS certificate.
        ca_bundle: a file of certificate authorities to trust instead of the system's.
        connect_timeout: the connection timeout in seconds.
        read_timeout: how many seconds a request may go without receiving data before it fails.
        max_connections: the maximum number of connections that the SDK's session opens.
        client: an existing `gcloud.aio.storage.Storage` whose session to use. It is never closed.
    """

    def __init__(
        self,
        url: str,
        root: str,
        *,
        service_file: str | os.PathLike[str] | None,
        anonymous: bool,
        verify: bool = True,
        ca_bundle: str | os.PathLike[str] | None = None,
        connect_timeout: float,
        read_timeout: float,
        max_connections: int,
        client: Any = None,
    ) -> None:
        self._url = url
        self._root = root
        self._service_file = service_file
        self._anonymous = anonymous
        self._verify = verify
        self._ca_bundle = None if ca_bundle is None else os.fspath(ca_bundle)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_connections = max_connections
        self._opening = anyio.Lock()
        self._owned = client is None
        self._client = client
        self._tokens: Tokens | None = None
        self._host: Host | None = None
        self._timeout: Any = None

    async def open(self) -> None:
        """Import the SDK and find credentials, unless this has already been done."""
        if self._timeout is None:
            async with self._opening:
                if self._timeout is None:
                    await self._open()

    async def token(self) -> Any:
        """Return the SDK's `Token` object, or `None` if no credentials are sent."""
        await self.open()
        return None if self._anonymous else self._client.token

    async def make_token(self, scope: str) -> Any:
        """Create another `Token` object for the same credentials. If a client was given, return the client's own."""
        if not self._owned:
            return self._client.token
        return await in_thread(make_token, self._url, self._service_file, self._client.session.session, scope)

    def tokens_for(self, token: Any) -> Tokens:
        """Return the access tokens of a `Token` object."""
        return Tokens(self._url, token)

    async def aclose(self) -> None:
        """Close the connections that this object opened."""
        with cleanup_scope():
            async with self._opening:
                self._timeout = None
                host, self._host = self._host, None
                if host is not None:
                    await host.aclose()
                if self._owned and self._client is not None:
                    client, self._client = self._client, None
                    if self._tokens is not None:
                        self._tokens.stop()
                    await client.session.session.close()

    async def call(
        self,
        request: Request,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Data | Multipart | None = None,
        secret: bool = False,
        direct: bool = False,
    ) -> Answer:
        """Send a request once, and read the whole response; see `exchange`.

        Raises:
            AioAssetsError: the store returned an error, or is unreachable.
        """
        async with self.exchange(
            request, method, url, headers=headers, body=body, secret=secret, direct=direct
        ) as response:
            if response.status >= 400:
                raise await self.refusal(response, secret=url if secret else None)
            return Answer(response.status, response.headers, await response.content(MAX_ANSWER, None))

    async def ask(self, request: Request, method: str, url: str) -> Any:
        """Send a request once, and return the JSON object in its response."""
        return self.parsed(request, await self.call(request, method, url))

    def parsed(self, request: Request, answer: Answer) -> Any:
        """Return the JSON object in a response."""
        with translating(translate, request):
            found = json.loads(bytes(answer.body))
            if not isinstance(found, dict):
                raise ForeignAnswer
        return found

    async def refusal(self, response: AnyResponse, *, secret: str | None = None) -> ServiceErrorRaised:
        """Read an error response, and return the exception for it."""
        body = await response.content(MAX_ERROR, self._read_timeout)
        return ServiceErrorRaised(read_service_error(response.status, response.headers, bytes(body), secret=secret))

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        request: Request,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Data | Multipart | None = None,
        secret: bool = False,
        direct: bool = False,
    ) -> AsyncIterator[AnyResponse]:
        """Send a request once, and yield its response, which remains open until the block ends.

        Args:
            request: the request, as described in error messages.
            method: the HTTP method.
            url: the URL.
            headers: the headers, with lower-case names.
            body: the request body.
            secret: whether the URL is a credential. If so, errors don't contain it, and no token is sent.
            direct: whether to use aioassets' own connections if possible.

        Raises:
            AioAssetsError: the request failed, or the body could not be read.
        """
        await self.open()
        token = await self._tokens.current() if self._tokens is not None and not secret else None
        sent = {**(headers or {}), "authorization": f"Bearer {token}"} if token else headers or {}
        with translating(translate, replace(request, server=self._root), secret=secret):
            if direct and self._host is not None and url.startswith(f"{self._host.origin}/"):
                response: AnyResponse = await self._host.send(method, url[len(self._host.origin) :], sent, body)
            else:
                response = await self._by_sdk(method, url, sent, body)
            async with response:
                _log.debug("%s %s %r: %d", method, self._url, request.key, response.status)
                if token is not None and self._tokens is not None:
                    self._tokens.judge(token, response.status)
                if response.status in REDIRECTS and not (secret and response.status == RESUME_INCOMPLETE):
                    raise await self.refusal(response)
                if not 200 <= response.status <= 206 and response.status not in (*range(400, 600), RESUME_INCOMPLETE):
                    raise ForeignAnswer
                yield response

    async def _by_sdk(
        self, method: str, url: str, headers: Mapping[str, str], body: Data | Multipart | None
    ) -> SDKResponse:
        from yarl import URL  # noqa: PLC0415 - loaded with the SDK

        options: dict[str, Any] = {"auto_decompress": "accept-encoding" not in headers}
        with body_of(body if isinstance(body, Data) else bytes(body or b"")) as content:
            if method != "GET":
                options["data"] = content
            with being_sent(content, self._read_timeout):
                response = await self._client.session.request(
                    method,
                    URL(url, encoded=True),
                    dict(headers),
                    auto_raise_for_status=False,
                    allow_redirects=False,  # in an upload session, 308 is not a redirect
                    timeout=self._timeout,
                    **options,
                )

        async def close() -> None:
            response.close()

        return SDKResponse(response.status, response.headers, response.content.iter_any(), close)

    async def _open(self) -> None:
        aiohttp = await in_thread(self._import)
        # There is no total timeout, since a large chunk may take a long time to transfer.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=self._read_timeout)
        if self._client is None:
            tls, proxy = await in_thread(self._route)
            connector = aiohttp.TCPConnector(limit=self._max_connections, resolver=aiohttp.ThreadedResolver(), ssl=tls)
            session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, trace_configs=[unredirected()], trust_env=True
            )
            send_once(session)
            try:
                self._client = await in_thread(self._make_client, session)
            except BaseException:
                await session.close()
                raise
            self._host = self._make_host(tls, proxy)
        self._tokens = None if self._anonymous else Tokens(self._url, self._client.token)
        self._timeout = timeout

    def _import(self) -> Any:
        try:
            import aiohttp  # noqa: PLC0415 - optional, and slow
            import gcloud.aio.storage  # noqa: F401, PLC0415

            import aioassets.drivers.http.host  # noqa: F401, PLC0415 - whose dependencies are optional, too
        except ImportError as error:
            raise InvalidSetting(
                "Google Cloud Storage requires the gcloud-aio-storage package: pip install 'aioassets[gcs]'."
            ) from error
        Checksum()  # imports what it needs
        return aiohttp

    def _make_client(self, session: Any) -> Any:
        """Read the credentials and create the SDK's client. Blocking."""
        from gcloud.aio.storage import Storage  # noqa: PLC0415

        token: Any = object() if self._anonymous else make_token(self._url, self._service_file, session)
        return Storage(session=session, token=token, api_root=self._root)

    def _route(self) -> tuple[ssl.SSLContext, Proxy | None]:
        from aioassets.drivers.http.proxies import (  # noqa: PLC0415 - loaded by now
            check_session_proxies,
            environment_proxy,
            tls_context,
        )

        check_session_proxies(self._root, *(() if self._anonymous else TOKEN_SERVICES))
        return tls_context(self._ca_bundle, verify=self._verify), environment_proxy(self._root)

    def _make_host(self, tls: ssl.SSLContext, proxy: Proxy | None) -> Host:
        from aioassets.drivers.http.host import Host  # noqa: PLC0415 - loaded by now

        timeouts = {"connect_timeout": self._connect_timeout, "read_timeout": self._read_timeout}
        return Host(self._root, tls=tls, proxy=proxy, **timeouts)
