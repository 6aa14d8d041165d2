"""Validation of progress callbacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import cast

from aioassets.errors import UsageError
from aioassets.progress import Event, Progress, ignore


def checked(progress: Progress | None) -> Progress:
    """Return a callback that calls `progress`.

    Raises:
        UsageError: if `progress` is not callable or is asynchronous. The callback also raises it if the result of a
            call must be awaited.
    """
    if progress is None:
        return ignore
    if not callable(progress):
        raise UsageError(f"progress must be a function that accepts an event, not {type(progress).__name__}.")
    if inspect.iscoroutinefunction(progress) or inspect.iscoroutinefunction(type(progress).__call__):
        raise _asynchronous()
    receive = cast("Callable[[Event], object]", progress)

    def report(event: Event) -> None:
        if (result := receive(event)) is not None and inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()  # it is never awaited
            raise _asynchronous()

    return report


def _asynchronous() -> UsageError:
    return UsageError("progress must be a plain function: an `async` function would never be awaited.")
