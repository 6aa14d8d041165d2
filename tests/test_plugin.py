"""Drivers of other packages, which are found by the scheme of a URL."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import aioassets.drivers

pytestmark = pytest.mark.once

PROJECT = Path(__file__).parent.parent
PLUGIN = PROJECT / "examples" / "plugin"
DOCUMENTED = (PROJECT / "docs" / "drivers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for `PYTHONPATH` with the example, a broken driver, and a driver that claims `s3://`."""
    folder = tmp_path_factory.mktemp("plugin")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, cwd=PLUGIN, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:  # unpacking installs a wheel of plain Python
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


def test_a_plug_in_is_addressed_by_url_or_as_a_provider(installed: Path, tmp_path: Path) -> None:
    """The options come from the command line or the environment."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("content")
    (tree / "empty").write_text("")
    dirs = ("--assets-dir", str(tmp_path / "cache"))
    folder = ("-o", f"folder={tmp_path}")
    pushed = run(installed, "new", str(tree), "model", "--bucket", "sqlite://team", "--yes", *folder, *dirs)
    assert (pushed.returncode, pushed.stdout) == (0, "model:0.0\n"), pushed.stderr
    database = sqlite3.connect(tmp_path / "team.db")
    keys = [key for (key,) in database.execute("SELECT key FROM objects WHERE key LIKE 'assets/%' ORDER BY key")]
    database.close()
    assert keys == [f"assets/model{end}" for end in (".versions", "/0.0.meta", "/0.0/a.txt", "/0.0/empty")]
    environ = {"AIOASSETS_SQLITE_FOLDER": str(tmp_path)}
    listed = run(installed, "list", "--bucket", "team", "--storage-provider", "sqlite", "--json", **environ)
    assets = [{"name": "model", "versions": ["0.0"], "error": None}]
    assert json.loads(listed.stdout) == {"assets": assets}, listed.stderr
    store = ("--bucket", str(tmp_path / "store"))
    copied = run(installed, "new", "sqlite://team/assets/model/0.0", "copy", *store, "--yes", *dirs, **environ)
    assert (copied.returncode, copied.stdout) == (0, "copy:0.0\n"), copied.stderr


def test_only_the_plug_in_of_the_scheme_is_loaded(installed: Path, tmp_path: Path) -> None:
    ran = run(installed, "list", "--bucket", "sqlite://team", "-o", f"folder={tmp_path}")

    assert (ran.returncode, "loaded" in ran.stdout) == (7, False)  # no such database yet


def test_the_error_names_a_plug_in_that_fails_to_load(installed: Path) -> None:
    ran = run(installed, "list", "--bucket", "broken://team")

    assert ran.returncode == 2
    assert "Failed to load the driver for broken:// URLs (bad:Driver): out of order" in ran.stderr


def test_built_in_schemes_can_not_be_replaced(installed: Path) -> None:
    """`s3://` has the same meaning everywhere, whatever is installed."""
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
        AIOASSETS_RETRY_FOR="0s",
    )
    assert "loaded" not in ran.stdout
    assert "Failed to load" not in ran.stderr


def test_an_unknown_scheme_is_a_usage_error_with_advice(installed: Path) -> None:
    ran = run(installed, "list", "--bucket", "tape://team")

    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "No driver is installed for tape:// URLs. Write ./store" in ran.stderr


def test_the_example_passes_the_conformance_suite(installed: Path) -> None:
    """It runs as its author would run it, with the installed package."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--rootdir", str(PLUGIN)]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, "test_sqlite.py"],
        cwd=PLUGIN,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


def test_the_example_uses_only_public_names() -> None:
    (module,) = PLUGIN.glob("*/__init__.py")
    imports = re.findall(r"^(?:from|import) (aioassets\S*)", module.read_text(encoding="utf-8"), re.MULTILINE)

    assert imports == ["aioassets.drivers"]


class TestPublicNames:
    def test_the_documentation_lists_all_of_them(self) -> None:
        section = DOCUMENTED.partition("## Names\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        named = [name for row in rows for name in re.findall(r"`(\w+)", row)]

        assert sorted(named) == sorted(aioassets.drivers.__all__)

    @pytest.mark.parametrize("name", aioassets.drivers.__all__)
    def test_each_can_be_imported(self, name: str) -> None:
        assert hasattr(aioassets.drivers, name)

    def test_the_documentation_shows_the_methods_of_a_driver(self) -> None:
        members = {name for name in vars(aioassets.drivers.Driver) if not name.startswith("_")}
        section = DOCUMENTED.partition("## The protocol\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)

        assert {name for row in rows for name in re.findall(r"`(\w+)", row)} == members
