"""Requests to an Azure Blob Storage container."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from aioassets.drivers.azure.errors import read_service_error, translate
from aioassets.drivers.azure.sdk import Connecting, SDKClient
from aioassets.drivers.azure.values import answered_at, expiry, target
from aioassets.drivers.http.connections import MAX_ANSWER, MAX_ERROR
from aioassets.drivers.http.responses import AnyResponse
from aioassets.drivers.protocol import Data
from aioassets.drivers.service_errors import ForeignAnswer, Kind, Request, ServiceErrorRaised, translating
from aioassets.runtime.threads import in_thread

_log = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D", bound=Data)

INLINE: Final = 64 * 1024
"""Maximum size in bytes of data to hash or parse on the event loop. Longer data is processed in a thread."""


class AzureClient:
    """A client for the REST API of a container.

    Requests that transfer blobs and blocks use aioassets' own connections. The SDK sends all others.
    If a client is given, it sends all requests.

    Args:
        url: the container's URL, for error messages.
        container: the container's name.
        connecting: options for creating a client; `None` if one is given.
        client: an existing `ContainerClient` to use instead. The driver never closes it.
        read_timeout: how many seconds sending a request body may stall before the request fails.
    """

    def __init__(
        self, url: str, container: str, connecting: Connecting | None, client: Any = None, *, read_timeout: float
    ) -> None:
        self.url = url
        self.container = container
        self._read_timeout = read_timeout
        self._sdk = SDKClient(url, container, connecting, client, read_timeout=read_timeout)

    async def account(self) -> str:
        """Return the account's host name, which identifies the account."""
        return str((await self._sdk.opened()).primary_hostname)

    async def opened(self) -> Any:
        """Return the SDK's client, creating it if necessary."""
        return await self._sdk.opened()

    @property
    def has_signature(self) -> bool:
        """Whether requests are authorized by a shared access signature. Known once the client is opened."""
        return "?" in self._sdk.url

    def plain_url(self, key: str) -> str:
        """Return the URL of a blob without any signature. Known once the client is opened."""
        return target(self._sdk.url.partition("?")[0], key, {})

    async def blob_url(self, key: str) -> str:
        """Return the URL of a blob, with the shared access signature if there is one."""
        await self._sdk.opened()
        return target(self._sdk.url, key, {})

    async def as_source(self, key: str) -> Mapping[str, str]:
        """Return the headers that name a blob to copy a range of, and let the store read it.

        If a client was given, its credentials are unknown, so the store may refuse.
        """
        url = await self.blob_url(key)
        direct = self._sdk.direct
        return {"x-ms-copy-source": url} if direct is None else await direct.as_source(url, self.container, key)

    async def call(
        self,
        method: str,
        key: str = "",
        *,
        verb: str = "write",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Data | None = None,
        direct: bool = False,
    ) -> Mapping[str, str]:
        """Send a request once, and return the headers of its response.

        Args:
            method: the HTTP method.
            key: the blob's key; empty for a request to the container.
            verb: the operation, as named in error messages, such as `read` or `write`.
            query: the query parameters, not encoded, with lower-case names.
            headers: the headers, with lower-case names.
            body: the request body. Its length is sent as a header.
            direct: whether to use aioassets' own connections if possible.
        """
        async with self.stream(
            method, key, verb=verb, query=query, headers=headers, body=body, direct=direct
        ) as response:
            await response.content(MAX_ANSWER, None)
            return response.headers

    def reading(self, verb: str, key: str) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that translates errors that occur while a response is parsed."""
        return translating(translate, Request(self.url, verb, key))

    async def ask(self, parse: Callable[[Data], T], key: str = "", *, verb: str, query: Mapping[str, str]) -> T:
        """Send a request once, and parse its response. A long response is parsed in a thread."""
        async with self.stream("GET", key, verb=verb, query=query) as response:
            return await off_the_loop(parse, await response.content(MAX_ANSWER, None))

    async def ask_account(self, parse: Callable[[Data], T], *, verb: str, query: Mapping[str, str], body: Data) -> T:
        """Post a document to the account once, and parse the response."""
        await self._sdk.opened()
        with translating(translate, Request(self.url, verb, server=self._sdk.url)):
            async with await self._sdk.send("POST", "", query, {}, body, to_account=True) as response:
                _log.debug("POST %s %s: %d", self.url, query.get("comp"), response.status)
                if response.status >= 300:
                    raise await self._refusal(response)
                return parse(await response.content(MAX_ANSWER, None))

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        key: str = "",
        *,
        verb: str = "read",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Data | None = None,
        direct: bool = False,
    ) -> AsyncIterator[AnyResponse]:
        """Send a request once, and yield its response, which remains open until the block ends."""
        await self._sdk.opened()
        headers = headers or {}
        conditional = "if-match" in headers or "if-none-match" in headers
        with translating(translate, Request(self.url, verb, key, conditional, server=self._sdk.url)):
            async with await self._send(method, key, query or {}, headers, body, direct) as response:
                _log.debug("%s %s %r: %d", method, self.url, key, response.status)
                if response.status >= 300:
                    raise await self._refusal(response)
                if response.status < 200 or "x-ms-request-id" not in response.headers:
                    raise ForeignAnswer
                yield response

    async def aclose(self) -> None:
        """Close the connections, and the SDK client if this object created it."""
        await self._sdk.aclose()

    async def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Data | None,
        direct: bool,
    ) -> AnyResponse:
        if direct and self._sdk.direct is not None:
            response = await self._sdk.direct.send(method, key, query, headers, body)
            if response is not None:
                return response
        return await self._sdk.send(method, key, query, headers, body)

    async def _refusal(self, response: AnyResponse) -> ServiceErrorRaised:
        body = await response.content(MAX_ERROR, self._read_timeout)
        refusal = read_service_error(response.status, response.headers, bytes(body))
        if refusal.kind is Kind.DENIED and (since := expiry(self._sdk.url, answered_at(response.headers))):
            refusal = replace(refusal, message=f"The shared access signature expired at {since}")
        return ServiceErrorRaised(refusal)


async def off_the_loop(work: Callable[[D], T], data: D) -> T:
    """Run `work(data)`, in a thread if the data is long."""
    return work(data) if len(data) <= INLINE else await in_thread(work, data)
