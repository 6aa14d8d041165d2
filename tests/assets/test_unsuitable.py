"""A real store that accepts conditional writes and ignores them."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import Files
from servers import S3Server

from aioassets import AssetsManager, StoreUnsuitable
from aioassets.drivers.s3 import S3Driver

pytestmark = pytest.mark.servers


@pytest.fixture
def bucket(rclone_s3: S3Server) -> str:
    return rclone_s3.fresh_bucket()


def manager_of(server: S3Server, bucket: str, cache: Path, **settings: bool) -> AssetsManager:
    return AssetsManager(f"s3://{bucket}", storage_options=server.options, assets_dir=cache, **settings)  # type: ignore[arg-type]


async def test_it_is_refused_before_any_harm(rclone_s3: S3Server, bucket: str, files: Files, tmp_path: Path) -> None:
    """The error says what it did, and how to use it all the same; nothing is left in it."""
    async with manager_of(rclone_s3, bucket, tmp_path / "cache") as manager:
        with pytest.raises(StoreUnsuitable, match=r"it created an object that existed already.*single_writer"):
            await manager.create_asset(files("a"), "model")
    async with S3Driver(bucket, **rclone_s3.options) as driver:
        assert [item async for item in driver.list("")] == []


async def test_a_declared_single_writer_works(rclone_s3: S3Server, bucket: str, files: Files, tmp_path: Path) -> None:
    """As long as what is declared is true."""
    async with manager_of(rclone_s3, bucket, tmp_path / "cache", single_writer=True) as manager:
        await manager.create_asset(files("a"), "model")
        await manager.update_asset(files("b"), "model")
        assert await manager.list_versions("model") == ["0.1", "0.0"]
        assert (await manager.fetch_asset("model")).path.read_text() == "b"
