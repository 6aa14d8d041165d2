"""URLs of versions and files, plain and signed."""

from __future__ import annotations

import logging
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from tools.factories import ManagerFactory
from tools.inspection import store_of
from tools.states import mark_yanked, point

from aioassets import (
    AssetsManager,
    AssetSpec,
    CannotPresign,
    Driver,
    LocalDriver,
    MemoryDriver,
    PartNotFound,
    UsageError,
    VersionNotFound,
)
from aioassets.drivers import split_url
from aioassets.runtime.threads import in_thread

pytestmark = pytest.mark.once

FILES = {
    "plain.bin": b"plain",
    "sub/with space.bin": b"space",
    "sub/ünï+%20?#&=.bin": b"odd",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def get(url: str) -> bytes:
    """Return what a URL leads to, or the status of the error."""
    try:
        with urllib.request.urlopen(url) as response:
            data: bytes = response.read()
            return data
    except HTTPError as error:
        with error:
            return str(error.code).encode()


async def pushed(manager: AssetsManager, source: Path) -> None:
    """Push a directory as `team/model:0.0`, and a file as `team/file:0.0` and `team/file:0.1`."""
    await manager.create_asset(source, "team/model")
    await manager.create_asset(source / "plain.bin", "team/file")
    await manager.update_asset(source / "plain.bin", "team/file")


class TestURLs:
    @pytest.fixture
    async def manager(self, memory: MemoryDriver, make_manager: ManagerFactory, source: Path) -> AssetsManager:
        await pushed(manager := make_manager(memory), source)
        return manager

    @pytest.mark.parametrize(
        ("spec", "path"),
        [
            ("team/file", "team/file/0.1"),
            ("team/file:0", "team/file/0.1"),
            ("team/file:0.0", "team/file/0.0"),
            ("team/model", "team/model/0.0/"),
            ("team/model[sub]", "team/model/0.0/sub/"),
            ("team/model:0.0[sub/with space.bin]", "team/model/0.0/sub/with space.bin"),
            (AssetSpec("team/model", part="sub/ünï+%20?#&=.bin"), "team/model/0.0/sub/ünï+%20?#&=.bin"),
        ],
        ids=str,
    )
    async def test_a_spec_has_the_url_of_its_object(self, manager: AssetsManager, spec: Any, path: str) -> None:
        """A directory has the URL of a prefix, which matches nothing else."""
        url = await manager.url_of(spec)
        assert url == f"memory://memory/assets/{path}"
        parsed = split_url(url)
        assert parsed is not None
        assert parsed[1] == f"assets/{path}"

    async def test_an_alias_has_the_url_of_its_version(self, manager: AssetsManager, memory: MemoryDriver) -> None:
        await point(store_of(memory), "team/file", "prod", "0.0")
        assert await manager.url_of("team/file@prod") == "memory://memory/assets/team/file/0.0"

    async def test_a_yanked_version_is_named_with_a_warning(
        self, manager: AssetsManager, memory: MemoryDriver, caplog: pytest.LogCaptureFixture
    ) -> None:
        await mark_yanked(store_of(memory), "team/file", "0.0")
        with caplog.at_level(logging.WARNING):
            await manager.url_of("team/file:0.0")
        assert "team/file:0.0 has been yanked" in caplog.text

    async def test_what_does_not_exist_has_no_url(self, manager: AssetsManager) -> None:
        with pytest.raises(VersionNotFound):
            await manager.url_of("team/file:7.0")
        with pytest.raises(PartNotFound):
            await manager.url_of("team/model[none]")

    async def test_files_of_a_folder_have_encoded_urls(
        self, tmp_path: Path, make_manager: ManagerFactory, source: Path
    ) -> None:
        await pushed(manager := make_manager(LocalDriver(tmp_path / "a store")), source)
        for path, data in FILES.items():
            url = await manager.url_of(AssetSpec("team/model", part=path))
            assert url.isascii()
            assert await in_thread(get, url) == data
        folder = await manager.url_of("team/model[sub]")
        assert folder == (tmp_path / "a store/assets/team/model/0.0/sub").as_uri() + "/"

    @pytest.mark.parametrize(
        "expires", ["0s", "8d", "soon", timedelta(), timedelta(days=7, seconds=1), timedelta(seconds=-1), 3600]
    )
    async def test_a_lifetime_is_at_most_seven_days(self, manager: AssetsManager, expires: Any) -> None:
        with pytest.raises(UsageError, match=r"between 1 second and 7 days|not a duration|must be a timedelta"):
            await manager.presign("team/file", expires=expires)

    @pytest.mark.parametrize("spec", ["team/model", "team/model[sub]"])
    async def test_a_directory_is_not_signed(self, manager: AssetsManager, spec: str) -> None:
        with pytest.raises(UsageError, match=r"it is a directory, .* such as team/model:0\.0\[(plain|sub/with space)"):
            await manager.presign(spec, expires="1h")

    async def test_a_store_without_signed_urls_says_so(self, manager: AssetsManager) -> None:
        with pytest.raises(CannotPresign, match="memory://memory: this kind of store has no signed URLs"):
            await manager.presign("team/file", expires="1h")


@pytest.mark.servers
@pytest.mark.parametrize("place", ["s3", "azure"], indirect=True)
class TestSignedURLs:
    async def test_anyone_can_read_a_signed_file(
        self, driver: Driver, make_manager: ManagerFactory, source: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The URL doesn't appear in logs."""
        await pushed(manager := make_manager(driver), source)
        with caplog.at_level(logging.DEBUG, "aioassets"):
            for path, data in FILES.items():
                url = await manager.presign(AssetSpec("team/model", part=path), expires=timedelta(minutes=5))
                assert await in_thread(get, url) == data
                signature = url.lower().partition("sig")[2]
                assert signature
                assert signature not in caplog.text.lower()

    async def test_a_changed_signature_is_refused(
        self, driver: Driver, make_manager: ManagerFactory, source: Path
    ) -> None:
        await pushed(manager := make_manager(driver), source)
        url = await manager.presign("team/file:0.0", expires="1h")
        assert await in_thread(get, url.replace("/0.0?", "/0.1?")) == b"403"
