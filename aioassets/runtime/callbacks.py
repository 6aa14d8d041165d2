"""Validation of callbacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from aioassets.errors import UsageError
from aioassets.progress import Progress, ignore


def checked(progress: Progress | None) -> Progress:
    """Return a callback that calls `progress`.

    Raises:
        UsageError: if `progress` is not callable or is asynchronous. The callback also raises it if the result of a
            call must be awaited.
    """
    return ignore if progress is None else _checked(progress, "progress", "an event")


def checked_handler(on_error: Callable[[Exception], object] | None) -> Callable[[Exception], None]:
    """Return a callback that calls `on_error`.

    Raises:
        UsageError: as for `checked`.
    """
    return _ignore_error if on_error is None else _checked(on_error, "on_error", "an exception")


def _checked(function: Callable[[Any], object], name: str, what: str) -> Callable[[Any], None]:
    if not callable(function):
        raise UsageError(f"{name} must be a function that accepts {what}, not {type(function).__name__}.")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise _asynchronous(name)

    def report(value: Any) -> None:
        if (result := function(value)) is not None and inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()  # it is never awaited
            raise _asynchronous(name)

    return report


def _ignore_error(error: Exception) -> None:
    """Ignore an error."""


def _asynchronous(name: str) -> UsageError:
    return UsageError(f"{name} must be a plain function: an `async` function would never be awaited.")
