"""Stand-in for Azure's Put Block From URL, which Azurite lacks: a relay reads the range, and stages it as a block."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from azure.storage.blob import BlobClient

from tools.relay import Exchange, Relay
from tools.servers import AZURITE_KEY

SOURCE = "x-ms-copy-source"


@dataclass(frozen=True)
class BlockFromURL:
    """Fault in the place of a request that copies a block: it does what the store would do.

    Attributes:
        server: the URL of Azurite, without a path.
        relay: the URL of the relay.
    """

    server: str
    relay: str

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.body()
        status, code = await asyncio.to_thread(self._copied, exchange.target, exchange.headers)
        headers = {"x-ms-request-id": "1"} | ({"x-ms-error-code": code} if code else {})
        await exchange.reply(status, headers, b"")

    def _copied(self, target: str, headers: Mapping[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(headers[SOURCE].replace(self.relay, self.server))
        request.add_header("x-ms-range", headers["x-ms-source-range"])
        request.add_header("if-match", headers["x-ms-source-if-match"])
        request.add_header("x-ms-version", "2021-12-02")
        try:
            with urllib.request.urlopen(request) as answer:
                data = bytes(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, "SourceConditionNotMet" if error.code == 412 else "CannotVerifyCopySource"
        if base64.b64encode(hashlib.md5(data).digest()).decode() != headers["x-ms-source-content-md5"]:
            return 400, "Md5Mismatch"
        parts = urlsplit(target)
        account, container, key = unquote(parts.path).lstrip("/").split("/", 2)
        block = base64.b64decode(parse_qs(parts.query)["blockid"][0]).decode()
        with BlobClient(f"{self.server}/{account}", container, key, credential=AZURITE_KEY) as blob:
            blob.stage_block(block, data)
        return 201, ""


def copies_blocks(relay: Relay) -> None:
    """Have a relay answer requests that copy blocks. Faults that were injected before come first."""
    relay.inject(
        BlockFromURL(relay.origin, relay.url),
        method="PUT",
        headers=lambda headers: SOURCE in headers and "x-ms-source-range" in headers,
        times=float("inf"),
    )
