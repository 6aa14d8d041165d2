"""How S3's SDK sends requests. Imports the SDK, so it is itself imported only where that is wanted."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.httpsession import get_cert_path

from aioassets.drivers.http.connections import MAX_ANSWER, MAX_ERROR, received, send_once
from aioassets.errors import InvalidSetting


class Bounded(aiohttp.ClientResponse):
    """An answer that is never read without end.

    Attributes:
        patience: seconds that the body of an error may take.
    """

    patience: float | None = None

    async def read(self) -> bytes:
        """See `aiohttp.ClientResponse.read`; the SDK reads once."""
        limit, seconds = (MAX_ERROR, self.patience) if self.status >= 300 else (MAX_ANSWER, None)
        try:
            return await received(self.content.iter_any(), limit, seconds)
        except BaseException:
            self.close()
            raise


class Unredirected:
    """The part of aiohttp's session that the SDK uses, which follows no redirects and reads no answer without end.

    Args:
        session: aiohttp's.
        patience: seconds that the body of an error may take.
    """

    def __init__(self, session: aiohttp.ClientSession, patience: float) -> None:
        session._response_class = Bounded  # noqa: SLF001 - the SDK makes the session, and passes none
        self._session = session
        self._patience = patience

    async def request(self, method: str, **options: Any) -> aiohttp.ClientResponse:
        """Send one request."""
        response = await self._session.request(method, allow_redirects=False, **options)
        if response.status < 200:
            response.close()
            raise aiohttp.ClientPayloadError("it goes on with another protocol")
        if isinstance(response, Bounded):
            response.patience = self._patience
        return response


class Session(AIOHTTPSession):  # type: ignore[misc]  # the SDK has no types
    """Sends each request once, and tells how to do the same without it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._options = options

    def is_direct_to(self, scheme: str) -> bool:
        """Whether no proxy is between."""
        return scheme not in (self._options.get("proxies") or {})

    def tls(self) -> ssl.SSLContext:
        """How it encrypts; reads files.

        Raises:
            InvalidSetting: one of them can't be used.
        """
        verify, certificate = self._options.get("verify", True), self._options.get("client_cert")
        try:
            context = ssl.create_default_context(cafile=get_cert_path(verify) if verify else None)
            if certificate is not None:
                context.load_cert_chain(*((certificate,) if isinstance(certificate, str) else certificate))
        except OSError as error:
            files = f"{certificate!r}, or those of authorities in {verify!r}," if certificate else f"in {verify!r}"
            raise InvalidSetting(f"The certificates {files} can't be read: {error}.") from error
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def timeouts(self) -> tuple[float, float]:
        """Seconds to wait for a connection, and for the next bytes."""
        connect, read = self._options["timeout"]
        return connect, read

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        send_once(session)
        return Unredirected(session, self.timeouts[1])
