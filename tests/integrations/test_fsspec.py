"""The filesystem `aioassets://`: paths, listings, reads, downloads, refusals and its life."""

from __future__ import annotations

import asyncio
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from fsspec.asyn import sync
from upath import UPath

from aioassets import AssetSpec, InvalidSetting, UsageError
from aioassets.blocking import AssetsManager as Manager
from aioassets.integrations.fsspec import AssetFileSystem
from aioassets.integrations.fsspec_paths import AssetPath

from .conftest import push

pytestmark = pytest.mark.once

TEXT = b"".join(b"line %d\n" % number for number in range(1000))
FILES = {
    "a.txt": TEXT,
    "sub/b c#?%.bin": bytes(range(256)),
    "sub/deep/c": b"c",
    "sub.x": b"x",
    "sub-x": b"x",
    "z@1:2": b"z",
}


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """Make a directory to push."""
    for path, data in FILES.items():
        (folder / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / path).write_bytes(data)
    (folder / "source/empty").mkdir()
    return folder / "source"


@pytest.fixture(scope="module", autouse=True)
def store(options: dict[str, Any], folder: Path, source: Path) -> None:
    """Push `team/model:0.0` with the alias `prod`, `team/model:0.1`, and the files `team/file` and `team/in/file`."""
    push(options, source, "team/model", alias="prod")
    push(options, source / "a.txt", "team/file", "team/in/file")
    second = shutil.copytree(source, folder / "second")
    (second / "new").write_bytes(b"new")
    push(options, second, "team/model")


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "spec", "inside"),
        [
            ("team/model:1.2", AssetSpec("team/model", "1.2"), ""),
            ("team/model:1/a/b", AssetSpec("team/model", "1"), "a/b"),
            ("model@prod/a", AssetSpec("model", alias="prod"), "a"),
            ("model@latest/a", AssetSpec("model"), "a"),
            ("model:1.2/a:b/c@d", AssetSpec("model", "1.2"), "a:b/c@d"),
        ],
    )
    def test_the_first_segment_with_a_version_ends_the_name(self, path: str, spec: AssetSpec, inside: str) -> None:
        parsed = AssetPath.parse(path)
        assert parsed is not None
        assert (parsed.spec, parsed.inside) == (spec, inside)
        assert path == f"{parsed.root}/{inside}".rstrip("/")

    @pytest.mark.parametrize("path", ["model:", "model:1@prod", "model:1 2/a", "-x:1.2", "model@a[b]"])
    def test_an_invalid_version_is_an_error(self, path: str) -> None:
        with pytest.raises(UsageError):
            AssetPath.parse(path)


