"""URLs of versions and of their files, for tools that read the store themselves."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from aioassets.drivers.protocol import Driver
from aioassets.errors import UsageError
from aioassets.fetch.selection import Selection, select
from aioassets.model.names import AssetSpec
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.notices import NOTICE
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import SealedVersion, find_version, yanked_error

logger = logging.getLogger(__name__)


async def url_of(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> str:
    """Return the URL of a version or a part of it. That of a directory is a prefix, and ends with a slash.

    Raises:
        NotFound: if the version or the part doesn't exist.
    """
    found, selection = await _find(store, scheme, spec)
    url = _shown(store.driver, store.layout.content(found.name, found.version, spec.part or ""))
    return url if _is_file(found, selection, spec) else f"{url}/"


async def presign(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec, lifetime: timedelta) -> str:
    """Return an HTTP URL from which anyone can read a file until it expires.

    Raises:
        NotFound: if the version or the part doesn't exist.
        UsageError: if the spec refers to a directory.
        CannotPresign: if the store has no signed URLs, or the credentials can't sign them.
    """
    found, selection = await _find(store, scheme, spec)
    if not _is_file(found, selection, spec):
        raise _is_directory(found, selection, spec)
    return await store.driver.presign(store.layout.content(found.name, found.version, spec.part or ""), lifetime)


async def _find(store: AssetStore, scheme: VersioningScheme, spec: AssetSpec) -> tuple[SealedVersion, Selection]:
    found = await find_version(store, scheme, spec)
    selection = await select(found.manifest, spec, found.version)
    if found.manifest.is_yanked:
        logger.warning("%s", yanked_error(found.name, found.version, found.manifest), extra=NOTICE)
    return found, selection


def _is_file(found: SealedVersion, selection: Selection, spec: AssetSpec) -> bool:
    if spec.part is None:
        return not found.manifest.is_directory
    return spec.part in selection.files.paths


def _is_directory(found: SealedVersion, selection: Selection, spec: AssetSpec) -> UsageError:
    first = next(iter(selection.files.paths), "path")
    return UsageError(
        f"Cannot sign a URL of {spec}: it is a directory, and only files can be signed. Name one of its files, such as "
        f"{found.name}:{found.version}[{first}]."
    )


def _shown(driver: Driver, key: str) -> str:
    """Return the URL of an object. Only those of local files are percent-encoded, as tools for each kind expect."""
    path = driver.local_path(key)
    return f"{driver.url}/{key}" if path is None else Path(path).as_uri()
