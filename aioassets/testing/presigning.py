"""Conformance tests for signed URLs."""

from __future__ import annotations

from datetime import timedelta
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from aioassets.drivers.protocol import Driver
from aioassets.errors import CannotPresign, MissingCredentials
from aioassets.runtime.threads import in_thread
from aioassets.testing.requests import PartSized
from aioassets.testing.sources import BytesSource

_HOUR = timedelta(hours=1)


class PresignConformance(PartSized):
    """Tests for signed URLs."""

    presigns = False

    @pytest.mark.parametrize("key", ["a/b", "with space/ünï+%20?#&='.bin"])
    async def test_anyone_can_read_the_object_of_a_signed_url(self, driver: Driver, key: str) -> None:
        """The URL needs no other headers, and is good for this object only. Without support, it is refused."""
        await driver.upload(key, BytesSource(b"signed"))
        await driver.upload(f"{key}!", BytesSource(b"not signed"))
        if not self.presigns:
            with pytest.raises((CannotPresign, MissingCredentials)):
                await driver.presign(key, _HOUR)
            return
        url = await driver.presign(key, _HOUR)
        assert await in_thread(_get, url) == (200, b"signed")
        status, _ = await in_thread(_get, url.replace("?", "!?", 1))
        assert status == 403

    async def test_signing_needs_no_object(self, driver: Driver) -> None:
        if self.presigns:
            url = await driver.presign("missing", _HOUR)
            assert (await in_thread(_get, url))[0] == 404


def _get(url: str) -> tuple[int, bytes]:
    """Send a request without credentials, and return the status and the body. Blocking."""
    try:
        with urlopen(url, timeout=30) as response:  # noqa: S310 - the URL of the driver
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, b""
