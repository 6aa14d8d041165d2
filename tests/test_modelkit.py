"""Compatibility with modelkit 0.1.3: each reads what the other pushes."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools.claims import live_claim
from tools.servers import ACCESS_KEY, SECRET_KEY, S3Server

from aioassets import AssetsManager, Dispatcher, Driver
from aioassets.drivers import Location, make_driver
from aioassets.model.keys import Layout
from aioassets.push.claim import HeldClaim, attempt_claim
from aioassets.runtime.effects import Effects
from aioassets.store.documents import AssetStore

pytestmark = pytest.mark.servers

REQUIREMENTS = ("modelkit==0.1.3", "boto3>=1.40")
PREFIX = "modelkit-assets"

SCRIPT = """
import json, sys
from modelkit.assets.manager import AssetsManager
from modelkit.assets.remote import StorageProvider

def fetch(spec):
    found = AssetsManager().fetch_asset(spec, return_info=True)
    return {"path": found["path"], "version": found["version"]}

def new(path, name, version):
    StorageProvider().new(path, name, version)

def update(path, name, version):
    StorageProvider().update(path, name, version)

def listing():
    return dict(StorageProvider().iterate_assets())

action, answer, *arguments = sys.argv[1:]
try:
    value = {"result": {"fetch": fetch, "new": new, "update": update, "list": listing}[action](*arguments)}
except Exception as error:
    value = {"error": repr(error)}
with open(answer, "w") as file:
    json.dump(value, file)
