"""Log records of requests, retries and throttling."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from functools import partial

import pytest

from aioassets.errors import AccessDenied, StoreUnavailable
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.retry import RetryPolicy


def unavailable(*, throttled: bool = False) -> StoreUnavailable:
    return StoreUnavailable("s3://bucket", "it is busy.", throttled=throttled)


async def no_pause(seconds: float) -> None:
    pass


POLICY = RetryPolicy(sleep=no_pause, clock=lambda: 0.0, jitter=lambda: 0.0, first_delay=1.0)


class Records:
    """Messages of aioassets, by level."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        caplog.set_level(logging.DEBUG, "aioassets")

    def __getitem__(self, level: int) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.levelno == level]


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Records:
    return Records(caplog)


async def send(*errors: Exception, secret: str = "") -> str:
    """Send a request that fails with these errors, one at each attempt."""
    remaining = list(errors)

    async def request(secret: str) -> str:
        if remaining:
            raise remaining.pop(0)
        return "response"

    return await Dispatcher(Budget(requests=16), POLICY).send(partial(request, secret), nbytes=10)


async def test_each_retry_is_logged(records: Records) -> None:
    assert await send(unavailable(), unavailable()) == "response"
    assert records[logging.WARNING] == ["Attempt 1 failed, retrying in 0.50 s: s3://bucket is unavailable: it is busy."]
    assert records[logging.INFO] == ["Attempt 2 failed, retrying in 1.00 s: s3://bucket is unavailable: it is busy."]


async def test_an_outage_is_a_warning_every_few_seconds_not_for_each_request(records: Records) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    policy = RetryPolicy(sleep=sleep, clock=lambda: now, jitter=lambda: 0.0)
    dispatcher = Dispatcher(Budget(), policy)

    async def request() -> None:
        raise unavailable()

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await dispatcher.send(request)
    retries = [line for line in records[logging.WARNING] if "retrying" in line]
    assert len(retries) <= now / 5.0 < len(records[logging.INFO])


async def test_giving_up_is_logged(records: Records) -> None:
    with pytest.raises(StoreUnavailable):
        await send(*(unavailable() for _ in range(100)))
    assert len(records[logging.INFO]) == 24  # and one warning at the beginning
    assert records[logging.WARNING][-1] == "Giving up after 26 attempts: s3://bucket is unavailable: it is busy."


async def test_throttling_is_logged_as_information_with_the_new_limit(records: Records) -> None:
    """A throttling store is in normal operation."""
    await send(unavailable(throttled=True))
    assert records[logging.WARNING] == []
    assert records[logging.INFO] == [
        "Throttled by s3://bucket: limiting requests in flight to 4",
        "Attempt 1 failed, retrying in 0.50 s: s3://bucket is unavailable: it is busy.",
    ]


async def test_throttled_requests_that_were_in_flight_together_are_logged_once(records: Records) -> None:
    budget = Budget(requests=16)
    begun = budget.begin()
    for _ in range(3):
        budget.learn(begun, unavailable(throttled=True))
    assert len(records[logging.INFO]) == 1


async def test_requests_are_logged_for_debugging_without_their_arguments(records: Records) -> None:
    await send(unavailable(), secret="hunter2")
    assert records[logging.DEBUG] == [
        "Sending send.<locals>.request (10 bytes, attempt 1)",
        "Sending send.<locals>.request (10 bytes, attempt 2)",
    ]


async def test_an_error_that_is_not_retried_is_raised_and_not_logged(records: Records) -> None:
    with pytest.raises(AccessDenied):
        await send(AccessDenied("s3://bucket", "read 'key'", "no."))
    assert records[logging.WARNING] == records[logging.INFO] == []


async def test_resuming_a_stream_is_logged(records: Records) -> None:
    async def open_at(offset: int) -> AsyncGenerator[bytes, None]:
        yield b"0123"
        if not offset:
            raise unavailable()
        yield b"89"

    chunks = [chunk async for chunk in Dispatcher(retry=POLICY).stream(open_at, 0, 8)]
    assert b"".join(chunks).startswith(b"01230123")
    assert len(records[logging.WARNING]) == 1
    assert [message.partition("(")[2] for message in records[logging.DEBUG]] == ["bytes 0 to 8)", "bytes 4 to 8)"]


def test_nothing_is_printed_unless_the_application_configures_logging() -> None:
    code = "import logging, aioassets.runtime.tasks; logging.getLogger('aioassets.runtime').warning('unseen')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")