class TestListings:
    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("", ["team/"]),
            ("team", ["team/file:0.0", "team/in/", "team/model:0.0/", "team/model:0.1/"]),
            ("team/model", ["team/model:0.0/", "team/model:0.1/"]),
            ("team/file:0", ["team/file:0"]),
            ("team/model:0.0/sub/deep", ["team/model:0.0/sub/deep/c"]),
            ("team/model:0.0/empty", []),
            (
                "aioassets://team/model@prod/",
                [f"team/model@prod/{each}" for each in ("a.txt", "empty/", "sub/", "sub-x", "sub.x", "z@1:2")],
            ),
        ],
    )
    def test_ls_names_what_is_directly_below_a_path(self, fs: AssetFileSystem, path: str, names: list[str]) -> None:
        rows = fs.ls(path)
        assert sorted(row["name"] + "/" * (row["type"] == "directory") for row in rows) == sorted(names)
        assert fs.ls(path, detail=False) == [row["name"] for row in rows]

    def test_info_describes_a_file(self, fs: AssetFileSystem) -> None:
        info = fs.info("aioassets://team/model@prod/sub/deep/c")
        digest = "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"
        assert info == {
            "name": "team/model@prod/sub/deep/c",
            "size": 1,
            "type": "file",
            "version": "0.0",
            "sha256": digest,
        }
        assert fs.modified("team/model@prod/sub/deep/c").tzinfo is not None

    def test_find_walk_and_glob_follow_the_listings(self, fs: AssetFileSystem) -> None:
        assert fs.find("team/model@prod") == sorted(f"team/model@prod/{path}" for path in FILES)
        assert len(fs.find("")) == 2 * len(FILES) + 3
        assert fs.glob("team/model:*/new") == ["team/model:0.1/new"]
        assert fs.glob("aioassets://team/model@latest/**/*c*") == [
            "team/model@latest/sub/b c#?%.bin",
            "team/model@latest/sub/deep/c",
        ]
        (first, *_) = fs.walk("team/model:0.0")
        assert (first[0], sorted(first[1]), sorted(first[2])) == (
            "team/model:0.0",
            ["empty", "sub"],
            ["a.txt", "sub-x", "sub.x", "z@1:2"],
        )

    def test_what_is_yanked_or_unreadable_is_not_listed(
        self, options: dict[str, Any], tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A yanked version can still be read."""
        options = {**options, "bucket": str(tmp_path)}
        push(options, source / "sub.x", "team/file", "team/broken")
        push(options, source / "sub-x", "team/file")
        with Manager(tmp_path, assets_dir=options["assets_dir"]) as manager:
            manager.yank_version("team/file", "0.0", "wrong")
        (tmp_path / "assets/team/broken.versions").write_text("{")
        fs = AssetFileSystem(**options)
        assert [row["name"] for row in fs.ls("team")] == fs.ls("team", detail=False) == ["team/file:0.1"]
        assert "Not listing the versions of team/broken" in caplog.text
        assert fs.cat_file("team/file:0.0") == b"x"
        fs.close()

    @pytest.mark.parametrize(
        "path",
        ["a b?", "none", "none:1", "team/model:7", "team/model@none/a", "team/model:0.0/none", "team/file:0/none"],
    )
    def test_what_does_not_exist_is_not_found(self, fs: AssetFileSystem, path: str) -> None:
        assert not fs.exists(path)
        for call in (fs.info, fs.ls, fs.cat_file, fs.open):
            with pytest.raises(FileNotFoundError):
                call(path)

    def test_a_file_without_a_version_is_not_guessed(self, fs: AssetFileSystem) -> None:
        with pytest.raises(FileNotFoundError, match="NAME@latest/PATH"):
            fs.cat_file("team/model/a.txt")

    @pytest.mark.parametrize("path", ["team", "team/model", "team/model:0.0", "team/model:0.0/sub"])
    def test_a_directory_is_not_read(self, fs: AssetFileSystem, path: str) -> None:
        assert fs.isdir(path)
        with pytest.raises(IsADirectoryError):
            fs.cat_file(path)


class TestReads:
    @pytest.mark.parametrize(
        ("start", "end"), [(None, None), (5, 9), (None, 4), (7990, None), (-6, None), (-6, -2), (9, 5), (0, 10**9)]
    )
    def test_cat_file_reads_as_a_slice_does(self, fs: AssetFileSystem, start: int | None, end: int | None) -> None:
        assert fs.cat_file("team/model@prod/a.txt", start, end) == TEXT[start:end]

    def test_cat_ranges_puts_errors_in_their_places(self, fs: AssetFileSystem) -> None:
        paths = ["team/file:0", "team/none:0", "team/file:0", "team/model:0.0/sub.x"]
        found = fs.cat_ranges(paths, [0, 0, -5, 0], [5, 1, None, None])
        assert [type(each) for each in found] == [bytes, FileNotFoundError, bytes, bytes]
        assert (found[0], found[2], found[3]) == (TEXT[:5], TEXT[-5:], b"x")
        with pytest.raises(FileNotFoundError):
            fs.cat_ranges(paths, 0, 1, on_error="raise")

    def test_files_of_all_names_are_read(self, fs: AssetFileSystem) -> None:
        assert fs.cat("team/model@prod/**", recursive=True, on_error="omit") == {
            f"team/model@prod/{path}": data for path, data in FILES.items()
        }

    @pytest.mark.parametrize("cache", ["readahead", "none", "blockcache"])
    def test_an_open_file_is_read_and_sought(self, fs: AssetFileSystem, cache: str) -> None:
        opened: Any = fs.open("team/model@prod/a.txt", block_size=1000, cache_type=cache)
        with opened as file:
            assert file.size == len(TEXT)
            assert file.readline() == b"line 0\n"
            assert file.read(2000) == TEXT[7:2007]
            file.seek(-20, 2)
            assert file.read() == TEXT[-20:]
            file.seek(0)
            assert file.read() == TEXT

    def test_a_text_is_read_by_url(self, options: dict[str, Any]) -> None:
        with fsspec.open("aioassets://team/model@prod/a.txt", "rt", **options) as file:
            assert next(iter(file)) == "line 0\n"

    def test_a_file_may_be_closed_on_the_loop_that_reads_it(self, fs: AssetFileSystem) -> None:
        """The garbage collector may run there."""
        file = fs.open("team/file:0")

        async def close() -> None:
            file.close()

        sync(fs.loop, close)
        assert file.closed

    def test_an_alias_stays_until_the_cache_is_invalidated(
        self, options: dict[str, Any], tmp_path: Path, source: Path
    ) -> None:
        """Files that are read one after the other belong to one version."""
        options = {**options, "bucket": str(tmp_path)}
        push(options, source / "a.txt", "file")
        fs = AssetFileSystem(**options)
        assert fs.info("file@latest")["version"] == "0.0"
        push(options, source / "sub.x", "file")
        assert fs.cat_file("file@latest") == TEXT
        fs.invalidate_cache("file@latest")
        assert fs.cat_file("file@latest") == b"x"
        fs.close()

    def test_get_downloads_a_version(self, fs: AssetFileSystem, tmp_path: Path) -> None:
        fs.get("team/model@prod/", str(tmp_path / "got"), recursive=True)
        got = {str(path.relative_to(tmp_path / "got")): path for path in (tmp_path / "got").rglob("*")}
        assert {name: path.read_bytes() for name, path in got.items() if path.is_file()} == FILES
        assert got["empty"].is_dir()
        fs.get_file("team/file:0", str(tmp_path / "file"))
        assert (tmp_path / "file").read_bytes() == TEXT


@pytest.mark.parametrize(
    "write",
    [
        lambda fs, path: fs.open(f"{path}/a", "wb"),
        lambda fs, path: fs.pipe(f"{path}/a", b""),
        lambda fs, path: fs.put(__file__, f"{path}/a"),
        lambda fs, path: fs.cp_file(f"{path}/sub.x", f"{path}/a"),
        lambda fs, path: fs.rm(f"{path}/sub.x"),
        lambda fs, path: fs.mkdir(f"{path}/a"),
        lambda fs, path: fs.rmdir(f"{path}/empty"),
        lambda fs, path: fs.touch(f"{path}/a"),
    ],
)
def test_writing_is_refused(fs: AssetFileSystem, write: Callable[[AssetFileSystem, str], object]) -> None:
    with pytest.raises(UsageError, match="read-only"):
        write(fs, "team/model:0.0")


class TestLife:
    def test_it_is_registered_and_reads_the_environment(
        self, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIOASSETS_BUCKET", options["bucket"])
        monkeypatch.setenv("AIOASSETS_DIR", options["assets_dir"])
        filesystem = fsspec.filesystem("aioassets", skip_instance_cache=True)
        assert filesystem.cat_file("team/model:0.0/sub.x") == b"x"
        filesystem.close()

    def test_wrong_options_are_refused_at_once(self) -> None:
        with pytest.raises(TypeError, match="typo"):
            AssetFileSystem("./store", typo=1)
        with pytest.raises(InvalidSetting):
            AssetFileSystem("./store", max_requests=0)

    def test_it_is_pickled_by_its_options(self, fs: AssetFileSystem) -> None:
        """dask sends filesystems and files to other processes."""
        fs.cat_file("team/file:0")
        with fs.open("team/file:0") as file:
            copies = pickle.loads(pickle.dumps((fs, file)))
        assert copies[0].cat_file("team/file:0") == copies[1].read() == TEXT
        copies[1].close()
        copies[0].close()

    def test_it_is_used_on_one_event_loop_after_the_other(self, options: dict[str, Any]) -> None:
        filesystem = AssetFileSystem(asynchronous=True, **options)

        async def read() -> bytes:
            data: bytes = await filesystem._cat_file("team/model:0.0/sub.x")  # noqa: SLF001 - fsspec's name of it
            await filesystem.aclose()
            return data

        assert (asyncio.run(read()), asyncio.run(read())) == (b"x", b"x")

    def test_paths_of_universal_pathlib(self, options: dict[str, Any]) -> None:
        path = UPath("aioassets://team/model@prod", **options)
        assert {each.name for each in path.iterdir()} == {"a.txt", "empty", "sub", "sub-x", "sub.x", "z@1:2"}
        assert (path / "sub" / "deep" / "c").read_text() == "c"
        assert (path / "sub").is_dir()
        assert [str(each) for each in path.glob("*.txt")] == ["aioassets://team/model@prod/a.txt"]
        cast("AssetFileSystem", path.fs).close()


URLS = {"s3": "s3://{bucket}", "azure": "az://{container}", "gcs": "gs://{bucket}"}


@pytest.mark.servers
@pytest.mark.parametrize("place", list(URLS), indirect=True)
def test_a_store_is_read_by_ranges(place: dict[str, Any], options: dict[str, Any], source: Path) -> None:
    given = {name: value for name, value in place.items() if name not in ("kind", "bucket", "container")}
    on_store = {**options, "bucket": URLS[place["kind"]].format(**place), "storage_options": given}
    push(on_store, source, "team/model")
    filesystem = AssetFileSystem(**on_store)
    assert filesystem.cat_ranges(["team/model@latest/a.txt"] * 2, [0, -3], [3, None]) == [TEXT[:3], TEXT[-3:]]
    with filesystem.open("team/model@latest/sub/b c#?%.bin") as file:
        assert file.read() == bytes(range(256))
    filesystem.close()


def test_the_example_of_the_documentation(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs/fsspec.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "model/weights.bin").write_bytes(bytes(range(100)))
    push({**options, "bucket": str(tmp_path / "store")}, tmp_path / "model", "team/model", alias="prod")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIOASSETS_DIR", options["assets_dir"])
    scope: dict[str, Any] = {}
    exec(example.replace("1.0", "0.0"), scope)
    assert capsys.readouterr().out == "['team/model:0.0']\n['team/model:0.0/config.json']\n"
    assert (scope["config"], scope["first"], scope["last"]) == ({}, bytes(range(8)), bytes(range(92, 100)))
    assert (tmp_path / "copy/weights.bin").read_bytes() == bytes(range(100))
