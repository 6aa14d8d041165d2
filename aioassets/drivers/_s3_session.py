"""How S3's SDK sends requests. Imports the SDK, so it is itself imported only where that is wanted."""

from __future__ import annotations

from typing import Any

from aiobotocore.httpsession import AIOHTTPSession

from aioassets.drivers._connections import send_once


class Session(AIOHTTPSession):  # type: ignore[misc]  # the SDK has no types
    """Sends each request once."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        send_once(session)
        return session
