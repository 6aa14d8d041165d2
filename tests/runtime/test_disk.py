"""Copying and hashing of local files."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tools.filesystems import SmallDisk

from aioassets.runtime.digests import hash_range
from aioassets.runtime.disk import BLOCK, BUFFER, copy_range, write_at

DATA = os.urandom(3 * BUFFER + 1)
START, STOP = 100, 3 * BUFFER


@pytest.fixture
def opened() -> Iterator[Callable[[Path], int]]:
    """Open a file for reading and writing, and close it after the test."""
    with ExitStack() as stack:

        def open_file(path: Path) -> int:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            stack.callback(os.close, descriptor)
            return descriptor

        yield open_file


@pytest.fixture
def source(tmp_path: Path, opened: Callable[[Path], int]) -> int:
    """A file with content."""
    (tmp_path / "source").write_bytes(DATA)
    return opened(tmp_path / "source")


def refused(*args: object) -> int:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def unfinished(source: int, target: int, count: int, start: int, at: int) -> int:
    """Copy a part, and then report the end of the file."""
    return os.pwrite(target, os.pread(source, 1000, start), at) if start == START else 0


@pytest.mark.parametrize("by_system", [None, refused, unfinished], ids=["yes", "refused", "unfinished"])
def test_a_range_is_copied_to_the_same_offset(
    tmp_path: Path,
    source: int,
    opened: Callable[[Path], int],
    monkeypatch: pytest.MonkeyPatch,
    by_system: Callable[..., int] | None,
) -> None:
    """If the kernel copies only a part, the rest is read and written."""
    if by_system is not None:
        monkeypatch.setattr(os, "copy_file_range", by_system, raising=False)
    (tmp_path / "target").write_bytes(bytes(len(DATA)))
    assert copy_range(source, opened(tmp_path / "target"), START, STOP)
    expected = bytes(START) + DATA[START:STOP] + bytes(len(DATA) - STOP)
    assert (tmp_path / "target").read_bytes() == expected


@pytest.mark.parametrize("by_system", [None, refused, unfinished], ids=["yes", "refused", "unfinished"])
def test_a_range_is_copied_to_another_offset(
    tmp_path: Path,
    source: int,
    opened: Callable[[Path], int],
    monkeypatch: pytest.MonkeyPatch,
    by_system: Callable[..., int] | None,
) -> None:
    if by_system is not None:
        monkeypatch.setattr(os, "copy_file_range", by_system, raising=False)
    for to in (0, START + 5, START + BLOCK):
        target = opened(tmp_path / f"target{to}")
        assert copy_range(source, target, START, STOP, to=to)
        assert (tmp_path / f"target{to}").read_bytes() == bytes(to) + DATA[START:STOP]


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="this system has no copy_file_range")
def test_whole_blocks_are_copied_from_their_beginning(
    tmp_path: Path, source: int, opened: Callable[[Path], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system can share blocks only if the range begins with one."""
    calls: list[tuple[int, int]] = []

    def record(source: int, target: int, count: int, start: int, at: int) -> int:
        calls.append((start, at))
        return os.pwrite(target, os.pread(source, count, start), at)

    monkeypatch.setattr(os, "copy_file_range", record)
    assert copy_range(source, opened(tmp_path / "target"), START, STOP, to=START + BLOCK)
    assert calls == [(START, START + BLOCK), (BLOCK, 2 * BLOCK)]


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="this system has no copy_file_range")
def test_the_kernel_copies_without_reading_the_bytes_here(
    tmp_path: Path, source: int, opened: Callable[[Path], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", refused)
    assert copy_range(source, opened(tmp_path / "target"), 0, len(DATA))
    assert (tmp_path / "target").read_bytes() == DATA


def test_a_range_is_copied_to_another_file_system(
    small_disk: SmallDisk, source: int, opened: Callable[[Path], int]
) -> None:
    """Whether or not the kernel can copy between them."""
    assert copy_range(source, opened(small_disk.path / "target"), 0, len(DATA))
    assert (small_disk.path / "target").read_bytes() == DATA


def test_copying_to_a_full_disk_returns_false(
    small_disk: SmallDisk, source: int, opened: Callable[[Path], int]
) -> None:
    target = opened(small_disk.path / "target")
    small_disk.fill()
    assert not copy_range(source, target, 0, len(DATA))
    with pytest.raises(OSError, match="No space left on device"):
        write_at(target, DATA, 0)


def test_copying_beyond_the_end_of_the_source_returns_false(
    tmp_path: Path, source: int, opened: Callable[[Path], int]
) -> None:
    assert not copy_range(source, opened(tmp_path / "target"), 0, len(DATA) + 1)


def test_a_range_is_hashed(source: int) -> None:
    digest = hashlib.sha256()
    hash_range(digest, source, START, STOP)
    assert digest.digest() == hashlib.sha256(DATA[START:STOP]).digest()
    with pytest.raises(OSError, match=f"shrank to {len(DATA)} bytes"):
        hash_range(digest, source, 0, len(DATA) + 1)
