"""The database of known hashes: what it finds, what it doesn't trust, and where it isn't used."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aioassets.runtime import known_hashes as module
from aioassets.runtime.known_hashes import MARGIN, FileState, KnownHashes

NOW = 10**18
STATE = FileState("/srv/data/w.bin", 7, 11, 1000, NOW - 10**12, NOW - 10**11)
DAY = 86_400


def digest_of(state: FileState) -> bytes:
    return hashlib.sha256(state.path.encode()).digest()


def files(count: int, folder: str = "/srv") -> list[FileState]:
    return [STATE._replace(path=f"{folder}/{number}", inode=number) for number in range(count)]


def remember(known: KnownHashes, states: Sequence[FileState], now: int = NOW) -> None:
    known.remember("sha256", [(state, digest_of(state)) for state in states], now)


def find(known: KnownHashes, states: Sequence[FileState]) -> list[bytes | None]:
    return known.find("sha256", states)


def knows(known: KnownHashes, *states: FileState) -> bool:
    return find(known, states) == [digest_of(state) for state in states]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / ".aioassets" / "hashes.sqlite3"


@pytest.fixture
def known(file: Path) -> KnownHashes:
    return KnownHashes(file)


@contextlib.contextmanager
def connected(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


def test_what_is_remembered_is_found(known: KnownHashes) -> None:
    states = files(3 * 500 + 1)
    remember(known, states)

    assert knows(known, *states)
    assert find(known, [*files(2, "/other"), states[-1]]) == [None, None, digest_of(states[-1])]


def test_looking_up_creates_nothing(known: KnownHashes, file: Path) -> None:
    assert find(known, [STATE]) == [None]
    assert not file.parent.exists()


def test_remembering_nothing_creates_nothing(known: KnownHashes, file: Path) -> None:
    remember(known, [])

    assert not file.parent.exists()


@pytest.mark.parametrize("changed", ["path", "device", "inode", "size", "mtime_ns", "ctime_ns"])
def test_another_state_of_a_file_is_not_known(known: KnownHashes, changed: str) -> None:
    remember(known, [STATE])
    value = "/srv/data/other" if changed == "path" else getattr(STATE, changed) + 1

    assert find(known, [STATE._replace(**{changed: value})]) == [None]  # type: ignore[arg-type]


def test_other_kinds_of_digests_are_kept_apart(known: KnownHashes) -> None:
    known.remember("sha256", [(STATE, b"one")], NOW)
    known.remember("chunks", [(STATE, b"any number of bytes" * 100)], NOW)

    assert known.find("sha256", [STATE]) == [b"one"]
    assert known.find("chunks", [STATE]) == [b"any number of bytes" * 100]
    assert known.find("other", [STATE]) == [None]


def test_the_latest_state_replaces_the_one_before(known: KnownHashes, file: Path) -> None:
    changed = STATE._replace(size=1)
    remember(known, [STATE])
    remember(known, [changed])

    assert find(known, [STATE, changed]) == [None, digest_of(changed)]


@pytest.mark.parametrize("name", ["mtime_ns", "ctime_ns"])
@pytest.mark.parametrize("age", [MARGIN, 0, -(10**15)], ids=["margin", "now", "future"])
def test_a_file_that_changed_just_before_it_was_hashed_is_not_remembered(
    known: KnownHashes, name: str, age: int
) -> None:
    """Another change could leave all times as they are."""
    recent = STATE._replace(**{name: NOW - age})  # type: ignore[arg-type]
    remember(known, [recent, STATE._replace(path="/old")])

    assert find(known, [recent]) == [None]
    assert knows(known, STATE._replace(path="/old"))


def test_a_file_that_changed_before_the_margin_is_remembered(known: KnownHashes) -> None:
    state = STATE._replace(mtime_ns=NOW - MARGIN - 1, ctime_ns=NOW - MARGIN - 1)
    remember(known, [state])

    assert knows(known, state)


def test_odd_numbers_and_names_are_kept_apart(known: KnownHashes) -> None:
    """Some file systems report huge or negative numbers, and names needn't be UTF-8."""
    states = [
        STATE._replace(path="/a\udcff", device=2**64 - 1, inode=2**64 - 1),
        STATE._replace(path="/b", mtime_ns=-1),
    ]
    known.remember("sha256", [(state, b"%d" % number) for number, state in enumerate(states)], NOW)

    assert known.find("sha256", states) == [b"0", b"1"]


# Sharing


WRITER = """
import sys
from pathlib import Path
from aioassets.runtime.known_hashes import FileState, KnownHashes
known = KnownHashes(Path(sys.argv[1]))
for number in range(20):
    state = FileState(f"/{sys.argv[2]}/{number}", 1, 2, 3, 4, 5)
    known.remember("sha256", [(state, sys.argv[2].encode())], 10**18)
    assert known.find("sha256", [state]) == [sys.argv[2].encode()], number
"""


