"""Errors as values: they cross the boundaries of processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pytest

import aioassets
from aioassets import errors
from aioassets.errors import AioAssetsError

DELETED: Final = datetime(2026, 11, 27, tzinfo=UTC)
CONSTRUCTED: Final[Mapping[type[AioAssetsError], Callable[[], AioAssetsError]]] = {
    errors.AccessDenied: lambda: errors.AccessDenied("s3://b", "read 'k'", "403: no.", "Ask an administrator."),
    errors.AssetExists: lambda: errors.AssetExists("team/m", "it has version 0.0."),
    errors.AssetNotFound: lambda: errors.AssetNotFound("team/m", "s3://b", "Create it with `new`."),
    errors.BucketNotFound: lambda: errors.BucketNotFound("s3://b", creatable=True),
    errors.BulkError: lambda: errors.BulkError(1, {"b": errors.SourceChanged("f")}, "fetched"),
    errors.BulkFetchError: lambda: errors.BulkFetchError({"a": 1}, {"b": errors.AssetNotFound("b", "s3://b")}),
    errors.BulkUpdateError: lambda: errors.BulkUpdateError({"a": 1}, {"b": errors.SourceChanged("f")}),
    errors.AliasMoved: lambda: errors.AliasMoved("m", "prod", None, "0.0"),
    errors.AliasNotFound: lambda: errors.AliasNotFound("m", "prod", "s3://b", ("test",)),
    errors.CacheError: lambda: errors.CacheError("/assets", "it is a file"),
    errors.DestinationError: lambda: errors.DestinationError("/models", "it is full"),
    errors.DestinationOccupied: lambda: errors.DestinationOccupied("/models", "name:1.0"),
    errors.DocumentTooLarge: lambda: errors.DocumentTooLarge("s3://b/k", None, 1000),
    errors.IntegrityError: lambda: errors.IntegrityError("m:0.0", "1 byte", "2 bytes"),
    errors.InvalidAlias: lambda: errors.InvalidAlias("1", "it is a number"),
    errors.InvalidName: lambda: errors.InvalidName("a b", "it has a blank"),
    errors.InvalidSpec: lambda: errors.InvalidSpec("a:b", "'b' is no version"),
    errors.InvalidVersion: lambda: errors.InvalidVersion("b", "it is no number"),
    errors.MissingCredentials: lambda: errors.MissingCredentials("s3://b", "no keys."),
    errors.OutOfThreads: errors.OutOfThreads,
    errors.PartNotFound: lambda: errors.PartNotFound("m", "0.0", "sub"),
    errors.PublicationUncertain: lambda: errors.PublicationUncertain("m", "0.0", "no answer."),
    errors.PushContended: lambda: errors.PushContended("m", 3),
    errors.SourceChanged: lambda: errors.SourceChanged("f"),
    errors.SourceError: lambda: errors.SourceError("f", "it is a socket"),
    errors.SourceNotFound: lambda: errors.SourceNotFound("f"),
    errors.StoreCorrupt: lambda: errors.StoreCorrupt("s3://b/k", "no JSON"),
    errors.StoreUnavailable: lambda: errors.StoreUnavailable(
        "s3://b", "503.", uncertain=False, retry_after=1.5, throttled=True
    ),
    errors.CannotPresign: lambda: errors.CannotPresign("memory://x", "it has no signed URLs."),
    errors.StoreUnsuitable: lambda: errors.StoreUnsuitable("s3://b", "it ignores conditions"),
    errors.VersionClaimed: lambda: errors.VersionClaimed("m", "0.7", "s3://b", "ann@host"),
    errors.VersionDeleted: lambda: errors.VersionDeleted("m", "0.7", "s3://b", DELETED, "ann", "it is broken"),
    errors.VersionDiffers: lambda: errors.VersionDiffers("m", "0.7", "s3://b"),
    errors.VersionContended: lambda: errors.VersionContended("m", "0.7", "delete"),
    errors.VersionInUse: lambda: errors.VersionInUse("m", "0.7", ("prod",), "delete"),
    errors.VersionYanked: lambda: errors.VersionYanked("m", "0.7", None),
    errors.VersionNotFound: lambda: errors.VersionNotFound("m", "0.7", "s3://b", ("0.1", "0.0")),
}
"""An error for each class with a constructor of its own. All others take one text."""


def classes_of(kind: type[AioAssetsError]) -> Iterator[type[AioAssetsError]]:
    yield kind
    for narrower in kind.__subclasses__():
        if narrower.__module__.startswith("aioassets"):
            yield from classes_of(narrower)


CLASSES: Final = sorted(set(classes_of(AioAssetsError)), key=lambda kind: kind.__qualname__)


def state_of(error: BaseException) -> object:
    """Return the attributes of an error, with errors among them as their own states."""

    def plain(value: object) -> object:
        if isinstance(value, BaseException):
            return state_of(value)
        return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value

    return type(error), str(error), error.args, plain(vars(error))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__qualname__)
def test_an_error_survives_pickling_and_copying(kind: type[AioAssetsError]) -> None:
    error = CONSTRUCTED.get(kind, lambda: kind("It failed."))()
    assert type(error) is kind
    error.uncertain = not error.uncertain
    error.add_note("seen by a test")
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for each in [*copies, copy.copy(error), copy.deepcopy(error)]:
        assert state_of(each) == state_of(error)


def test_a_process_pool_passes_errors_to_its_parent() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(errors.InvalidName) as caught,
    ):
        pool.submit(aioassets.AssetSpec.parse, "a b").result()
    assert caught.value.name == "a b"


async def test_a_bulk_error_keeps_its_results(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    async with aioassets.AssetsManager(str(tmp_path / "store"), assets_dir=tmp_path / "assets") as manager:
        with pytest.raises(aioassets.BulkUpdateError) as caught:
            await manager.update_assets({"good": tmp_path / "file", "bad": tmp_path / "none"}, create_missing=True)
    error = pickle.loads(pickle.dumps(caught.value))
    assert state_of(error) == state_of(caught.value)
    assert error.published["good"].version == "0.0"
