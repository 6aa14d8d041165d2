"""The way of a request to the store and back, with all that can happen on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from aioassets.drivers.protocol import Expect, Revision
from aioassets.errors import AioAssetsError, StoreUnavailable
from simulation.faults import LONGEST, TIMEOUT, Conditions, Kind, RequestId, Weather
from simulation.loop import OUTSIDE, Lane, VirtualLoop
from simulation.server import NoSuchUpload

T = TypeVar("T")
URL: Final = "sim://store"


class Garbled(Exception):
    """An answer that makes no sense, of a request that took effect."""


@dataclass(slots=True)
class Sender:
    """One operation, as the store sees it.

    Attributes:
        label: which one it is.
        lane: its process.
        task: what to cancel.
        sent: how many requests it sent.
    """

    label: str
    lane: Lane
    task: asyncio.Task[Any] | None = None
    sent: int = 0


SENDER: Final[ContextVar[Sender]] = ContextVar("simulation_sender")
"""The operation that runs."""


@dataclass(slots=True)
class Network:
    """What carries requests to the store.

    Attributes:
        loop: the time.
        weather: how requests fare; `None` in the calm after all.
        note: writes something down, where that is wanted.
        faults: the requests that met a fault.
        requests: how many were sent.
        acting: the operation whose request takes effect now.
        lanes: the process of each operation.
        is_down: whether nothing can be sent any more.
    """

    loop: VirtualLoop
    weather: Weather | None
    note: Callable[[str, str], None] | None = None
    faults: dict[RequestId, Kind] = field(default_factory=dict)
    requests: int = 0
    acting: str = ""
    lanes: dict[str, Lane] = field(default_factory=dict)
    is_down: bool = False
    _names: dict[str, str] = field(default_factory=dict)

    def described(self, key: str, data: bytes, expected: Revision | Expect) -> str:
        """Return what is written, with names for random tokens that are the same in each run."""
        if self.note is None or key.startswith("assets/."):
            return key
        found = json.loads(data)
        claim = found.get("aioassets_claim", {})
        if token := claim.get("token", found.get("token")):
            name = self._names.setdefault(token, f"t{len(self._names)}")
            text = f"{claim.get('state', 'SEALED')} {name}" + (
                f" +{claim['renewals']}" if claim.get("renewals") else ""
            )
        else:
            text = " ".join(found.get("versions", ()))
        return f"write {key} <{text}>" + ("" if expected is not Expect.ABSENT else " if absent")

    async def exchange(self, what: str, effect: Callable[[float], T], *, weight: float = 0.0) -> T:
        """Send a request, and wait for its answer.

        Args:
            what: what it is, for people.
            effect: does it at the store, whose clock is so many seconds wrong.
            weight: of faults, as for `Weather.of`.
        """
        if self.is_down:
            raise StoreUnavailable(URL, "the simulation is over.", uncertain=False)
        sender = SENDER.get()
        sender.sent += 1
        self.lanes[sender.label] = sender.lane
        self.requests += 1
        if self.weather is None:
            await asyncio.sleep(0.001)
            return self.acted(sender, what, effect, 0.0)
        number = (sender.label, sender.sent)
        fares = self.weather.of(number, weight=weight)
        if fares.fault is not None:
            self.faults[number] = fares.fault
            if self.note is not None:
                self.note(sender.label, f"{what}  <-- {fares.fault.value}")
        request = _Request(self, sender, what, effect, fares, self.loop.create_future())
        request.send()
        answer: T = await request.answer
        return answer

    def acted(self, sender: Sender, what: str, effect: Callable[[float], T], skew: float) -> T:
        """Let a request take effect at the store."""
        self.acting = sender.label
        try:
            result = effect(skew)
        except Exception as error:
            if self.note is not None:
                self.note(sender.label, f"{what}  = {type(error).__name__}")
            raise
        if self.note is not None:
            self.note(sender.label, what)
        return result


@dataclass(frozen=True, slots=True)
class _Request(Generic[T]):
    """One request on its way."""

    network: Network
    sender: Sender
    what: str
    effect: Callable[[float], T]
    fares: Conditions
    answer: asyncio.Future[T]

    def send(self) -> None:
        """Let happen what the fault says."""
        there, back, duration = self.fares.there, self.fares.back, self.fares.duration
        match self.fares.fault:
            case None | Kind.GARBLED:
                self._later(there, self._act)
            case Kind.LATE:
                self._later(duration, self._act, False)
                self._later(TIMEOUT, self._fail, _no_answer())
            case Kind.LOST:
                self._later(there, self._act, False)
                self._later(there + back, self._fail, _no_answer())
            case Kind.DROPPED:
                self._later(there + back, self._fail, _no_answer())
            case Kind.REFUSED:
                busy = StoreUnavailable(URL, "busy.", uncertain=False, throttled=True)
                self._later(there + back, self._fail, busy)
            case fault:
                self._upset(fault, there, back, duration)

    def _upset(self, fault: Kind, there: float, back: float, duration: float) -> None:
        """Let something happen to the process or the operation."""
        loop, lane = self.network.loop, self.sender.lane
        is_early = back < there  # a coin that the seed tossed
        match fault:
            case Kind.KILLED_BEFORE:
                lane.is_dead = True
            case Kind.KILLED_AFTER:
                lane.is_dead = True
                self._later(there if is_early else duration, self._act, False)
            case Kind.PAUSED_BEFORE:
                loop.pause(lane, duration)
                self._later(duration + there, self._act)
            case Kind.PAUSED_AFTER:
                loop.pause(lane, duration)
                self._later(there, self._act, is_early)
                self._later(duration, self._fail, _no_answer())
            case Kind.CANCELLED:
                self._later(there, self._act)
                if self.sender.task is not None:
                    self._later((there + back) * duration / LONGEST, self.sender.task.cancel)

    def _act(self, answered: bool = True) -> None:
        """Take effect, and answer."""
        try:
            result = self.network.acted(self.sender, self.what, self.effect, self.fares.skew)
        except (AioAssetsError, NoSuchUpload) as error:
            if answered:
                self._later(self.fares.back, self._fail, error)
        else:
            if answered and self.fares.fault is Kind.GARBLED:
                self._later(self.fares.back, self._fail, Garbled(self.what))
            elif answered:
                self._later(self.fares.back, self._succeed, result)

    def _succeed(self, result: T) -> None:
        if not self.answer.done():
            self.answer.set_result(result)

    def _fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def _later(self, delay: float, action: Callable[..., Any], *args: Any) -> None:
        self.network.loop.call_at(self.network.loop.time() + delay, action, *args, context=OUTSIDE)


def _no_answer() -> StoreUnavailable:
    return StoreUnavailable(URL, "no answer.", uncertain=True)
