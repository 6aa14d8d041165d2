"""Two AWS profiles whose endpoints have buckets of the same name: two stores everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.factories import Files
from tools.servers import ACCESS_KEY, SECRET_KEY, S3Server, start_seaweedfs

from aioassets import AssetNotFound, AssetsManager, InvalidSetting, NotSameStore, S3Driver, StoreUnsuitable
from aioassets.drivers.protocol import Expect
from aioassets.testing import BytesSource

pytestmark = pytest.mark.servers

BUCKET = "the-same-name"
PROFILE = """
[profile {name}]
endpoint_url = {server.endpoint_url}
region = us-east-1
aws_access_key_id = {key}
aws_secret_access_key = {secret}
s3 =
  addressing_style = path
"""


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Start a second server that honours conditions."""
    with start_seaweedfs(tmp_path_factory.mktemp("second")) as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def first(seaweedfs: S3Server) -> S3Server:
    """Return the first server."""
    seaweedfs.make_bucket(BUCKET)
    return seaweedfs


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: S3Server, second: S3Server) -> Path:
    """Write a configuration file with a profile for each server."""
    file = tmp_path / "config"
    servers = {"staging": first, "production": second}
    file.write_text(
        "".join(
            PROFILE.format(name=name, server=each, key=ACCESS_KEY, secret=SECRET_KEY) for name, each in servers.items()
        )
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "nothing"))
    return file


@pytest.fixture
def unsuitable(profiles: Path, rclone_s3: S3Server) -> None:
    """Add a profile of a server that ignores conditions."""
    rclone_s3.make_bucket(BUCKET)
    added = PROFILE.format(name="unsuitable", server=rclone_s3, key=ACCESS_KEY, secret=SECRET_KEY)
    profiles.write_text(profiles.read_text() + added)


def manager(tmp_path: Path, profile: str, prefix: str, *, offline: bool = False) -> AssetsManager:
    return AssetsManager(
        f"s3://{BUCKET}",
        assetsmanager_prefix=prefix,
        assets_dir=tmp_path / "cache",
        storage_options={"profile": profile},
        offline=offline,
    )


@pytest.mark.usefixtures("profiles")
async def test_each_profile_serves_its_own_bytes(tmp_path: Path, files: Files) -> None:
    for profile in ("staging", "production"):
        async with manager(tmp_path, profile, "bytes") as pushing:
            await pushing.create_asset(files(profile), "model")
    async with manager(tmp_path, "staging", "bytes") as staging:
        await staging.fetch_asset("model:0.0")
    async with manager(tmp_path, "production", "bytes", offline=True) as offline:
        with pytest.raises(AssetNotFound):
            await offline.fetch_asset("model")
    for again in (False, True):
        for profile in ("production", "staging"):
            async with manager(tmp_path, profile, "bytes", offline=again) as fetching:
                assert (await fetching.fetch_asset("model:0.0")).path.read_text() == profile
    async with AssetsManager(assets_dir=tmp_path / "cache") as anywhere:
        with pytest.raises(InvalidSetting, match=r"model:0\.0 is cached from 2 stores: s3://.*, s3://.*Choose one"):
            await anywhere.fetch_asset("model:0.0")


async def test_the_verdict_about_one_store_does_not_count_for_the_other(
    tmp_path: Path, files: Files, unsuitable: None
) -> None:
    """The second store ignores conditions."""
    async with manager(tmp_path, "staging", "verdict") as pushing:
        await pushing.create_asset(files("a"), "model")
    async with manager(tmp_path, "unsuitable", "verdict") as pushing:
        with pytest.raises(StoreUnsuitable):
            await pushing.create_asset(files("a"), "model")


@pytest.mark.usefixtures("profiles")
async def test_no_copy_is_asked_of_the_other_store() -> None:
    async with S3Driver(BUCKET, profile="staging") as one, S3Driver(BUCKET, profile="production") as other:
        await one.upload("copied", BytesSource(b"data"), expected=Expect.ANYTHING)
        with pytest.raises(NotSameStore):
            await other.copy(one, await one.stat("copied"), "copy")
        async with S3Driver(BUCKET, profile="staging") as same:
            await same.delete(["copy"])
            assert (await same.copy(one, await one.stat("copied"), "copy")).size == 4


@pytest.mark.usefixtures("profiles")
def test_the_command_line_names_another_profile_by_an_option(tmp_path: Path, files: Files) -> None:
    def run(profile: str, *args: str) -> str:
        options = (
            "--bucket",
            f"s3://{BUCKET}",
            "--assetsmanager-prefix",
            "cli",
            "--assets-dir",
            str(tmp_path / "cache"),
        )
        command = [sys.executable, "-m", "aioassets", *args, *options, "--storage-option", f"profile={profile}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    for profile in ("staging", "production"):
        run(profile, "new", str(files(profile)), "model", "--yes")
    paths = [Path(run(profile, "fetch", "model:0.0")) for profile in ("staging", "production")]
    assert [path.read_text() for path in paths] == ["staging", "production"]
