"""The budget of requests, and retries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aioassets.errors import AccessDenied, StoreUnavailable
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import NO_RETRY, RetryPolicy


class Clock:
    """Clock that advances only in pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await checkpoint()

    def policy(self, **options: float) -> RetryPolicy:
        return RetryPolicy(sleep=self.sleep, clock=lambda: self.now, jitter=lambda: 0.0, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def unavailable(
    *, uncertain: bool = True, retry_after: float | None = None, throttled: bool = False
) -> StoreUnavailable:
    return StoreUnavailable("s3://bucket", "busy.", uncertain=uncertain, retry_after=retry_after, throttled=throttled)


class Request:
    """Request that raises the given errors, one at each attempt, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        await checkpoint()
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


class Holder:
    """Task that holds a share of the budget until it is released.

    Attributes:
        error: the failure of its request, if any.
    """

    error: Exception | None = None

    def __init__(self, budget: Budget, nbytes: int = 0, *, urgent: bool = False) -> None:
        self._slot = budget.slot(nbytes, urgent=urgent)
        self.holding = anyio.Event()
        self._release = anyio.Event()
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        with self.scope, contextlib.suppress(StoreUnavailable):
            async with self._slot:
                self.holding.set()
                await self._release.wait()
                if self.error is not None:
                    raise self.error

    def has_it(self) -> bool:
        return self.holding.is_set() and not self._release.is_set()

    def release(self, error: Exception | None = None) -> None:
        self.error = error
        self._release.set()


@contextlib.asynccontextmanager
async def holding(*holders: Holder) -> AsyncGenerator[None]:
    """Start holders in this order, and release them at the end."""
    async with anyio.create_task_group() as tasks:
        for holder in holders:
            tasks.start_soon(holder.run)
        await settled()
        yield
        for holder in holders:
            holder.release()


async def settled() -> None:
    """Let all other tasks run as far as they can."""
    for _ in range(10):
        await checkpoint()


def states(holders: Sequence[Holder]) -> list[bool]:
    return [holder.has_it() for holder in holders]


class TestBudget:
    async def test_no_more_requests_than_allowed_are_in_flight(self) -> None:
        budget = Budget(requests=2, reserved=0)
        holders = [Holder(budget) for _ in range(3)]
        async with holding(*holders):
            assert states(holders) == [True, True, False]
            assert budget.requests_in_flight == 2
            holders[0].release()
            await settled()
            assert states(holders) == [False, True, True]
        assert budget.requests_in_flight == 0

    async def test_no_more_bytes_than_allowed_are_in_flight(self) -> None:
        budget = Budget(nbytes=100)
        holders = [Holder(budget, 60), Holder(budget, 60)]
        async with holding(*holders):
            assert states(holders) == [True, False]
            assert budget.bytes_in_flight == 60
        assert budget.bytes_in_flight == 0

    async def test_requests_are_served_in_order_of_arrival(self) -> None:
        """A small request doesn't overtake a large one, which would otherwise wait for ever."""
        budget = Budget(nbytes=100)
        large, waiting, small = holders = [Holder(budget, 80), Holder(budget, 80), Holder(budget, 10)]
        async with holding(*holders):
            assert states(holders) == [True, False, False]
            large.release()
            await settled()
            assert waiting.has_it()
            assert small.has_it()

    async def test_a_request_larger_than_the_budget_is_clamped_to_it(self) -> None:
        """It is sent alone, instead of never."""
        budget = Budget(nbytes=100)
        holders = [Holder(budget, 1000), Holder(budget, 1)]
        async with holding(*holders):
            assert states(holders) == [True, False]
            assert budget.bytes_in_flight == 100
            holders[0].release()
            await settled()
            assert holders[1].has_it()
        assert budget.bytes_in_flight == 0

    async def test_urgent_requests_use_the_reserve(self) -> None:
        """A busy push must be able to renew its claim."""
        budget = Budget(requests=1, reserved=1)
        holders = [Holder(budget), Holder(budget), Holder(budget, urgent=True), Holder(budget, urgent=True)]
        async with holding(*holders):
            assert states(holders) == [True, False, True, False]
            assert budget.requests_in_flight == budget.max_requests == 2

    async def test_urgent_requests_overtake_waiting_ones(self) -> None:
        budget = Budget(requests=1, reserved=0)
        busy, waiting, urgent = Holder(budget), Holder(budget), Holder(budget, urgent=True)
        async with holding(busy, waiting, urgent):
            busy.release()
            await settled()
            assert states([waiting, urgent]) == [False, True]

    async def test_a_request_cancelled_while_waiting_takes_nothing(self) -> None:
        budget = Budget(nbytes=100)
        busy, cancelled, waiting = Holder(budget, 60), Holder(budget, 60), Holder(budget, 40)
        async with holding(busy, cancelled, waiting):
            assert not waiting.has_it()
            cancelled.scope.cancel()
            await settled()
            assert waiting.has_it()
            assert budget.bytes_in_flight == 100
        assert (budget.requests_in_flight, budget.bytes_in_flight) == (0, 0)

    async def test_a_request_cancelled_when_granted_releases_its_share(self) -> None:
        """The cancellation arrives after the share was granted, but before the waiter resumes."""
        budget = Budget(requests=1, reserved=0)
        cancelled, waiting = Holder(budget), Holder(budget)
        await budget.acquire(0, urgent=False)
        task = asyncio.create_task(cancelled.run())
        async with holding(waiting):
            budget.release(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled()
            assert (cancelled.has_it(), waiting.has_it()) == (False, True)
        assert budget.requests_in_flight == 0

    async def test_a_request_cancelled_in_flight_releases_its_share(self) -> None:
        budget = Budget(requests=1, nbytes=100, reserved=0)
        busy, waiting = Holder(budget, 100), Holder(budget, 100)
        async with holding(busy, waiting):
            busy.scope.cancel()
            await settled()
            assert waiting.has_it()

    async def test_a_failed_request_releases_its_share(self) -> None:
        budget = Budget()
        with pytest.raises(ZeroDivisionError):
            async with budget.slot(10):
                raise ZeroDivisionError
        assert (budget.requests_in_flight, budget.bytes_in_flight) == (0, 0)


class TestSizes:
    """With a budget of 3,200 bytes, requests up to 100 bytes are light, and 400 bytes are reserved for them."""

    async def test_light_requests_overtake_heavy_ones_that_wait_for_bytes(self) -> None:
        """As soon as a heavy request has ended, up to their share, for as long as light ones keep coming."""
        budget = Budget(requests=64, nbytes=3200)
        heavy = [Holder(budget, 800) for _ in range(6)]
        light = [Holder(budget, 100) for _ in range(5)]
        async with holding(*heavy, *light):
            assert states(heavy) == [True, True, True, True, False, False]
            assert states(light) == [False] * 5
            heavy[0].release()
            await settled()
            assert states(light) == [True, True, True, True, False]
            assert states(heavy) == [False, True, True, True, False, False]
            light[0].release()
            await settled()
            assert states(light) == [False, True, True, True, True]
            for holder in light:
                holder.release()
            await settled()
            assert states(heavy) == [False, True, True, True, False, False]
            heavy[1].release()
            await settled()
            assert states(heavy) == [False, False, True, True, True, True]
        assert (budget.requests_in_flight, budget.bytes_in_flight) == (0, 0)

    async def test_any_number_of_light_requests_do_not_delay_heavy_ones(self) -> None:
        """Later ones wait until the heavy one fits."""
        budget = Budget(requests=64, nbytes=3200)
        first, heavy, later = [Holder(budget, 100) for _ in range(32)], Holder(budget, 800), Holder(budget, 100)
        async with holding(*first, heavy, later):
            assert all(states(first))
            for holder in first[:7]:
                holder.release()
            await settled()
            assert states([heavy, later]) == [False, False]
            first[7].release()
            await settled()
            assert states([heavy, later]) == [True, False]

    async def test_heavy_requests_leave_light_ones_their_share(self) -> None:
        """Even heavy requests that have waited for longer."""
        budget = Budget(requests=64, nbytes=3200)
        heavy = [Holder(budget, 300) for _ in range(12)]
        light = [Holder(budget, 100) for _ in range(4)]
        async with holding(*heavy, *light):
            assert (sum(states(heavy)), sum(states(light))) == (10, 2)
            heavy[0].release()
            await settled()
            assert (sum(states(heavy)), sum(states(light))) == (9, 4)
            heavy[1].release()
            await settled()
            assert (sum(states(heavy)), sum(states(light))) == (9, 4)

    async def test_heavy_requests_leave_a_share_to_light_ones_that_wait_for_a_request(self) -> None:

        budget = Budget(requests=2, nbytes=3200, reserved=0)
        busy, others = [Holder(budget), Holder(budget)], [Holder(budget, size) for size in (1500, 1500, 100)]
        async with holding(*busy, *others):
            busy[0].release()
            await settled()
            assert states(others) == [True, False, False]
            busy[1].release()
            await settled()
            assert states(others) == [True, False, True]

    async def test_a_request_for_all_bytes_gets_them(self) -> None:
        """No light request overtakes it, else it might wait for ever."""
        budget = Budget(requests=64, nbytes=3200)
        first, heavy, later = Holder(budget, 100), Holder(budget, 5000), Holder(budget, 100)
        async with holding(first, heavy, later):
            assert states([first, heavy, later]) == [True, False, False]
            first.release()
            await settled()
            assert states([heavy, later]) == [True, False]
            heavy.release()
            await settled()
            assert later.has_it()

    @pytest.mark.parametrize("sizes", [(100, 800), (800, 100)])
    async def test_requests_of_any_size_are_served_in_order_if_requests_are_scarce(
        self, sizes: tuple[int, int]
    ) -> None:

        budget = Budget(requests=1, nbytes=3200, reserved=0)
        busy, first, second = Holder(budget), Holder(budget, sizes[0]), Holder(budget, sizes[1])
        async with holding(busy, first, second):
            busy.release()
            await settled()
            assert states([first, second]) == [True, False]


class TestThrottling:
    """Throttling reduces the number of requests until enough of them succeed."""

    async def answer(self, budget: Budget, times: int) -> None:
        for _ in range(times):
            async with budget.slot():
                pass

    async def refuse(self, budget: Budget, in_flight: int, error: Exception | None = None) -> None:
        """Let this many concurrent requests fail."""
        holders = [Holder(budget) for _ in range(in_flight)]
        async with holding(*holders):
            for holder in holders:
                holder.release(error or unavailable(throttled=True))
            await settled()

    async def test_throttling_halves_the_requests_in_flight(self) -> None:
        """All requests that were in flight together count once."""
        budget = Budget(requests=16, min_requests=1)
        await self.refuse(budget, 16)
        assert budget.requests_allowed == 8
        await self.refuse(budget, 8)
        assert budget.requests_allowed == 4

    async def test_throttling_halves_what_was_used_not_what_was_allowed(self) -> None:
        """Half of the limit might be no fewer than the requests in flight."""
        budget = Budget(requests=64, min_requests=1)
        await self.refuse(budget, 8)
        assert budget.requests_allowed == 4

    async def test_no_request_starts_before_enough_have_ended(self) -> None:
        budget = Budget(requests=4, min_requests=1, reserved=0)
        refused, *others = holders = [Holder(budget) for _ in range(5)]
        async with holding(*holders):
            assert states(others) == [True, True, True, False]
            refused.release(unavailable(throttled=True))
            await settled()
            assert states(others) == [True, True, True, False]
            for holder in others[:2]:
                holder.release()
            await settled()
            assert states(others) == [False, False, True, True]

    async def test_throttling_stops_at_the_minimum(self) -> None:
        budget = Budget(requests=16, min_requests=3)
        for _ in range(9):
            await self.refuse(budget, budget.requests_allowed)
        assert budget.requests_allowed == 3

    async def test_a_maximum_below_the_minimum_takes_precedence(self) -> None:
        budget = Budget(requests=2, min_requests=3)
        await self.refuse(budget, 2)
        assert budget.requests_allowed == 2

    async def test_successful_requests_raise_the_limit_one_by_one(self) -> None:
        """By one after as many as are allowed at once, which is about one round trip."""
        budget = Budget(requests=16, min_requests=1)
        await self.refuse(budget, 16)
        await self.answer(budget, 9)
        assert budget.requests_allowed == 9
        await self.answer(budget, 500)
        assert budget.requests_allowed == 16

    @pytest.mark.parametrize("error", [unavailable(), AccessDenied("s3://bucket", "read", "no."), ZeroDivisionError()])
    async def test_other_failures_do_not_reduce_the_limit(self, error: Exception) -> None:
        """A broken connection, for example."""
        budget = Budget(requests=16)
        with contextlib.suppress(type(error)):
            async with budget.slot():
                raise error
        assert budget.requests_allowed == 16

    async def test_urgent_requests_keep_their_reserve(self) -> None:
        """However many other requests are still in flight."""
        budget = Budget(requests=8, min_requests=1, reserved=2)
        refused, *others = [Holder(budget) for _ in range(8)]
        urgent = [Holder(budget, urgent=True) for _ in range(3)]
        async with holding(refused, *others):
            refused.release(unavailable(throttled=True))
            await settled()
            async with holding(*urgent):
                assert states(urgent) == [True, True, False]

    async def test_urgent_requests_do_not_reduce_the_limit(self) -> None:
        """A store may limit writes to one document, which says nothing about others."""
        budget = Budget(requests=16)
        with pytest.raises(StoreUnavailable):
            async with budget.slot(urgent=True):
                raise unavailable(throttled=True)
        assert budget.requests_allowed == 16

    async def test_a_throttled_request_is_retried_within_the_reduced_limit(self, clock: Clock) -> None:

        budget = Budget(requests=16, min_requests=1)
        request = Request(unavailable(throttled=True))
        assert await Dispatcher(budget, clock.policy()).send(request) == "answer"
        assert budget.requests_allowed == 1 + 1


class TestRetrying:
    async def test_a_result_is_returned_without_retries(self, clock: Clock) -> None:
        request = Request()
        assert await Dispatcher(retry=clock.policy()).send(request) == "answer"
        assert (request.attempts, clock.pauses) == (1, [])

    async def test_pauses_between_retries_grow_exponentially(self, clock: Clock) -> None:
        request = Request(*(unavailable() for _ in range(4)))
        policy = clock.policy(first_delay=1.0, max_delay=4.0)
        assert await Dispatcher(retry=policy).send(request) == "answer"
        assert clock.pauses == [0.5, 1.0, 2.0, 2.0]  # half of 1, 2, 4, 4: no jitter here

    async def test_jitter_spreads_the_pauses(self) -> None:
        policy = RetryPolicy(first_delay=1.0, jitter=lambda: 0.5)
        assert policy.pause(1) == 0.75

    async def test_the_last_failure_is_raised(self, clock: Clock) -> None:
        errors = [unavailable() for _ in range(3)]
        request = Request(*errors)
        with pytest.raises(StoreUnavailable) as caught:
            await Dispatcher(retry=clock.policy(first_delay=2.0, retry_for=3.0)).send(request)
        assert caught.value is errors[2]
        assert clock.pauses == [1.0, 2.0]

    async def test_other_errors_are_raised_at_once(self, clock: Clock) -> None:
        request = Request(AccessDenied("s3://bucket", "read", "no."))
        with pytest.raises(AccessDenied):
            await Dispatcher(retry=clock.policy()).send(request)
        assert clock.pauses == []

    async def test_retries_can_be_disabled(self) -> None:
        request = Request(unavailable())
        with pytest.raises(StoreUnavailable):
            await Dispatcher(retry=NO_RETRY).send(request)
        assert request.attempts == 1

    async def test_retry_after_lengthens_the_pause(self, clock: Clock) -> None:
        await Dispatcher(retry=clock.policy(max_delay=10.0)).send(Request(unavailable(retry_after=30.0)))
        assert clock.pauses == [30.0]

    async def test_a_slow_first_attempt_is_retried(self, clock: Clock) -> None:
        """A large part may break near its end, or the machine may have slept."""
        answers = [unavailable(), None]

        async def request() -> str:
            clock.now += 3600.0
            if (error := answers.pop(0)) is not None:
                raise error
            return "answer"

        assert await Dispatcher(retry=clock.policy()).send(request) == "answer"

    async def test_no_attempt_starts_after_the_time_for_retries(self, clock: Clock) -> None:
        request = Request(*(unavailable(retry_after=25.0) for _ in range(5)))
        with pytest.raises(StoreUnavailable):
            await Dispatcher(retry=clock.policy(retry_for=60.0)).send(request)
        assert clock.pauses == [25.0, 25.0]

    async def test_an_outage_shorter_than_the_time_for_retries_is_outlasted(self, clock: Clock) -> None:
        async def request() -> str:
            if clock.now < 55.0:
                raise unavailable()
            return "answer"

        assert await Dispatcher(retry=clock.policy()).send(request) == "answer"
        assert max(clock.pauses) == 2.5  # half of 5: no jitter here

    @pytest.mark.parametrize(
        ("attempts", "uncertain"),
        [([False, False], False), ([True, False], True), ([False, True], True)],
    )
    async def test_one_uncertain_attempt_makes_the_effects_uncertain(
        self, clock: Clock, attempts: list[bool], uncertain: bool
    ) -> None:
        errors = [unavailable(uncertain=each) for each in attempts]
        effects = Effects()
        with pytest.raises(StoreUnavailable) as caught:
            await Dispatcher(retry=clock.policy(retry_for=0.05)).send(Request(*errors), effects=effects)
        assert effects.uncertain is uncertain
        assert [error.uncertain for error in errors] == attempts
        assert caught.value is errors[-1]

    @pytest.mark.parametrize("uncertain", [False, True])
    async def test_an_uncertain_attempt_counts_even_if_its_retry_succeeds(self, clock: Clock, uncertain: bool) -> None:
        effects = Effects()
        request = Request(unavailable(uncertain=uncertain))
        await Dispatcher(retry=clock.policy(retry_for=0.05)).send(request, effects=effects)
        assert effects.uncertain is uncertain

    async def test_the_budget_is_released_between_attempts(self) -> None:
        budget = Budget()
        held: list[tuple[int, int]] = []

        async def sleep(seconds: float) -> None:
            held.append((budget.requests_in_flight, budget.bytes_in_flight))

        async def request() -> None:
            held.append((budget.requests_in_flight, budget.bytes_in_flight))
            if len(held) == 1:
                raise unavailable()

        await Dispatcher(budget, RetryPolicy(sleep=sleep)).send(request, nbytes=10)
        assert held == [(1, 10), (0, 0), (1, 10)]


class Stream:
    """Range of an object whose connection breaks at the given offsets."""

    def __init__(self, data: bytes, *breaks: int, chunk: int = 2) -> None:
        self.data = data
        self.breaks = list(breaks)
        self.chunk = chunk
        self.opened_at: list[int] = []
        self.closed = 0

    async def __call__(self, offset: int) -> AsyncGenerator[bytes, None]:
        self.opened_at.append(offset)
        try:
            for start in range(offset, len(self.data), self.chunk):
                if self.breaks and start >= self.breaks[0]:
                    self.breaks.pop(0)
                    raise unavailable()
                await checkpoint()
                yield self.data[start : start + self.chunk]
        finally:
            self.closed += 1


class TestStreaming:
    async def test_a_stream_resumes_where_it_broke(self, clock: Clock) -> None:
        stream = Stream(b"0123456789", 4, 8)
        dispatcher = Dispatcher(retry=clock.policy())
        assert b"".join([chunk async for chunk in dispatcher.stream(stream, 0, 10)]) == b"0123456789"
        assert stream.opened_at == [0, 4, 8]
        assert stream.closed == 3

    async def test_progress_resets_the_number_of_failures(self, clock: Clock) -> None:
        """A long download may break for longer, in all, than one request is retried."""
        stream = Stream(b"0123456789", 2, 4, 6, 8)
        dispatcher = Dispatcher(retry=clock.policy(retry_for=0.05))
        assert b"".join([chunk async for chunk in dispatcher.stream(stream, 0, 10)]) == b"0123456789"

    async def test_without_progress_it_gives_up(self, clock: Clock) -> None:
        stream = Stream(b"0123456789", 4, 4, 4)
        got: list[bytes] = []

        async def collect() -> None:
            async for chunk in Dispatcher(retry=clock.policy(retry_for=0.2)).stream(stream, 0, 10):
                got.append(chunk)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(StoreUnavailable):
            await collect()
        assert got == [b"01", b"23"]
        assert stream.opened_at == [0, 4, 4]

    async def test_a_stream_that_breaks_after_its_last_byte_is_complete(self, clock: Clock) -> None:
        stream = Stream(b"0123456789", 4)
        dispatcher = Dispatcher(retry=clock.policy())
        assert [chunk async for chunk in dispatcher.stream(stream, 0, 4)] == [b"01", b"23"]
        assert clock.pauses == []

    async def test_a_stream_closed_early_releases_its_share(self) -> None:
        budget = Budget()
        stream = Stream(b"0123456789")
        async with contextlib.aclosing(Dispatcher(budget).stream(stream, 0, 10)) as chunks:
            assert await anext(chunks) == b"01"
            assert (budget.requests_in_flight, budget.bytes_in_flight) == (1, 10)
        assert (budget.requests_in_flight, budget.bytes_in_flight) == (0, 0)
        assert stream.closed == 1
