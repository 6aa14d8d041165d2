"""Scans find all files, follow links, and refuse files that can't be pushed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.rules import limit_entries

from aioassets import SourceChanged, SourceError
from aioassets.push.scan import scan
from aioassets.push.sources import MAPPED, LocalFile, LocalSource


async def scanned(path: Path) -> LocalFile:
    (file,) = (await scan(path)).files
    assert isinstance(file, LocalFile)
    return file


def names(paths: object) -> list[str]:
    return [file.path for file in paths]  # type: ignore[attr-defined]


async def test_hidden_files_and_empty_folders_are_found(tmp_path: Path) -> None:
    (tmp_path / "a" / ".b").mkdir(parents=True)
    (tmp_path / "a" / ".c").write_text("c")
    (tmp_path / "z").write_text("z")
    tree = await scan(tmp_path)
    assert (names(tree.files), tree.empty_directories, tree.size) == (["a/.c", "z"], ("a/.b",), 2)


NAMES = st.text("a-.0 é\U0001f600", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))


@settings(max_examples=200)
@given(st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12))
def test_paths_are_found_in_order(paths: set[str]) -> None:
    """`a-b` comes before `a/c`, without sorting all paths in the end."""
    files = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    with tempfile.TemporaryDirectory() as root:
        for path in files:
            (Path(root) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(root) / path).write_text(path)
        tree = asyncio.run(scan(root))
        assert names(tree.files) == sorted(files)
        assert tree.size == sum(len(path.encode()) for path in files)


async def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "x").write_text("content")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "x").symlink_to(tmp_path / "blobs" / "x")
    (snapshot / "one").symlink_to(tmp_path / "blobs")
    (snapshot / "two").symlink_to(tmp_path / "blobs")
    (tmp_path / "root").symlink_to(snapshot)
    tree = await scan(tmp_path / "root")
    assert names(tree.files) == ["one/x", "two/x", "x"]


async def test_a_link_into_a_loop_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    with pytest.raises(SourceError, match=r"a/loop.*loop"):
        await scan(tmp_path)


async def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(tmp_path / "self")
    with pytest.raises(SourceError, match=r"self.*loop"):
        await scan(tmp_path)


async def test_a_broken_link_is_named_unless_it_is_excluded(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"broken.*broken link"):
        await scan(tmp_path)
    assert len((await scan(tmp_path, exclude=["broken"])).files) == 0


async def test_a_special_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"pipe.*neither"):
        await scan(tmp_path)
    with pytest.raises(SourceError, match="neither"):
        await scan(tmp_path / "pipe")


async def test_the_store_itself_can_not_be_pushed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "x").write_text("x")
    with pytest.raises(SourceError, match=r"store.*is the store"):
        await scan(tmp_path, store=str(tmp_path / "store"))
    assert names((await scan(tmp_path, store=str(tmp_path / "store"), exclude=["store/"])).files) == ["x"]


@pytest.mark.parametrize("name", ["C:", "c:x", "C:/x"])
async def test_a_path_like_a_windows_drive_is_refused(tmp_path: Path, name: str) -> None:
    """Only at the beginning of a path, where it would lead out of any folder."""
    (tmp_path / "inner" / name).parent.mkdir(parents=True)
    (tmp_path / "inner" / name).write_text("x")
    assert names((await scan(tmp_path)).files) == [f"inner/{name}"]
    with pytest.raises(SourceError, match=f"Cannot push '.*inner/{name}': it begins with a Windows drive letter; "):
        await scan(tmp_path / "inner")
    assert names((await scan(tmp_path / "inner", exclude=[name])).files) == []


async def test_files_that_could_not_be_fetched_again_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").mkdir()
    limit_entries(monkeypatch, 2)
    assert (await scan(tmp_path)).empty_directories == ("b",)
    limit_entries(monkeypatch, 1)
    with pytest.raises(SourceError, match=f"Cannot push '{tmp_path}': it has more than 1 files or folders; split it"):
        await scan(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("aioassets.push.scan.MAX_DOCUMENT", 500)
    with pytest.raises(SourceError, match="its paths are too long in total for one manifest"):
        await scan(tmp_path)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], ["a.bin", "b/c.bin", "b/d.txt", "b/deep/e.bin"]),
        (["*.bin"], [], ["a.bin", "b/c.bin", "b/deep/e.bin"]),
        (["/*.bin"], [], ["a.bin"]),
        ([], ["b/"], ["a.bin"]),
        (["b/**"], ["deep/"], ["b/c.bin", "b/d.txt"]),
        ([], ["*", "!a.bin"], ["a.bin"]),
    ],
)
async def test_patterns_are_those_of_gitignore(
    tmp_path: Path, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    for path in ("a.bin", "b/c.bin", "b/d.txt", "b/deep/e.bin"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    assert names((await scan(tmp_path, include=include, exclude=exclude)).files) == expected


async def test_a_fingerprint_changes_with_the_tree(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    before = (await scan(tmp_path)).fingerprint
    assert (await scan(tmp_path)).fingerprint == before
    (tmp_path / "a").chmod(0o755)
    changed = (await scan(tmp_path)).fingerprint
    (tmp_path / "b").mkdir()
    assert len({before, changed, (await scan(tmp_path)).fingerprint}) == 3


@pytest.mark.parametrize("size", [0, 1, MAPPED, 3 * MAPPED + 1])
async def test_a_source_hashes_what_passes_once(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    source = LocalSource(await scanned(tmp_path / "a"))
    got = b"".join([bytes(await source.read(start, min(MAPPED, size - start))) for start in range(0, size, MAPPED)])
    assert got == data
    if size:
        assert bytes(await source.read(0, 1)) == data[:1]  # again, as a retry does
    assert source.digests == {"sha256": hashlib.sha256(data).hexdigest()}


async def test_what_was_not_read_is_hashed_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    source = LocalSource(await scanned(tmp_path / "a"))
    await source.read(0, 4)
    assert source.digests == {}
    assert await source.finish() == {"sha256": hashlib.sha256(b"0123456789").hexdigest()}


@pytest.mark.parametrize("change", ["rewrite", "shrink", "replace", "remove"])
async def test_a_change_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(1, 1))
    source = LocalSource(await scanned(path))
    await source.read(0, 5)
    if change == "rewrite":
        path.write_bytes(b"9876543210")
    elif change == "shrink":
        os.truncate(path, 7)
    elif change == "replace":
        (tmp_path / "b").write_bytes(b"0123456789")
        (tmp_path / "b").replace(path)
    else:
        path.unlink()
    with pytest.raises(SourceChanged):
        await source.finish()
