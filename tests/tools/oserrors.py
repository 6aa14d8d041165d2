"""System calls that fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def failing(number: int, times: float = float("inf"), real: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that raises this error some times, and then calls the real one."""
    left = times

    def call(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left > 0:
            left -= 1
            raise OSError(number, os.strerror(number))
        assert real is not None
        return real(*args, **options)

    return call
