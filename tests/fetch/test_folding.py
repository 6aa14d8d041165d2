"""Where a file system takes two paths for one, by case or by Unicode form, neither is mistaken for the other."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tools.factories import ManagerFactory
from tools.inspection import contents

from aioassets import AssetsManager, CacheError, MemoryDriver

FORMATS: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]] = (
    (["mkfs.ext4", "-q", "-O", "casefold"], ["-t", "ext4"], ["chattr", "+F"]),
    (["mkfs.exfat"], ["-t", "exfat"], []),
    (["mkfs.exfat"], ["-t", "exfat-fuse"], []),
)
"""How to format an image, how to mount it, and how to make a folder of it fold."""


def folds(folder: Path) -> bool:
    """Whether names of a folder that differ by case are one name."""
    (folder / "Case").touch()
    folded = (folder / "cASE").exists()
    (folder / "Case").unlink()
    return folded


def works(*command: str | Path) -> bool:
    if shutil.which(str(command[0])) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def mounted(tmp_path: Path) -> Path | None:
    """An empty folder on a file system of our own that folds."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    for make, how, mark in FORMATS:
        image.unlink(missing_ok=True)
        with image.open("wb") as file:
            file.truncate(16 * 1024 * 1024)
        if not (works(*make, image) and works("mount", *how, "-o", "loop", image, mount)):
            continue
        folder = mount / "folder"
        folder.mkdir()
        if (not mark or works(*mark, folder)) and folds(folder):
            return folder
        works("umount", mount)
    return None


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the two calls by which folding is noticed answer as they do where names are folded."""
    create, exists, creating = os.open, os.path.lexists, threading.Lock()

    def is_there(path: str | os.PathLike[str]) -> bool:
        folder, name = os.path.split(os.fspath(path))
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return any(_fold(name) == _fold(other) for other in names)

    def fold_and_create(path: str, flags: int, *args: int, **options: int) -> int:
        with creating:
            if flags & os.O_EXCL and is_there(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            return create(path, flags, *args, **options)

    monkeypatch.setattr("aioassets.fetch.sinks.os.open", fold_and_create)
    monkeypatch.setattr("aioassets.fetch.staging.os.path.lexists", lambda path: exists(path) or is_there(path))


def _fold(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()


@pytest.fixture(params=["real", "pretended"])
def folding(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An assets directory where names that differ by case are one, for real or as far as aioassets notices."""
    cache = tmp_path / "cache"
    if request.param == "pretended":
        pretend(monkeypatch)
        yield cache
    elif folds(tmp_path):
        yield cache
    elif (folder := mounted(tmp_path)) is not None:
        yield folder
        subprocess.run(["umount", tmp_path / "mount"], check=True)
    else:
        pytest.skip("no file system that folds names: needs root, loop devices and exFAT (or ext4 with casefold)")


async def push(memory: MemoryDriver, tmp_path: Path, name: str, *paths: str) -> None:
    """Push a version of files with these paths, each of which holds its own path."""
    tree = tmp_path / f"tree of {name}"
    for path in paths:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(path)
    if set(contents(tree)) != set(paths):
        pytest.skip("the tree to push would need a file system that doesn't fold")
    async with AssetsManager(driver=memory, assets_dir=tmp_path / "unused") as manager:
        await manager.create_asset(tree, name)


@pytest.mark.parametrize(
    ("paths", "both"),
    [
        (["Readme", "readme"], "'Readme' and 'readme'"),
        (["a/É.txt", "a/é.txt"], "'a/É.txt' and 'a/é.txt'"),
        (["Weights/w", "weights"], "'Weights' and 'weights'"),
    ],
)
async def test_two_files_that_are_one_are_refused_by_name(
    memory: MemoryDriver,
    make_manager: ManagerFactory,
    tmp_path: Path,
    folding: Path,
    paths: list[str],
    both: str,
) -> None:
    """Neither overwrites the other; nothing is placed."""
    await push(memory, tmp_path, "model", *paths)
    manager = make_manager(memory, assets_dir=folding)
    with pytest.raises(CacheError, match=rf"its file system takes {both} of model:0\.0 for one path; use an assets"):
        await manager.fetch_asset("model")
    assert not (folding / "model").exists()
    assert list((folding / ".aioassets" / "model").glob("*")) == []


async def test_two_forms_of_one_name_are_kept_or_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, folding: Path
) -> None:
    """As the file system has it: not all that fold case fold these."""
    await push(memory, tmp_path, "model", "\u00e9", "e\u0301")
    manager = make_manager(memory, assets_dir=folding)
    paths = ["\u00e9", "e\u0301"]
    refusal = None
    try:
        fetched = await manager.fetch_asset("model")
    except CacheError as error:
        refusal = str(error)
    if refusal is None:
        assert {path: (fetched.path / path).read_text() for path in paths} == {path: path for path in paths}
    else:
        assert "for one path" in refusal
        assert not (folding / "model").exists()


async def test_one_of_two_is_not_fetched_as_a_part(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, folding: Path
) -> None:
    """It would later be taken for the other one, which has as many bytes; the rest can be had."""
    await push(memory, tmp_path, "model", "a/Readme", "a/readme", "b/other")
    manager = make_manager(memory, assets_dir=folding)
    for part in ("a/Readme", "a/readme", "a"):
        with pytest.raises(CacheError, match="takes 'a/Readme' and 'a/readme' of model:0"):
            await manager.fetch_asset(f"model[{part}]")
    assert (await manager.fetch_asset("model[b]")).path.joinpath("other").read_text() == "b/other"


async def test_what_differs_by_more_is_kept(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, folding: Path
) -> None:
    paths = ["a/x", "A.txt", "b", "ß", "b.txt", "a/b"]
    await push(memory, tmp_path, "model", *paths)
    manager = make_manager(memory, assets_dir=folding)
    await manager.fetch_asset("model[a/x]")
    fetched = await manager.fetch_asset("model")
    assert {path: (fetched.path / path).read_text() for path in paths} == {path: path for path in paths}


async def test_two_assets_whose_names_are_one_are_told_apart(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """What is cached of the one isn't served as the other."""
    cache = tmp_path / "cache"
    await push(memory, tmp_path, "model", "a")
    await push(memory, tmp_path, "Model", "b")
    manager = make_manager(memory, assets_dir=cache)
    for spec, other in (("model", "Model"), ("model[a]", "Model[b]")):
        await manager.fetch_asset(spec)
        for folder in (cache, cache / ".aioassets"):  # what a file system does that takes the two for one
            (folder / "Model").symlink_to(folder / "model")
        with pytest.raises(CacheError, match=r"takes model:0\.0 and Model:0\.0 for one; use an assets directory"):
            await manager.fetch_asset(other)
        shutil.rmtree(cache)


async def test_files_that_differ_by_case_are_kept_where_that_tells_them_apart(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """Whole and in parts, one after the other."""
    paths = ["Readme", "readme", "\u00e9", "e\u0301"]
    await push(memory, tmp_path, "model", *paths)
    manager = make_manager(memory)
    for path in paths:
        assert (await manager.fetch_asset(f"model[{path}]")).path.read_text() == path
    assert contents((await manager.fetch_asset("model")).path) == {path: (path.encode(), False) for path in paths}
