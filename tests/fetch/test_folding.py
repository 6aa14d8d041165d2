"""File systems that fold case or Unicode forms, so that two paths are one."""

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
from tools.inspection import contents, store_folder

from aioassets import AssetsManager, CacheError, MemoryDriver

FORMATS: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]] = (
    (["mkfs.ext4", "-q", "-O", "casefold"], ["-t", "ext4"], ["chattr", "+F"]),
    (["mkfs.exfat"], ["-t", "exfat"], []),
    (["mkfs.exfat"], ["-t", "exfat-fuse"], []),
)
"""Commands that format an image, options that mount it, and the command that makes a folder fold."""


def folds(folder: Path) -> bool:
    """Return whether a folder treats names that differ by case as one."""
    (folder / "Case").touch()
    folded = (folder / "cASE").exists()
    (folder / "Case").unlink()
    return folded


def works(*command: str | Path) -> bool:
    if shutil.which(str(command[0])) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def mount_folding(tmp_path: Path) -> Path | None:
    """Mount a file system that folds, and return an empty folder on it, or `None`."""
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
    """Make the two calls that detect folding behave as on a file system that folds."""
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
    """Return an assets directory that folds case: a real one, or one that looks so to aioassets."""
    cache = tmp_path / "cache"
    if request.param == "pretended":
        pretend(monkeypatch)
        yield cache
    elif folds(tmp_path):
        yield cache
    elif (folder := mount_folding(tmp_path)) is not None:
        yield folder
        subprocess.run(["umount", tmp_path / "mount"], check=True)
    else:
        pytest.skip(
            "no file system that folds; mounting one needs root, loop devices and exFAT (or ext4 with casefold)"
        )


async def push(memory: MemoryDriver, tmp_path: Path, name: str, *paths: str) -> None:
    """Push a version with a file at each path, whose content is the path."""
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
    """Neither overwrites the other, and nothing is placed."""
    await push(memory, tmp_path, "model", *paths)
    manager = make_manager(memory, assets_dir=folding)
    with pytest.raises(CacheError, match=rf"its file system treats {both} in model:0\.0 as one path; use an assets"):
        await manager.fetch_asset("model")
    assert not any(folding.glob("*/model"))
    assert list(folding.glob("*/.aioassets/model/*")) == []


async def test_two_unicode_forms_of_a_name_are_kept_or_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, folding: Path
) -> None:
    """Not all file systems that fold case also fold Unicode forms."""
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
        assert "as one path" in refusal
        assert not any(folding.glob("*/model"))


async def test_one_of_two_folded_files_is_not_fetched_as_a_part(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, folding: Path
) -> None:
    """It would later be served for the other one. Other parts of the version can be fetched."""
    await push(memory, tmp_path, "model", "a/Readme", "a/readme", "b/other")
    manager = make_manager(memory, assets_dir=folding)
    for part in ("a/Readme", "a/readme", "a"):
        with pytest.raises(CacheError, match="treats 'a/Readme' and 'a/readme' in model:0"):
            await manager.fetch_asset(f"model[{part}]")
    assert (await manager.fetch_asset("model[b]")).path.joinpath("other").read_text() == "b/other"


async def test_paths_that_differ_by_more_than_case_are_kept(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path, folding: Path
) -> None:
    paths = ["a/x", "A.txt", "b", "ß", "b.txt", "a/b"]
    await push(memory, tmp_path, "model", *paths)
    manager = make_manager(memory, assets_dir=folding)
    await manager.fetch_asset("model[a/x]")
    fetched = await manager.fetch_asset("model")
    assert {path: (fetched.path / path).read_text() for path in paths} == {path: path for path in paths}


async def test_two_assets_whose_names_fold_to_one_are_refused(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    """Files of one asset must not be served as those of the other."""
    cache = tmp_path / "cache"
    await push(memory, tmp_path, "model", "a")
    await push(memory, tmp_path, "Model", "b")
    manager = make_manager(memory, assets_dir=cache)
    for spec, other in (("model", "Model"), ("model[a]", "Model[b]")):
        await manager.fetch_asset(spec)
        root = store_folder(cache)
        for folder in (root, root / ".aioassets"):  # as on a file system that folds
            (folder / "Model").symlink_to(folder / "model")
        with pytest.raises(CacheError, match=r"treats model:0\.0 and Model:0\.0 as one path; use an assets directory"):
            await manager.fetch_asset(other)
        shutil.rmtree(cache)


async def test_files_that_differ_by_case_are_kept_without_folding(
    memory: MemoryDriver, make_manager: ManagerFactory, tmp_path: Path
) -> None:
    paths = ["Readme", "readme", "\u00e9", "e\u0301"]
    await push(memory, tmp_path, "model", *paths)
    manager = make_manager(memory)
    for path in paths:
        assert (await manager.fetch_asset(f"model[{path}]")).path.read_text() == path
    assert contents((await manager.fetch_asset("model")).path) == {path: (path.encode(), False) for path in paths}
