"""Implementation of the command that prints URLs."""

from __future__ import annotations

from datetime import timedelta

from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo_json, echo_path


async def url(spec: str, store: StoreOptions, *, lifetime: timedelta | None, as_json: bool) -> None:
    """Print the URL of a version or a part of it. With a lifetime, print a signed URL."""
    async with store.manager() as manager, progress_display(f"Reading {spec}"):
        found = await (manager.url_of(spec) if lifetime is None else manager.presign(spec, expires=lifetime))
    if as_json:
        seconds = None if lifetime is None else int(lifetime.total_seconds())
        echo_json({"spec": spec, "url": found, "expires_in": seconds})
    else:
        echo_path(found)
