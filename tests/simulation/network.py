"""Simulated network between processes and the store, with its faults."""

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
OTHER_URL: Final = "sim://other"


class Garbled(Exception):
    """Invalid response to a request that took effect."""


@dataclass(slots=True)
class Sender:
    """Operation that sends requests.

    Attributes:
        label: its unique label.
        lane: its process.
        task: its task, to cancel it.
        sent: number of requests sent.
    """

    label: str
    lane: Lane
    task: asyncio.Task[Any] | None = None
    sent: int = 0


SENDER: Final[ContextVar[Sender]] = ContextVar("simulation_sender")
"""The running operation."""


@dataclass(slots=True)
class Network:
    """Network between processes and the store.

    Attributes:
        loop: the event loop, which has the time.
        weather: the conditions of requests; `None` for no faults.
        note: a function that writes the trace, or `None`.
        faults: the requests with faults.
        requests: number of requests sent.
        acting: the operation whose request takes effect now.
        lanes: the process of each operation.
        is_down: whether the network is down.
        outages: the time until which a process doesn't reach the store.
    """

    loop: VirtualLoop
    weather: Weather | None
    note: Callable[[str, str], None] | None = None
    faults: dict[RequestId, Kind] = field(default_factory=dict)
    requests: int = 0
    acting: str = ""
    lanes: dict[str, Lane] = field(default_factory=dict)
    is_down: bool = False
    outages: dict[Lane, float] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def described(self, key: str, data: bytes, expected: Revision | Expect) -> str:
        """Describe a write, with deterministic names in place of random tokens."""
        if self.note is None or "/." in key:
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
        """Send a request, and wait for its response.

        Args:
            what: its description, for the trace.
            effect: a function that executes it at the store, given the error of its clock in seconds.
            weight: the factor of the rate of faults, as for `Weather.of`.
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
            if fares.fault is Kind.OUTAGE:
                self.outages[sender.lane] = self.loop.time() + fares.duration
        if self.outages.get(sender.lane, 0.0) > self.loop.time():
            await asyncio.sleep(fares.there)
            raise StoreUnavailable(URL, "out of reach.", uncertain=False)
        request = _Request(self, sender, what, effect, fares, self.loop.create_future())
        request.send()
        answer: T = await request.answer
        return answer

    def acted(self, sender: Sender, what: str, effect: Callable[[float], T], skew: float) -> T:
        """Execute a request at the store."""
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
    """Request in flight."""

    network: Network
    sender: Sender
    what: str
    effect: Callable[[float], T]
    fares: Conditions
    answer: asyncio.Future[T]

    def send(self) -> None:
        """Schedule the effect and the response, according to the fault."""
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
        """Schedule a fault of the process or the operation."""
        loop, lane = self.network.loop, self.sender.lane
        is_early = back < there  # a random bit from the seed
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
        """Execute the request, and respond."""
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
