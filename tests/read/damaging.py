"""Driver that damages what it reads."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator

from tools.interposer import Interposer

from aioassets.drivers.protocol import Data, Driver, Revision


class Damaging(Interposer):
    """Driver that flips a bit of an object while it is read, without changing its revision.

    Attributes:
        key: the key of the object.
        at: the offset of the byte.
        times: how often it is damaged.
    """

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.key, self.at, self.times = "", 0, math.inf

    async def read_range(
        self, key: str, start: int, stop: int, *, revision: Revision | None = None
    ) -> AsyncGenerator[Data, None]:
        async for chunk in super().read_range(key, start, stop, revision=revision):
            if key == self.key and start <= self.at < start + len(chunk) and self.times > 0:
                self.times -= 1
                damaged = bytearray(chunk)
                damaged[self.at - start] ^= 1
                yield bytes(damaged)
            else:
                yield chunk
            start += len(chunk)
