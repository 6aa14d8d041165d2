"""The content digest: what it depends on, and what it doesn't depend on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from tools.factories import ManagerFactory

from aioassets import FileEntry, MemoryDriver
from aioassets.model.content import content_digest

SHA256_OF_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
FILES = [
    FileEntry("a/run.sh", 1, {"sha256": SHA256_OF_A}, executable=True),
    FileEntry("empty", 0, {"sha256": SHA256_OF_NOTHING}),
    FileEntry("ünïcödé", 1, {"sha256": SHA256_OF_A, "md5": "0cc175b9c0f1b6a831c399e269772661"}),
]
FOLDERS = ("logs", "tmp/inner")
LISTING = (
    "aioassets content 1\n"
    f"file\0a/run.sh\x001\0{SHA256_OF_A}\0x\n"
    f"file\0empty\x000\0{SHA256_OF_NOTHING}\0-\n"
    f"file\0ünïcödé\x001\0{SHA256_OF_A}\0-\n"
    "directory\0logs\n"
    "directory\0tmp/inner\n"
)


def test_it_is_the_digest_of_the_listing_in_the_format_page() -> None:
    digest = content_digest(FILES, FOLDERS)

    assert digest == hashlib.sha256(LISTING.encode()).hexdigest()
    assert digest == "f5987668afe4ca417e241a6a11711a4a733aa0f6d586413060d82fbb005d330a"


def test_nothing_has_a_digest() -> None:
    assert content_digest([], ()) == hashlib.sha256(b"aioassets content 1\n").hexdigest()


def test_it_does_not_depend_on_the_order() -> None:
    assert content_digest(FILES[::-1], FOLDERS[::-1]) == content_digest(FILES, FOLDERS)


def test_paths_are_sorted_by_their_bytes() -> None:
    """In UTF-16, and so in other languages, the second path would come first."""
    files = [FileEntry(path, 1, {"sha256": SHA256_OF_A}) for path in ("\uff5e", "\U0001f600")]
    listing = b"aioassets content 1\n" + b"".join(
        f"file\0{file.path}\x001\0{SHA256_OF_A}\0-\n".encode() for file in sorted(files, key=lambda f: f.path.encode())
    )

    assert content_digest(files, ()) == hashlib.sha256(listing).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"path": "a/run"},
        {"size": 2},
        {"digests": {"sha256": SHA256_OF_NOTHING}},
        {"executable": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_it_depends_on_each_field_of_a_file(change: dict[str, object]) -> None:
    changed = [replace(FILES[0], **change), *FILES[1:]]  # type: ignore[arg-type]

    assert content_digest(changed, FOLDERS) != content_digest(FILES, FOLDERS)


@pytest.mark.parametrize("folders", [(), ("logs",), ("logs", "tmp"), ("logs", "tmp/inner", "x")])
def test_it_depends_on_empty_directories(folders: tuple[str, ...]) -> None:
    assert content_digest(FILES, folders) != content_digest(FILES, FOLDERS)


def test_other_digests_do_not_matter() -> None:
    files = [replace(file, digests={"sha256": file.digests["sha256"]}) for file in FILES]

    assert content_digest(files, FOLDERS) == content_digest(FILES, FOLDERS)


@pytest.mark.parametrize(("size", "digests"), [(None, {"sha256": SHA256_OF_A}), (1, {}), (1, {"md5": "0" * 32})])
def test_there_is_none_without_all_sizes_and_sha256_digests(size: int | None, digests: dict[str, str]) -> None:
    assert content_digest([*FILES, FileEntry("x", size, digests)], FOLDERS) is None


async def test_equal_trees_have_equal_digests_under_any_name(
    memory: MemoryDriver, make_manager: ManagerFactory, tree: Path
) -> None:
    manager = make_manager(memory)
    for name in ("model", "team/other"):
        await manager.create_asset(tree, name)
    await manager.update_asset(tree, "model", message="again", labels={"stage": "test"})
    specs = ("model:0.0", "model:0.1", "team/other")
    first, *others = [(await manager.describe_asset(spec)).content_digest for spec in specs]

    assert first is not None
    assert others == [first, first]
    (tree / "run.sh").chmod(0o644)
    await manager.update_asset(tree, "model")
    assert (await manager.describe_asset("model")).content_digest != first
