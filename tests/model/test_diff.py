"""Differences of two lists of files."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets import FileChange, FileEntry, VersionDiff
from aioassets.model.diff import DiffSide, diff
from aioassets.model.files import FileTable


def entry(path: str, content: str, *, executable: bool = False) -> FileEntry:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return FileEntry(path, len(content), {"sha256": digest}, executable)


def compared(a: list[FileEntry], b: list[FileEntry], *folders: tuple[str, ...]) -> VersionDiff:
    before, after = folders or ((), ())
    return diff(DiffSide("a", FileTable(a), before), DiffSide("b", FileTable(b), after))


def paths(changes: tuple[FileChange, ...]) -> list[tuple[str, str]]:
    return [(change.before.path, change.after.path) for change in changes]


def test_equal_sides_have_no_differences() -> None:
    files = [entry("a", "1"), entry("b", "2", executable=True)]
    found = compared(files, files[::-1], ("x", "y"), ("y", "x"))

    assert found == VersionDiff("a", "b", unchanged=2)
    assert found.is_equal


def test_each_kind_of_difference_is_told() -> None:
    before = [entry("changed", "1"), entry("gone", "22"), entry("mode", "3"), entry("old", "44"), entry("same", "5")]
    after = [
        entry("changed", "11"),
        entry("mode", "3", executable=True),
        entry("new", "666"),
        entry("new name", "44", executable=True),
        entry("same", "5"),
    ]
    found = compared(before, after, ("logs",), ("tmp",))

    assert [file.path for file in found.added] == ["new"]
    assert [file.path for file in found.removed] == ["gone"]
    assert paths(found.changed) == [("changed", "changed")]
    assert paths(found.renamed) == [("old", "new name")]
    assert paths(found.mode_changed) == [("mode", "mode")]
    assert (found.added_directories, found.removed_directories) == (("tmp",), ("logs",))
    assert (found.unchanged, found.unknown, found.is_equal) == (1, (), False)
    assert (found.bytes_added, found.bytes_removed) == (3 + 2, 2 + 1)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([entry("x", "1")], []),
        ([], [entry("x", "1")]),
        ([entry("x", "1")], [entry("x", "2")]),
        ([entry("x", "1")], [entry("y", "1")]),
        ([entry("x", "1")], [entry("x", "1", executable=True)]),
        ([FileEntry("x", 1)], [FileEntry("x", 1)]),
    ],
    ids=["removed", "added", "changed", "renamed", "mode", "unknown"],
)
def test_any_difference_makes_sides_unequal(a: list[FileEntry], b: list[FileEntry]) -> None:
    assert not compared(a, b).is_equal


def test_each_file_is_the_source_of_one_renaming() -> None:
    found = compared(
        [entry("a", "1"), entry("b", "1"), entry("c", "2")], [entry("x", "1"), entry("y", "1"), entry("z", "1")]
    )

    assert paths(found.renamed) == [("a", "x"), ("b", "y")]
    assert [file.path for file in found.added] == ["z"]
    assert [file.path for file in found.removed] == ["c"]


def test_files_are_renamed_only_if_their_digests_are_known() -> None:
    found = compared([FileEntry("a", 1)], [FileEntry("b", 1)])

    assert ([file.path for file in found.removed], [file.path for file in found.added]) == (["a"], ["b"])


MD5 = {"md5": "0" * 32}


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (FileEntry("x", 1), FileEntry("x", 2), "changed"),
        (FileEntry("x", 1), FileEntry("x", 1), "unknown"),
        (FileEntry("x", None), FileEntry("x", 1), "unknown"),
        (FileEntry("x", 1), entry("x", "1"), "unknown"),
        (FileEntry("x", 1, MD5), entry("x", "1"), "unknown"),
        (FileEntry("x", 1, MD5), FileEntry("x", 1, MD5), "unchanged"),
        (FileEntry("x", None, MD5), FileEntry("x", 1, MD5), "unchanged"),
        (FileEntry("x", 1, MD5), FileEntry("x", 1, {"md5": "1" * 32}), "changed"),
        (replace(entry("x", "1"), digests={**MD5, **entry("x", "1").digests}), entry("x", "1"), "unchanged"),
    ],
)
def test_content_is_unknown_without_a_common_digest(before: FileEntry, after: FileEntry, kind: str) -> None:
    found = compared([before], [after])

    assert [name for name in ("changed", "unknown", "unchanged") if getattr(found, name)] == [kind]


def test_totals_are_unknown_if_a_size_is() -> None:
    found = compared([FileEntry("a", None), entry("b", "1")], [entry("b", "22")])

    assert (found.bytes_added, found.bytes_removed) == (2, None)


TREES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(["", "1", "2"]), st.booleans()))


def _side(tree: dict[str, tuple[str, bool]]) -> list[FileEntry]:
    return [entry(path, content, executable=executable) for path, (content, executable) in sorted(tree.items())]


@given(TREES, TREES)
def test_the_differences_turn_one_side_into_the_other(
    a: dict[str, tuple[str, bool]], b: dict[str, tuple[str, bool]]
) -> None:
    found = compared(_side(a), _side(b))
    result = {file.path: file for file in _side(a)}
    for gone in (*found.removed, *(change.before for change in found.renamed)):
        del result[gone.path]
    changes = (*found.changed, *found.renamed, *found.mode_changed)
    for file in (*found.added, *(change.after for change in changes)):
        result[file.path] = file

    assert result == {file.path: file for file in _side(b)}
    assert found.is_equal == (a == b)
    assert found.unchanged == sum(1 for path, value in a.items() if b.get(path) == value)
