"""The filesystem `aioassets://` for fsspec, and so for pandas, pyarrow, polars, DuckDB, zarr and others."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import secrets
import weakref
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NoReturn

from fsspec.asyn import AsyncFileSystem, sync_wrapper
from fsspec.callbacks import DEFAULT_CALLBACK

from aioassets.errors import AccessDenied, NotFound, UsageError
from aioassets.integrations.fsspec_files import BufferedAssetFile, LoopManager, blocking
from aioassets.integrations.fsspec_paths import AssetPath, Info, directory
from aioassets.manager import AssetsManager, AssetVersions
from aioassets.model.description import VersionDescription
from aioassets.model.names import AssetSpec
from aioassets.read.file import AssetFile
from aioassets.read.listing import VersionFiles
from aioassets.runtime.lanes import FILES_AT_ONCE
from aioassets.runtime.tasks import for_each
from aioassets.runtime.threads import in_thread

_log = logging.getLogger(__name__)

PIECE: Final = 8 * 1024 * 1024
"""Number of bytes to read and write at a time when a file is downloaded."""


class AssetFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A read-only filesystem of the versions in a store.

    Paths are `NAME:VERSION/PATH`, `NAME@ALIAS/PATH` or `NAME@latest/PATH`. A path without a version is a folder of
    assets, or an asset, which contains its versions.

    A filesystem resolves each alias, `latest` or partial version once, and stays with that version, so that all that is
    read belongs together. `invalidate_cache` makes it resolve them anew.

    A manager reads the files. It is created for the event loop that runs the first call, and closed by `close` or
    `aclose`, or when the filesystem is collected.

    Args:
        bucket: the store, as for `AssetsManager`.
        verify: whether to verify what is read, as for `AssetsManager.open`.
        asynchronous: whether the filesystem is used on an event loop, by its methods that begin with `_`.
        loop: the event loop that runs blocking calls; by default, that of fsspec's thread.
        batch_size: the maximum number of concurrent operations in one call, such as downloads.
        use_listings_cache: whether to stay with the version that an alias resolved to.
        listings_expiry_time: for how many seconds to stay with it; `None` for no limit.
        max_paths: for how many versions to do so; `None` for no limit.
        options: further arguments of `AssetsManager`. Those that are omitted are read from environment variables.

    Raises:
        InvalidSetting: if an argument or environment variable is invalid.
    """

    protocol = "aioassets"
    root_marker = ""

    def __init__(
        self,
        bucket: str | os.PathLike[str] | None = None,
        *,
        verify: bool = True,
        asynchronous: bool = False,
        loop: Any = None,
        batch_size: int | None = None,
        use_listings_cache: bool = True,
        listings_expiry_time: float | None = None,
        max_paths: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            asynchronous=asynchronous,
            loop=loop,
            batch_size=batch_size,
            use_listings_cache=use_listings_cache,
            listings_expiry_time=listings_expiry_time,
            max_paths=max_paths,
        )
        self._verify = verify
        self._managers = LoopManager(partial(AssetsManager, bucket, **options))
        self._dates: dict[AssetSpec, datetime | None] = {}
        if not asynchronous:
            weakref.finalize(self, _close, self._loop, self._managers)

    async def aclose(self) -> None:
        """Close the connections of an asynchronous filesystem. A later call opens new ones."""
        await self._managers.aclose()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        blocking(self.loop, self.aclose)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget which versions aliases, `latest` and partial versions resolved to.

        Args:
            path: a path in the version to forget; `None` for all.
        """
        if path is None:
            self.dircache.clear()
        elif (at := AssetPath.parse(_stripped(path))) is not None:
            self.dircache.pop(at.root, None)
        super().invalidate_cache(path)

    # Look

    async def _info(self, path: str, **kwargs: Any) -> Info:
        path = _stripped(path)
        with _as_os_errors(path):
            if (at := AssetPath.parse(path)) is not None:
                return _existing(at.info(await self._files(at)), path)
            if not path:
                return directory(path)
            async for asset in self._managers.get().list_assets(path):
                if f"{asset.name}/".startswith(f"{path}/"):
                    return directory(path)
        raise _without_version(path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Info] | list[str]:
        path = _stripped(path)
        with _as_os_errors(path):
            if (at := AssetPath.parse(path)) is None:
                found = await self._assets(path, detail=detail)
            else:
                files = await self._files(at)
                info = _existing(at.info(files), path)
                found = [info] if info["type"] == "file" else await in_thread(at.children, files)
        return found if detail else [info["name"] for info in found]

    async def _assets(self, path: str, *, detail: bool) -> list[Info]:
        """Describe the folders of assets, and the versions of assets, directly below a path."""
        prefix = f"{path}/" if path else ""
        found: dict[str, Info] = {}
        async for asset in self._managers.get().list_assets(path):
            if asset.name != path and not asset.name.startswith(prefix):
                continue
            segment, is_inner, _ = asset.name[len(prefix) :].partition("/")
            if asset.name != path and is_inner:
                found[f"{prefix}{segment}"] = directory(f"{prefix}{segment}")
            elif asset.error is not None:
                _log.warning("Not listing the versions of %s: %s", asset.name, asset.error)
            else:
                found |= {info["name"]: info for info in await self._versions(asset, detail=detail)}
        if path and not found:
            raise _without_version(path)
        return [info for _, info in sorted(found.items())]

    async def _versions(self, asset: AssetVersions, *, detail: bool) -> list[Info]:
        """Describe the versions of an asset. Without details, no manifest is read, and all seem to be directories."""
        if not detail:
            return [directory(f"{asset.name}:{version}") for version in asset.versions]
        described = await self._managers.get().log_versions(asset.name, None)  # includes yanked versions
        return [_version_info(each) for each in described if each.version in asset.versions]

    async def _files(self, at: AssetPath) -> VersionFiles:
        """Return the files of a version. Later calls return those of the same version."""
        with contextlib.suppress(KeyError):
            return self._kept(at)
        files = await self._managers.get().list_files(at.spec)
        with contextlib.suppress(KeyError):
            return self._kept(at)  # another call was first, and perhaps saw another version
        self.dircache[at.root] = [files]
        return files

    def _kept(self, at: AssetPath) -> VersionFiles:
        (files,) = self.dircache[at.root]
        kept: VersionFiles = files
        return kept

    async def _modified(self, path: str) -> datetime | None:
        """Return when the version of a path was pushed, by the pusher's clock."""
        path = _stripped(path)
        with _as_os_errors(path):
            if (at := AssetPath.parse(path)) is None:
                raise _without_version(path)
            files = await self._files(at)
            _existing(at.info(files), path)
            if (spec := AssetSpec(files.name, files.version)) not in self._dates:
                self._dates[spec] = (await self._managers.get().describe_asset(spec)).push_date
            return self._dates[spec]

    modified = created = sync_wrapper(_modified)

    # Read

    async def _asset_file(self, path: str) -> AssetFile:
        path = _stripped(path)
        with _as_os_errors(path):
            at = AssetPath.parse(path)
            if at is None or (info := _existing(at.info(files := await self._files(at)), path))["type"] != "file":
                await self._info(path)
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            spec = AssetSpec(files.name, info["version"], at.inside or None)
            return await self._managers.get().open(spec, verify=self._verify)

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        async with await self._asset_file(path) as file:
            with _as_os_errors(path):
                if start is None and end is None:
                    return await file.read()
                (data,) = await file.read_ranges([_span(start, end, file.size)])
                return data

    async def _cat_ranges(
        self,
        paths: Sequence[str],
        starts: int | Sequence[int | None] | None,
        ends: int | Sequence[int | None] | None,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[bytes | Exception]:
        """Read ranges of files. Each file is opened once, and neighbouring ranges of it are read by one request."""
        begins = starts if isinstance(starts, Sequence) else [starts] * len(paths)
        stops = ends if isinstance(ends, Sequence) else [ends] * len(paths)
        if not len(paths) == len(begins) == len(stops):
            raise ValueError("There must be as many starts and ends as paths.")
        numbers: dict[str, list[int]] = {}
        for number, path in enumerate(paths):
            numbers.setdefault(path, []).append(number)
        found: list[bytes | Exception] = [b""] * len(paths)

        async def read(path: str) -> None:
            mine = numbers[path]
            try:
                async with await self._asset_file(path) as file:
                    with _as_os_errors(path):
                        spans = [_span(begins[number], stops[number], file.size) for number in mine]
                        parts: Sequence[bytes | Exception] = await file.read_ranges(spans)
            except Exception as error:
                if on_error == "raise":
                    raise
                parts = [error] * len(mine)
            for number, part in zip(mine, parts, strict=True):
                found[number] = part

        await for_each(numbers, read, limit=self.batch_size or FILES_AT_ONCE)
        return found

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> BufferedAssetFile:
        if mode != "rb":
            _refuse()
        file = blocking(self.loop, self._asset_file, path)
        return BufferedAssetFile(self, path, file, block_size=block_size or "default", **options)

    async def _get_file(self, rpath: str, lpath: str, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        """Download a file. The local file appears when it is complete."""
        if await self._isdir(rpath):
            await in_thread(partial(os.makedirs, lpath, exist_ok=True))
            return
        async with await self._asset_file(rpath) as file:
            with _as_os_errors(rpath):
                callback.set_size(file.size)
                await _download(file, os.fspath(lpath), callback)

    # Write

    async def _read_only(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise `UsageError`."""
        _refuse()

    _pipe_file = _put_file = _cp_file = _rm_file = _mkdir = _makedirs = _read_only

    def rmdir(self, path: str) -> NoReturn:
        """Raise `UsageError`."""
        _refuse()


def _stripped(path: str) -> str:
    """Return a path without its protocol and without trailing slashes."""
    return f"{AssetFileSystem._strip_protocol(path)}"  # noqa: SLF001 - fsspec's name of it


async def _download(file: AssetFile, path: str, callback: Any) -> None:
    """Write a file to a temporary sibling of a path, and rename it."""
    sibling = f"{path}.{secrets.token_hex(4)}.part"
    target = await in_thread(open, sibling, "xb")
    try:
        with target:
            while data := await file.read(PIECE):
                await in_thread(target.write, data)
                callback.relative_update(len(data))
        await in_thread(os.replace, sibling, path)
    except BaseException:
        await in_thread(os.unlink, sibling)
        raise


def _span(start: int | None, end: int | None, size: int) -> tuple[int, int]:
    """Return a range of a file. Negative offsets count from its end, as in a slice."""
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


def _version_info(described: VersionDescription) -> Info:
    name = f"{described.name}:{described.version}"
    if described.is_directory:
        return directory(name)
    if described.error is not None:
        return {"name": name, "size": None, "type": "other"}
    return {"name": name, "size": described.size, "type": "file", "version": described.version}


def _existing(info: Info | None, path: str) -> Info:
    if info is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return info


def _without_version(path: str) -> FileNotFoundError:
    message = (
        "There is no asset of this name, and no folder of assets. A file is named by NAME:1.2/PATH, NAME@ALIAS/PATH or "
        "NAME@latest/PATH"
    )
    return FileNotFoundError(errno.ENOENT, message, path)


@contextlib.contextmanager
def _as_os_errors(path: str) -> Iterator[None]:
    """Raise errors about missing files and permissions as those that callers of filesystems expect."""
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(errno.ENOENT, str(error).rstrip("."), path) from error
    except AccessDenied as error:
        raise PermissionError(errno.EACCES, str(error).rstrip("."), path) from error


def _refuse() -> NoReturn:
    raise UsageError(
        "The filesystem aioassets:// is read-only. Push new versions with AssetsManager.update_asset or "
        "`aioassets update`."
    )


def _close(loop: Any, managers: LoopManager) -> None:
    """Close the manager of a filesystem that is collected, without waiting: this may happen in any thread."""
    if loop.is_running():
        asyncio.run_coroutine_threadsafe(managers.aclose(), loop)