"""


class ModelkitError(Exception):
    """Exception that modelkit raised."""


@dataclass(frozen=True)
class Modelkit:
    """modelkit in an environment of its own.

    Attributes:
        python: its interpreter.
        environ: its environment variables.
        folder: its assets directory.
    """

    python: Path
    environ: Mapping[str, str]
    folder: Path

    async def fetch(self, spec: str) -> dict[str, str]:
        return await self._run("fetch", spec)  # type: ignore[no-any-return]

    async def new(self, path: Path, name: str, version: str) -> None:
        await self._run("new", str(path), name, version)

    async def update(self, path: Path, name: str, version: str) -> None:
        await self._run("update", str(path), name, version)

    async def list(self) -> dict[str, list[str]]:
        return await self._run("list")  # type: ignore[no-any-return]

    async def _run(self, action: str, *arguments: str) -> Any:
        value = await asyncio.to_thread(self._run_blocking, action, *arguments)
        if "error" in value:
            raise ModelkitError(value["error"])
        return value["result"]

    def _run_blocking(self, action: str, *arguments: str) -> Any:
        answer = self.folder.parent / "answer.json"
        done = subprocess.run(
            [str(self.python), "-c", SCRIPT, action, str(answer), *arguments],
            env={**self.environ, "MODELKIT_ASSETS_DIR": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(answer.read_text())


@pytest.fixture(scope="session")
def modelkit_python(request: pytest.FixtureRequest) -> Path:
    """Return the interpreter of an environment with modelkit, which is kept between test runs."""
    environment = request.config.cache.mkdir("modelkit") / platform.python_version()
    python, complete = environment / "bin" / "python", environment / "complete"
    if complete.is_file() and complete.read_text() == str(REQUIREMENTS):
        return python
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    installed = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], capture_output=True, text=True, check=False
    )
    if installed.returncode != 0:
        message = f"modelkit can't be installed from PyPI:\n{installed.stderr[-2000:]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    complete.write_text(str(REQUIREMENTS))
    return python


@pytest.fixture(params=["local", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return modelkit's variables, which both sides use."""
    if request.param == "local":
        bucket = tmp_path / "bucket"
        bucket.mkdir()
        return {"MODELKIT_STORAGE_PROVIDER": "local", "MODELKIT_STORAGE_BUCKET": str(bucket)}
    server: S3Server = request.getfixturevalue("seaweedfs")
    return {
        "MODELKIT_STORAGE_PROVIDER": "s3",
        "MODELKIT_STORAGE_BUCKET": server.fresh_bucket(),
        "S3_ENDPOINT": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def modelkit(modelkit_python: Path, settings: dict[str, str], tmp_path: Path) -> Modelkit:
    folder = tmp_path / "modelkit" / "assets"
    folder.mkdir(parents=True)
    return Modelkit(modelkit_python, {**settings, "HOME": str(tmp_path)}, folder)


@pytest.fixture
async def manager(
    settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AssetsManager]:
    """Return a manager that is configured by modelkit's variables only."""
    for name in [name for name in os.environ if name.startswith(("AIOASSETS_", "MODELKIT_", "AWS_", "S3_"))]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    async with AssetsManager(assets_dir=tmp_path / "cache") as manager:
        yield manager


@pytest.fixture
async def driver(manager: AssetsManager, settings: dict[str, str]) -> AsyncIterator[Driver]:
    """Return the driver of the store, for looking at its objects."""
    location = Location.parse(settings["MODELKIT_STORAGE_BUCKET"], settings["MODELKIT_STORAGE_PROVIDER"])
    driver = make_driver(
        location, dispatcher=Dispatcher(), options={"s3.endpoint_url": settings.get("S3_ENDPOINT", "")}
    )
    yield driver
    await driver.aclose()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a directory with names that are easily lost."""
    root = tmp_path / "tree"
    for path, content in {
        "weights/w.bin": b"\x00\x01" * 5000,
        "weights/deep er/ü €.txt": "ü".encode(),
        ".hidden": b"secret",
        "empty": b"",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
def plain_tree(tree: Path) -> Path:
    """Make a directory without hidden files, which modelkit's own pushes leave out."""
    (tree / ".hidden").unlink()
    return tree


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\n1,2\n")
    return path


def contents(root: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the files below a folder, without modelkit's marker."""
    paths = (path for path in Path(root).rglob("*") if path.is_file() and path.name != ".SUCCESS")
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


class TestModelkitReads:
    async def test_a_file(self, manager: AssetsManager, modelkit: Modelkit, file: Path) -> None:
        await manager.create_asset(file, "team/table")

        fetched = await modelkit.fetch("team/table")

        assert fetched["version"] == "0.0"
        assert Path(fetched["path"]).read_bytes() == file.read_bytes()

    async def test_a_directory_with_all_its_files(self, manager: AssetsManager, modelkit: Modelkit, tree: Path) -> None:
        await manager.create_asset(tree, "team/model", message="hello", labels={"stage": "test"})

        fetched = await modelkit.fetch("team/model:0.0")

        assert contents(fetched["path"]) == contents(tree)
        assert ".hidden" in contents(tree)

    async def test_the_latest_version_of_all_and_of_a_major(
        self, manager: AssetsManager, modelkit: Modelkit, file: Path
    ) -> None:
        await manager.create_asset(file, "team/table")
        await manager.update_asset(file, "team/table", bump_major=True)
        await manager.update_asset(file, "team/table", major=0)

        assert (await modelkit.fetch("team/table"))["version"] == "1.0"
        assert (await modelkit.fetch("team/table:0"))["version"] == "0.1"
        assert await modelkit.list() == {"team/table": ["1.0", "0.1", "0.0"]}

    async def test_versions_beside_aliases(self, manager: AssetsManager, modelkit: Modelkit, file: Path) -> None:
        """It ignores the documents of aliases."""
        await manager.create_asset(file, "team/table")
        await manager.update_asset(file, "team/table")
        await manager.set_alias("team/table", "prod", "0.0")
        await manager.set_alias("team/table", "staging", "0.1")

        assert await modelkit.list() == {"team/table": ["0.1", "0.0"]}
        assert (await modelkit.fetch("team/table"))["version"] == "0.1"
        assert (await modelkit.fetch("team/table:0.0"))["version"] == "0.0"
        await modelkit.update(file, "team/table", "0.2")
        assert (await manager.fetch_asset("team/table@prod")).version == "0.0"

    async def test_nothing_of_a_version_that_is_being_pushed(
        self, manager: AssetsManager, modelkit: Modelkit, driver: Driver, tree: Path
    ) -> None:
        await manager.create_asset(tree, "team/model")
        held = await claimed(driver, "team/model", "0.1")

        for change in (held.renew, held.abandon, held.release):
            with pytest.raises(ModelkitError, match="push_date"):
                await modelkit.fetch("team/model:0.1")
            await change()
        with pytest.raises(ModelkitError, match="push_date"):
            await modelkit.fetch("team/model:0.1")
        assert (await modelkit.fetch("team/model"))["version"] == "0.0"
        assert not (modelkit.folder / "team" / "model" / "0.1").exists()

    async def test_a_version_whole_after_it_failed_on_its_claim(
        self, manager: AssetsManager, modelkit: Modelkit, driver: Driver, tree: Path
    ) -> None:
        await manager.create_asset(tree, "team/model")
        held = await claimed(driver, "team/model", "0.1")
        with pytest.raises(ModelkitError):
            await modelkit.fetch("team/model:0.1")
        await held.abandon()
        await held.release()

        assert (await manager.update_asset(tree, "team/model")).version == "0.1"

        assert contents((await modelkit.fetch("team/model:0.1"))["path"]) == contents(tree)


class TestAioassetsReads:
    async def test_a_file(self, manager: AssetsManager, modelkit: Modelkit, file: Path) -> None:
        await modelkit.new(file, "team/table", "0.0")

        fetched = await manager.fetch_asset("team/table")

        assert (fetched.version, fetched.verified, fetched.from_cache) == ("0.0", False, False)
        assert fetched.path.read_bytes() == file.read_bytes()

    async def test_a_directory(self, manager: AssetsManager, modelkit: Modelkit, plain_tree: Path) -> None:
        await modelkit.new(plain_tree, "team/model", "0.0")

        fetched = await manager.fetch_asset("team/model")

        assert not fetched.verified
        assert contents(fetched) == contents(plain_tree)

    async def test_a_part_of_a_directory(self, manager: AssetsManager, modelkit: Modelkit, plain_tree: Path) -> None:
        await modelkit.new(plain_tree, "team/model", "0.0")

        fetched = await manager.fetch_asset("team/model[weights/w.bin]")

        assert fetched.path.read_bytes() == (plain_tree / "weights" / "w.bin").read_bytes()

    async def test_a_version_from_the_cache_at_the_second_time(
        self, manager: AssetsManager, modelkit: Modelkit, file: Path
    ) -> None:
        await modelkit.new(file, "team/table", "0.0")
        assert not (await manager.fetch_asset("team/table:0.0")).from_cache

        assert (await manager.fetch_asset("team/table:0.0")).from_cache
        assert (await manager.fetch_asset("team/table", offline=True)).from_cache


class TestBothPush:
    async def test_in_turn(self, manager: AssetsManager, modelkit: Modelkit, file: Path, plain_tree: Path) -> None:
        await modelkit.new(file, "team/mixed", "0.0")
        await modelkit.update(plain_tree, "team/mixed", "0.1")

        assert (await manager.update_asset(plain_tree, "team/mixed")).version == "0.2"
        assert (await manager.update_asset(file, "team/mixed", bump_major=True)).version == "1.0"
        await modelkit.update(file, "team/mixed", "1.1")

        versions = ["1.1", "1.0", "0.2", "0.1", "0.0"]
        assert await manager.list_versions("team/mixed") == versions
        assert [(asset.name, list(asset.versions)) async for asset in manager.list_assets()] == [
            ("team/mixed", versions)
        ]
        assert await modelkit.list() == {"team/mixed": versions}
        for version in ("0.1", "0.2"):
            assert contents(await manager.fetch_asset(f"team/mixed:{version}")) == contents(plain_tree)
            assert contents((await modelkit.fetch(f"team/mixed:{version}"))["path"]) == contents(plain_tree)

    async def test_and_unknown_fields_of_the_index_survive_an_update(
        self, manager: AssetsManager, modelkit: Modelkit, driver: Driver, file: Path
    ) -> None:
        await modelkit.new(file, "team/table", "0.0")
        key = f"{PREFIX}/team/table.versions"
        found = await driver.read(key)
        extended = {**json.loads(found.data), "owner": {"team": "pricing"}, "pinned": ["0.0"]}
        await driver.write(key, json.dumps(extended).encode(), expected=found.revision)

        await manager.update_asset(file, "team/table")

        index = json.loads((await driver.read(key)).data)
        assert index == {"versions": ["0.1", "0.0"], "owner": {"team": "pricing"}, "pinned": ["0.0"]}
        assert (await modelkit.fetch("team/table"))["version"] == "0.1"


async def claimed(driver: Driver, name: str, version: str) -> HeldClaim:
    """Claim a version number, as a running push does."""
    store = AssetStore(driver, Layout(PREFIX))
    held = (await attempt_claim(store, name, version, await live_claim(), Effects())).held
    assert held is not None
    return held


async def test_modelkit_sees_no_withdrawn_version(
    modelkit: Modelkit, manager: AssetsManager, tree: Path, plain_tree: Path, tmp_path: Path
) -> None:
    """It still fetches a yanked version that is named, and fails on a deleted one."""
    await manager.create_asset(tree, "model")
    await modelkit.update(plain_tree, "model", "0.1")
    await manager.update_asset(tree, "model")

    await manager.yank_version("model", "0.2", "bad weights")
    assert await modelkit.list() == {"model": ["0.1", "0.0"]}
    assert (await modelkit.fetch("model"))["version"] == "0.1"
    fetched = await modelkit.fetch("model:0.2")
    assert contents(Path(fetched["path"])) == contents(tree)

    await manager.yank_version("model", "0.1", "pushed by modelkit")
    assert await modelkit.list() == {"model": ["0.0"]}
    await manager.unyank_version("model", "0.1")
    await manager.unyank_version("model", "0.2")
    assert await modelkit.list() == {"model": ["0.2", "0.1", "0.0"]}
    assert (await modelkit.fetch("model"))["version"] == "0.2"

    shutil.rmtree(modelkit.folder)
    modelkit.folder.mkdir()
    await manager.delete_version("model", "0.1")
    await manager.delete_version("model", "0.2", "leaked")
    assert await modelkit.list() == {"model": ["0.0"]}
    assert (await modelkit.fetch("model"))["version"] == "0.0"
    for spec in ("model:0.1", "model:0.2"):
        with pytest.raises(ModelkitError):
            await modelkit.fetch(spec)
    assert {path.name for path in (modelkit.folder / "model").iterdir() if path.is_dir()} == {"0.0"}


async def test_modelkit_reads_copies_but_no_version_that_was_pruned(
    modelkit: Modelkit, manager: AssetsManager, file: Path, plain_tree: Path
) -> None:
    await modelkit.new(plain_tree, "model", "0.0")
    await manager.update_asset(plain_tree, "model")
    await manager.create_asset(file, "copy")
    assert (await manager.copy_version("model:0.1", manager, name="copy", alias="prod")).version == "0.1"
    assert (await manager.copy_version("model:0.0", manager, name="copy", renumber=True)).version == "0.2"
    assert await modelkit.list() == {"copy": ["0.2", "0.1", "0.0"], "model": ["0.1", "0.0"]}
    for spec in ("copy", "copy:0.1"):
        assert contents((await modelkit.fetch(spec))["path"]) == contents(plain_tree)
    assert Path((await modelkit.fetch("copy:0.0"))["path"]).read_bytes() == file.read_bytes()

    await manager.prune(await manager.plan_prune(keep_last=1))
    assert await modelkit.list() == {"copy": ["0.2", "0.1"], "model": ["0.1"]}
    shutil.rmtree(modelkit.folder)
    modelkit.folder.mkdir()
    for spec in ("copy", "copy:0.1", "model"):
        assert contents((await modelkit.fetch(spec))["path"]) == contents(plain_tree)
    for spec in ("copy:0.0", "model:0.0"):
        with pytest.raises(ModelkitError):
            await modelkit.fetch(spec)


async def test_numbers_go_on_after_modelkit_has_dropped_the_fences(
    modelkit: Modelkit, manager: AssetsManager, plain_tree: Path
) -> None:
    await manager.create_asset(plain_tree, "model")
    for _ in range(2):
        await manager.update_asset(plain_tree, "model")
    await manager.delete_version("model", "0.1")
    await manager.yank_version("model", "0.2", "bad weights")
    await modelkit.update(plain_tree, "model", "1.0")
    assert await modelkit.list() == {"model": ["1.0", "0.0"]}
    assert (await manager.update_asset(plain_tree, "model", major=0)).version == "0.3"
    assert await manager.list_versions("model") == ["1.0", "0.3", "0.0"]
    await manager.unyank_version("model", "0.2")
    assert await modelkit.list() == {"model": ["1.0", "0.3", "0.2", "0.0"]}
