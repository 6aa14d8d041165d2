"""How S3's SDK sends requests. Imports the SDK, so it is itself imported only where that is wanted."""

from __future__ import annotations

import ssl
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from botocore.httpsession import get_cert_path

from aioassets.drivers._connections import send_once
from aioassets.errors import InvalidSetting


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
        return session
