"""Inspection of stores and folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aioassets import AssetsManager, Driver
from aioassets.errors import ObjectNotFound
from aioassets.model.keys import Layout
from aioassets.store.documents import AssetStore


def contents(root: Path) -> dict[str, tuple[bytes | None, bool]]:
    """Return everything below a folder by path: bytes and executable bit of files, and `None` for empty directories."""
    found: dict[str, tuple[bytes | None, bool]] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_file():
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        elif not any(path.iterdir()):
            found[name] = (None, False)
    return found


def store_folder(assets_dir: Path) -> Path:
    """Return the folder of the only store that something was fetched from."""
    (folder,) = (path for path in assets_dir.iterdir() if path.name != ".aioassets")
    return folder


def without_uses(names: Iterable[str]) -> list[str]:
    """Return the names of files except for those that record who uses a cached version, and when it was used."""
    return [name for name in names if ".lease-" not in name and not name.endswith(".used")]


def store_of(driver: Driver) -> AssetStore:
    """Return the documents of a driver, with the default prefix."""
    return AssetStore(driver, Layout("assets"))


async def keys(driver: Driver) -> list[str]:
    """Return all keys of a store."""
    return [item.key async for item in driver.list("")]  # type: ignore[union-attr]


async def exists(driver: Driver, key: str) -> bool:
    """Return whether there is such an object."""
    try:
        await driver.stat(key)
    except ObjectNotFound:
        return False
    return True


def kept_by(manager: AssetsManager) -> list[object]:
    """Return the locks, reserved numbers and running calls that a manager holds.

    If they leaked, the memory of a service would grow.
    """
    session = manager._session  # noqa: SLF001 - no public call shows them
    fetching, listing = session.locks._locks, session.pushes.lister._locks  # noqa: SLF001 - as above
    kept = [*fetching._locks, *listing._locks, *session.pushes.reservations._versions]  # noqa: SLF001 - as above
    return [*kept, *([session.lifecycle] if session.lifecycle.calls_under_way else [])]
