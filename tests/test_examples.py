"""The examples run without a warning and print what they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tools.inspection import store_folder

from aioassets import blocking

PROJECT = Path(__file__).parent.parent
EXAMPLES = PROJECT / "examples"
QUICKSTART = str(EXAMPLES / "quickstart.py")
BULK_UPLOAD = str(EXAMPLES / "bulk_upload.py")


def run(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("AIOASSETS_", "MODELKIT_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", *args],
        cwd=tmp_path,
        env={**environ, "AIOASSETS_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_quickstart_creates_updates_lists_and_fetches(tmp_path: Path) -> None:
    done = run(tmp_path, QUICKSTART)

    assert (done.returncode, done.stderr) == (0, "")
    assert "created   team/model:0.0" in done.stdout
    assert "updated   team/model:0.1" in done.stdout
    assert "bumped    team/model:1.0" in done.stdout
    assert "team/model has 1.0, 0.1, 0.0" in done.stdout
    assert "w.bin holds b'third, of another shape'" in done.stdout
    assert "only weights of team/model:0.1" in done.stdout
    assert done.stdout.endswith("from the cache, without a request: True\n")


def test_the_quickstart_uses_the_given_folder(tmp_path: Path) -> None:
    folder = tmp_path / "here"

    first, second = (run(tmp_path, QUICKSTART, str(folder)) for _ in range(2))

    assert (first.returncode, first.stderr) == (0, "")
    assert [path.is_file() for path in (folder / "cache").glob("*/team/model/1.0/weights/w.bin")] == [True]
    assert (folder / "store" / "assets" / "team" / "model.versions").is_file()
    assert second.returncode == 1
    assert "name a new folder" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_bulk_upload_publishes_all_but_the_missing_table(tmp_path: Path) -> None:
    done = run(tmp_path, BULK_UPLOAD, str(tmp_path / "store"))

    assert (done.returncode, done.stderr) == (0, "")
    pushed = re.findall(r"pushed +(\d+) assets.*versions (.*)", done.stdout)
    assert pushed == [("200", "0.0"), ("199", "0.1")]
    assert re.findall(r"failed +(\S+):", done.stdout) == ["shops/0000/prices"]


def test_the_example_of_the_readme_runs_twice(tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None

    for version in ("0.0", "0.1"):
        done = run(tmp_path, "-c", example[1])

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{version} {store_folder(tmp_path / 'cache') / 'team' / 'model' / version}\n"


def test_the_example_of_reading_in_place_runs(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "reading.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    done = run(tmp_path, "-c", example[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "weights.bin 256000\nb'\\x00\\x01\\x02\\x03' b'\\x00\\x01' b'\\xfe\\xff' True\n"


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"quickstart.py", "bulk_upload.py", "service.py"}


def test_the_example_of_watching_prints_each_version(tmp_path: Path) -> None:
    script = re.findall(
        r"^```python\n(.*?)^```", (PROJECT / "docs" / "watching.md").read_text(), re.MULTILINE | re.DOTALL
    )[0]
    (tmp_path / "model").write_text("data")
    with blocking.AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        manager.create_asset(tmp_path / "model", "team/model")
        manager.set_alias("team/model", "prod", "0.0")
    ended = script.replace("            print(", "            return print(")

    done = run(tmp_path, "-c", ended)

    assert ended != script
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"now serving 0\.0 from .*/team/model/0\.0\n", done.stdout)
