"""Refusing a command that requires an exact version, with the name of one that exists."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import anyio

from aioassets.cli.options import StoreOptions
from aioassets.errors import AioAssetsError, AssetNotFound, UsageError, VersionNotFound
from aioassets.manager import AssetsManager
from aioassets.model.names import AssetSpec

MAX_SECONDS: Final = 2.0
"""Number of seconds that looking for a version may take."""
EXAMPLE: Final = "1.2"
"""Version to name if none can be found."""


async def refuse(spec: AssetSpec, store: StoreOptions, *, yanked: bool = False) -> int:
    """Raise `UsageError` for a spec without an exact version.

    Args:
        spec: the spec.
        store: the store, whose index of the asset is read.
        yanked: whether the command is about yanked versions.

    Raises:
        UsageError: unless the asset doesn't exist.
        AssetNotFound: if the asset doesn't exist.
    """
    version = spec.version or ""
    if version and not version.isdecimal():  # only the part is wrong
        example = version
    else:
        async with store.manager() as manager:
            example = await _existing(manager, replace(spec, alias=None, part=None), yanked=yanked)
    raise UsageError(
        f"An exact version is required: write {spec.name}:{example or EXAMPLE}, for example, instead of {spec}."
    )


async def _existing(manager: AssetsManager, spec: AssetSpec, *, yanked: bool) -> str:
    """Return the latest version that matches a spec, or the latest of all; empty if it can't be found out."""
    with anyio.move_on_after(MAX_SECONDS):
        try:
            if yanked:
                return next((each.version for each in await manager.log_versions(spec) if each.yanked is not None), "")
            return next(iter(await manager.list_versions(spec)), "")
        except AssetNotFound:
            raise
        except VersionNotFound as error:
            return next(iter(error.available), "")
        except AioAssetsError:
            return ""
    return ""