@pytest.mark.once
def test_processes_share_the_database(known: KnownHashes, file: Path) -> None:
    """Each creates it at the same time, writes and finds what it wrote."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(number)]) for number in range(4)]

    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    for writer in range(4):
        states = [FileState(f"/{writer}/{number}", 1, 2, 3, 4, 5) for number in range(20)]
        assert known.find("sha256", states) == [b"%d" % writer] * 20


@pytest.mark.parametrize("suffixes", [("",), ("", "-wal", "-shm"), ("-wal", "-shm")])
def test_the_database_may_be_deleted_at_any_time(known: KnownHashes, file: Path, suffixes: tuple[str, ...]) -> None:
    remember(known, [STATE])
    with connected(file) as other:  # so that the other files exist
        other.execute("SELECT * FROM hashes").fetchall()
        for suffix in suffixes:
            os.unlink(f"{file}{suffix}")

    find(known, [STATE])
    remember(known, [STATE])
    assert knows(known, STATE)


# Trouble


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"", b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_database_is_replaced(known: KnownHashes, file: Path, content: bytes) -> None:
    remember(known, [STATE])
    file.write_bytes(content)

    assert find(known, [STATE]) == [None]
    remember(known, [STATE])
    remember(known, [STATE])
    assert knows(known, STATE)


@pytest.mark.parametrize("column", ["digest", "seal"])
@pytest.mark.parametrize("value", [bytes(32), "text", 7, None], ids=repr)
def test_a_damaged_row_is_not_trusted(known: KnownHashes, file: Path, column: str, value: object) -> None:
    remember(known, [STATE])
    with connected(file) as connection:
        connection.execute(f"UPDATE hashes SET {column} = ?", (value,))

    assert find(known, [STATE]) == [None]


@pytest.mark.parametrize("version", [0, 99])
def test_a_database_of_another_schema_is_discarded(known: KnownHashes, file: Path, version: int) -> None:
    remember(known, [STATE])
    with connected(file) as connection:
        connection.execute("ALTER TABLE hashes RENAME COLUMN seal TO other")
        connection.execute(f"PRAGMA user_version = {version}")

    assert find(known, [STATE]) == [None]
    remember(known, [STATE])
    assert knows(known, STATE)


def test_a_database_that_another_process_locks_is_not_used(
    known: KnownHashes, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(known, [STATE])
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0)
    with connected(file) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        assert find(known, [STATE]) == [None]
        remember(known, files(1))

    assert knows(known, STATE)
    assert find(known, files(1)) == [None]


@pytest.mark.usefixtures("unprivileged")
def test_a_folder_without_write_permission_is_not_used(readable: Path) -> None:
    known = KnownHashes(readable / ".aioassets" / "hashes.sqlite3")

    remember(known, [STATE])

    assert find(known, [STATE]) == [None]


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("locking protocol"), sqlite3.OperationalError("disk I/O error"), OSError(5, "EIO")],
)
def test_a_file_system_without_locks_is_noted_once(
    known: KnownHashes, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    remember(known, [STATE])

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(sqlite3, "connect", fail)
    with caplog.at_level(logging.DEBUG, "aioassets"):
        for _ in range(3):
            remember(known, [STATE])
            assert find(known, [STATE]) == [None]

    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == f"Cannot use the known hashes in {str(file)!r}: {error}"


def test_a_python_without_sqlite_knows_no_hashes(known: KnownHashes, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(known, [STATE])
    monkeypatch.setitem(sys.modules, "sqlite3", None)

    assert find(known, [STATE]) == [None]
    remember(known, [STATE])


def test_other_errors_are_not_hidden(known: KnownHashes) -> None:
    remember(known, [STATE])

    with pytest.raises(TypeError):
        known.remember("sha256", [(STATE, "text")], NOW)  # type: ignore[list-item]


# Size


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the date by a number of days."""
    days = [20_000]
    monkeypatch.setattr("aioassets.runtime.known_hashes.time.time", lambda: days[0] * DAY)
    return days


def test_the_least_recently_used_digests_are_removed(
    known: KnownHashes, file: Path, monkeypatch: pytest.MonkeyPatch, day: list[int]
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 200_000)
    used = files(10, "/used")
    remember(known, used)
    for number in range(20):
        day[0] += 1
        assert knows(known, *used)
        remember(known, files(500, f"/{number}"))

    assert knows(known, *files(500, "/19"))
    assert find(known, files(500, "/0")) == [None] * 500
    assert file.stat().st_size < 400_000
