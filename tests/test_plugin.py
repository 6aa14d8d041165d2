"""Drivers of others are found by the scheme of a URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `PYTHONPATH` that the example is installed to, and two that are up to no good."""
    folder = tmp_path_factory.mktemp("plugin")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=PLUGIN, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:  # a wheel of plain Python is installed by unpacking it
        archive.extractall(site)
    bad = site / "bad-1.0.dist-info"
    bad.mkdir()
    (bad / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (bad / "entry_points.txt").write_text("[aioassets.drivers]\ns3 = bad:S3\nbroken = bad:Driver\n")
    (site / "bad.py").write_text("print('loaded')\nraise RuntimeError('out of order')\n")
    return site


def run(installed: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed), **environ}
    command = [sys.executable, "-m", "aioassets", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_plug_in_is_a_store_like_any_other(installed: Path, tmp_path: Path) -> None:
    """By its URL or as a provider, with options of its own."""
    (tmp_path / "a.txt").write_text("content")
    dirs = ("--assets-dir", str(tmp_path / "cache"))
    option = ("-o", f"mount={tmp_path / 'mnt'}")
    pushed = run(
        installed, "new", str(tmp_path / "a.txt"), "model", "--bucket", "share://team", "--yes", *option, *dirs
    )
    assert (pushed.returncode, pushed.stdout) == (0, "model:0.0\n"), pushed.stderr
    assert (tmp_path / "mnt" / "team" / "assets" / "model.versions").exists()
    listed = run(
        installed,
        "list",
        "--bucket",
        "team",
        "--storage-provider",
        "share",
        "--json",
        AIOASSETS_SHARE_MOUNT=str(tmp_path / "mnt"),
    )
    assets = [{"name": "model", "versions": ["0.0"], "error": None}]
    assert json.loads(listed.stdout) == {"assets": assets}, listed.stderr
    source = "share://team/assets/model/0.0"
    copied = run(
        installed,
        "new",
        source,
        "copy",
        "--bucket",
        str(tmp_path / "store"),
        "--yes",
        *dirs,
        AIOASSETS_SHARE_MOUNT=str(tmp_path / "mnt"),
    )
    assert (copied.returncode, copied.stdout) == (0, "copy:0.0\n"), copied.stderr


def test_only_the_plug_in_that_is_asked_for_is_loaded(installed: Path, tmp_path: Path) -> None:
    """Others may be broken."""
    ran = run(installed, "list", "--bucket", "share://team", "-o", f"mount={tmp_path}")
    assert (ran.returncode, "loaded" in ran.stdout) == (7, False)  # no such folder yet


def test_a_plug_in_that_can_not_be_loaded_is_named(installed: Path) -> None:
    """With its own reason."""
    ran = run(installed, "list", "--bucket", "broken://team")
    assert ran.returncode == 2
    assert "The driver for broken:// (bad:Driver) can't be loaded: out of order" in ran.stderr


def test_built_in_schemes_can_not_be_replaced(installed: Path) -> None:
    """What s3:// means never depends on what else is installed."""
    ran = run(
        installed,
        "list",
        "--bucket",
        "s3://team",
        "-o",
        "endpoint_url=http://127.0.0.1:1",
        "-o",
        "region=x",
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="x",
        PYTHONWARNINGS="ignore",
        AIOASSETS_CONNECT_TIMEOUT="1",
    )
    assert "loaded" not in ran.stdout
    assert "can't be loaded" not in ran.stderr


def test_a_scheme_that_nobody_knows_is_an_error(installed: Path) -> None:
    """It says how buckets are named."""
    ran = run(installed, "list", "--bucket", "tape://team")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "unknown kind of store" in ran.stderr


def test_the_example_passes_the_conformance_suite(installed: Path) -> None:
    """As its author would run it."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        "test_share.py",
    ]
    ran = subprocess.run(
        [*command, "--rootdir", str(PLUGIN)], cwd=PLUGIN, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
