"""Bodies of documents are read up to the limit of a document."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from aioassets import StoreCorrupt
from aioassets.drivers.bodies import read_whole

URL = "s3://models/key"


class Endless:
    """An endless body, in pieces of ten bytes."""

    def __init__(self) -> None:
        self.sent = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            self.sent += 10
            yield b"x" * 10


@pytest.mark.parametrize("length", [None, 0, 7])
async def test_a_body_is_counted_whatever_length_was_declared(length: int | None) -> None:
    body = Endless()
    with pytest.raises(StoreCorrupt, match="s3://models/key is invalid: it is larger than the 1,000 bytes"):
        await read_whole(body.pieces(), length, 1000, URL)
    assert body.sent == 1010


async def test_a_body_declared_too_large_is_not_read() -> None:
    body = Endless()
    with pytest.raises(StoreCorrupt, match="it is larger"):
        await read_whole(body.pieces(), 1001, 1000, URL)
    assert body.sent == 0
