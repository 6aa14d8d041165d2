"""Dividing files into chunks while they are read."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioassets.model.chunks import CHUNKING, ChunkList
from aioassets.model.deltas import ChunkIndex
from aioassets.runtime.chunking import Chunker, ContentHash, can_chunk, dividing_from
from aioassets.runtime.digests import hash_range
from aioassets.runtime.disk import BUFFER

blake3: Any = pytest.importorskip("blake3")
pyfastcdc: Any = pytest.importorskip("pyfastcdc")

MIB = 1024 * 1024
DATA = random.Random(17).randbytes(10 * MIB + 12345)


def chunks_of(data: bytes, *, piece: int = MIB) -> ChunkList:
    chunker = Chunker()
    view = memoryview(data)
    for start in range(0, len(data), piece):
        chunker.update(view[start : start + piece])
    return chunker.finish()


@pytest.mark.parametrize("piece", [1000, 4097, 64 * 1024, 64 * 1024 + 1, MIB - 1, MIB, 3 * MIB + 1, len(DATA)])
@pytest.mark.parametrize("data", [DATA, bytes(9 * MIB)], ids=["random", "zeros"])
def test_pieces_of_any_size_give_the_chunks_of_the_whole_file(data: bytes, piece: int) -> None:
    whole = pyfastcdc.FastCDC(256 * 1024, min_size=64 * 1024, max_size=MIB, normalized_chunking=2).cut_buf(data)

    found = chunks_of(data, piece=piece)

    assert [(c.offset, c.length, c.digest) for c in found] == [
        (c.offset, c.length, blake3.blake3(c.data).digest()) for c in whole
    ]


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, CHUNKING.max_size, 4 * MIB])
def test_files_of_any_size_are_divided_completely(size: int) -> None:
    assert chunks_of(DATA[:size]).size == size


def test_boundaries_never_change() -> None:
    """Another release of the chunker with other boundaries would make all files look changed."""
    lengths = [chunk.length for chunk in chunks_of(DATA)]

    assert (len(lengths), lengths[0]) == (38, 295717)
    assert hashlib.sha256(repr(lengths).encode()).hexdigest()[:16] == "90d4c988404f8549"


def test_only_chunks_around_an_insertion_change() -> None:
    new = chunks_of(DATA[:1000] + b"inserted" + DATA[1000:])

    assert ChunkIndex({"old": chunks_of(DATA)}).delta(new, "old").sent <= 2 * CHUNKING.max_size


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(DATA)
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_a_file_is_hashed_and_divided_in_one_pass(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    preadv = os.preadv

    def recorded(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        read.append(preadv(descriptor, buffers, offset))
        return read[-1]

    monkeypatch.setattr(os, "preadv", recorded)
    with dividing_from(MIB):
        content = ContentHash(len(DATA))
    hash_range(content, file, 0, len(DATA))

    assert content.chunks == chunks_of(DATA)
    assert content.hexdigest() == hashlib.sha256(DATA).hexdigest()
    assert sum(read) == len(DATA)


def test_the_digest_of_a_part_is_that_of_the_bytes_so_far(file: int) -> None:
    content = ContentHash(len(DATA))
    hash_range(content, file, 0, 3 * MIB + 1)

    assert content.hexdigest() == hashlib.sha256(DATA[: 3 * MIB + 1]).hexdigest()
    assert content.chunks is None


def test_a_small_file_is_not_divided(file: int) -> None:
    with dividing_from(len(DATA) + 1):
        content = ContentHash(len(DATA))
    hash_range(content, file, 0, len(DATA))

    assert content.chunks is None


def test_memory_is_bounded(file: int) -> None:
    """Many files are divided at the same time, so little may be kept between two updates."""
    os.ftruncate(file, 80 * MIB)
    can_chunk()
    content = ContentHash(80 * MIB)
    tracemalloc.start()
    try:
        hash_range(content, file, 0, 80 * MIB - 1)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < CHUNKING.max_size + MIB // 4
    assert peak < BUFFER + 4 * CHUNKING.max_size


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Forget which packages were found, before and after a test."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pyfastcdc", "blake3")]:
        monkeypatch.delitem(sys.modules, name)
    can_chunk.cache_clear()
    yield monkeypatch
    can_chunk.cache_clear()


def test_files_can_be_divided_with_the_compiled_packages(fresh: pytest.MonkeyPatch) -> None:
    assert can_chunk()


@pytest.mark.parametrize("missing", ["blake3", "pyfastcdc", "pyfastcdc.cy"])
def test_files_are_not_divided_without_a_package_or_its_compiled_module(
    fresh: pytest.MonkeyPatch, missing: str
) -> None:
    fresh.setitem(sys.modules, missing, None)

    assert not can_chunk()
