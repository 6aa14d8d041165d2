"""Pushes of contents in memory, async iterators, file objects, and mappings of paths to them."""

from __future__ import annotations

import array
import contextlib
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiofiles
import anyio
import pytest
from tools.factories import ManagerFactory
from tools.inspection import contents, keys
from tools.interposer import Interposer

from aioassets import (
    AssetsManager,
    Event,
    MemoryDriver,
    PushContended,
    SourceError,
    SourceNotFound,
    StoreUnavailable,
    TransferStarted,
    UsageError,
)
from aioassets.drivers.protocol import Expect
from aioassets.errors import AioAssetsError, ObjectNotFound
from aioassets.push.base import copying_from
from aioassets.push.locate import Sources
from aioassets.push.plan import PushRequest

pytestmark = pytest.mark.once


@pytest.fixture
def manager(memory: MemoryDriver, make_manager: ManagerFactory) -> AssetsManager:
    """Return a manager of a store in memory that has one version of an asset."""
    return make_manager(memory)


async def chunks(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        if piece is Broken:
            raise Broken
        yield piece


class Broken(Exception):
    pass


class Repeatable:
    def __aiter__(self) -> AsyncIterator[bytes]:
        return chunks(b"con", b"tent")


class OnlyRead:
    """File object with nothing but a `read` method."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def read(self, size: int) -> Any:
        answer = self.answers.pop(0) if self.answers else b""
        if isinstance(answer, Exception):
            raise answer
        return answer


class Reused:
    """Async iterator that yields views of one buffer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.buffer = bytearray(1)

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for number in self.data:
            self.buffer[0] = number
            yield memoryview(self.buffer)


async def push(manager: AssetsManager, source: Any, **options: Any) -> Any:
    """Push a source, and return the content of the version."""
    await manager.update_assets({"name": source}, create_missing=True, **options)
    path = (await manager.fetch_asset("name")).path
    return path.read_bytes() if path.is_file() else {key: data for key, (data, _) in contents(path).items()}


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"content",
        lambda: bytearray(b"content"),
        lambda: memoryview(b"-content-")[1:-1],
        lambda: memoryview(b"tnetnoc")[::-1],
        lambda: array.array("B", b"content"),
        lambda: chunks(b"con", b"", bytearray(b"tent")),
        lambda: Reused(b"content"),
        Repeatable,
        lambda: io.BytesIO(b"content"),
        lambda: OnlyRead(b"con", bytearray(b"tent")),
    ],
)
async def test_one_content_is_a_file_asset(manager: AssetsManager, make: Callable[[], object]) -> None:
    assert await push(manager, make()) == b"content"


async def test_a_mapping_is_a_directory_asset(manager: AssetsManager, tree: Path, tmp_path: Path) -> None:
    """A directory among the values is pushed below its path, with all that a push of the directory has."""
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "file").chmod(0o755)
    (tmp_path / "nothing").mkdir()
    async with aiofiles.open(tmp_path / "file", "rb") as async_file:
        with open(tmp_path / "file", "rb") as file:
            file.seek(2)
            found = await push(
                manager,
                {
                    "z": b"",
                    "deep/bytes": b"bytes",
                    "deep/path": tmp_path / "file",
                    "url": (tmp_path / "file").as_uri(),
                    "tree": str(tree),
                    "nothing": tmp_path / "nothing",
                    "iterator": chunks(b"itera", b"tor"),
                    "file object": file,
                    "async file": async_file,
                },
            )
            assert not file.closed
    assert found == {
        "z": b"",
        "deep/bytes": b"bytes",
        "deep/path": b"file",
        "url": b"file",
        "iterator": b"iterator",
        "file object": b"le",
        "async file": b"file",
        "nothing": None,
        **{f"tree/{path}": data for path, (data, _) in contents(tree).items()},
    }
    assert os.access((await manager.fetch_asset("name[deep/path]")).path, os.X_OK)


async def test_patterns_apply_to_the_paths_of_a_mapping(manager: AssetsManager, tree: Path) -> None:
    found = await push(manager, {"a.txt": b"", "b.bin": b"", "t": tree}, include=["*.bin"], exclude=["deeper"])
    assert sorted(found) == ["b.bin", "t/weights/w.bin"]


async def test_results_and_events_of_a_stream_tell_its_size(manager: AssetsManager) -> None:
    """Before the push, it is unknown."""
    events: list[Event] = []
    source: dict[str, Any] = {"stream": chunks(b"12345"), "bytes": b"123"}
    plan = await manager.plan_create(source, "name")
    assert (plan.files, plan.size, plan.uploaded, plan.streams) == (2, 3, 3, 1)
    assert (await manager.create_asset(source, "name", dry_run=True)).streams == 1
    pushed = await manager.push(plan, progress=events.append)
    assert (pushed.files, pushed.size, pushed.uploaded, pushed.streams) == (2, 8, 8, 0)
    assert [each.nbytes for each in events if isinstance(each, TransferStarted)] == [None]
    assert (await manager.describe_asset("name")).size == 8


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, UsageError, "a value of type int as 'asset_path': pass bytes"),
        (None, UsageError, "a value of type NoneType as 'asset_path'"),
        (["a"], UsageError, "a value of type list as 'asset_path'"),
        ({"key": 3}, UsageError, "a value of type int as 'key'"),
        ({"key": iter([b""])}, UsageError, "a value of type list_iterator as 'key'"),
        ({"key": io.BytesIO}, UsageError, "a value of type type as 'key'"),
        ({3: b""}, UsageError, "must be a string, not int"),
        ({"key": "no such file"}, SourceNotFound, "'no such file' as 'key': no such file or directory. To push text"),
        ({"../x": b""}, SourceError, r"'\.\./x': it must be a relative path"),
        ({"/abs": b""}, SourceError, "'/abs': it must be a relative path"),
        ({"a//b": b""}, SourceError, "'a//b': it must be a relative path"),
        ({"": b""}, SourceError, "'': it must be a relative path"),
        ({"x.versions": b""}, SourceError, r"'x\.versions': its name ends in"),
        ({"a": b"", "a/b": b""}, SourceError, "'a' both as a file and as a folder"),
        ({"key": b"", "Key": b""}, SourceError, "'Key': some file systems treat it as the same path as 'key'"),
        ({"\xe9": b"", "e\u0301": b""}, SourceError, "some file systems treat it as the same path"),
        ({"key": io.StringIO("x")}, SourceError, "'key': its file object is in text mode"),
        ({"key": chunks("text")}, SourceError, "'key': its iterator yielded text"),
        ({"key": chunks(b"", 3)}, SourceError, "'key': its iterator yielded a value of type int"),
        ({"key": OnlyRead("text")}, SourceError, "'key': its read method returned str"),
        ({"key": OnlyRead(b"x" * 2**24)}, SourceError, "'key': its read method returned bytes instead of at most"),
        ({"key": OnlyRead(OSError(5, "Input/output error"))}, SourceError, "'key': Input/output error"),
    ],
)  # fmt: skip
async def test_what_can_not_be_pushed_is_refused(
    manager: AssetsManager, memory: MemoryDriver, source: Any, error: type[AioAssetsError], message: str
) -> None:
    """The error names the key. Nothing is left, and the number is used for the next push."""
    with pytest.raises(error, match=message):
        await manager.create_asset(source, "name")
    assert await keys(memory) in ([], ["assets/name/0.0.meta"])
    assert (await manager.create_asset(b"content", "name")).version == "0.0"


async def test_a_file_in_the_wrong_state_is_refused(manager: AssetsManager, tmp_path: Path) -> None:
    with (
        open(tmp_path / "file", "wb") as writing,
        pytest.raises(SourceError, match="'key': its file object isn't open for reading"),
    ):
        await manager.create_asset({"key": writing}, "name")
    with pytest.raises(SourceError, match="'key': its file object is closed"):
        await manager.create_asset({"key": writing}, "name")


async def test_a_stream_is_pushed_once(manager: AssetsManager) -> None:
    """A file object that was moved since is another stream. An iterable returns a new iterator each time."""
    iterator, file, unmovable, repeatable = chunks(b"1"), io.BytesIO(b"-2"), OnlyRead(b"3"), Repeatable()
    file.seek(1)
    source: dict[str, Any] = {"i": iterator, "f": file, "u": unmovable, "r": repeatable, "q": repeatable}
    before = await push(manager, source)
    for key in ("i", "u"):
        with pytest.raises(SourceError, match=f"'{key}': it was used already"):
            await manager.update_asset({key: source[key]}, "name")
    with pytest.raises(SourceError, match=r"'f': a push has read it up to its end; call seek\(0\)"):
        await manager.update_asset({"f": file}, "name")
    file.seek(1)
    assert await push(manager, {"f": file, "r": repeatable}) == {"f": before["f"], "r": before["r"]}


async def test_an_iterator_that_its_caller_has_used_is_refused(manager: AssetsManager) -> None:
    iterator = chunks(b"1")
    assert [each async for each in iterator] == [b"1"]
    with pytest.raises(SourceError, match="it was used already"):
        await manager.create_asset(iterator, "name")


async def test_two_files_can_not_have_one_stream(manager: AssetsManager) -> None:
    file = io.BytesIO(b"1")
    with pytest.raises(SourceError, match="'b': another file of this push has the same stream"):
        await manager.create_asset({"a": file, "b": file}, "name")


async def test_a_plan_of_a_stream_is_carried_out_once(manager: AssetsManager) -> None:
    await manager.create_asset(b"0", "name")
    plan = await manager.plan_update(chunks(b"1"), "name")
    await manager.push(plan)
    with pytest.raises(SourceError, match="it was used already"):
        await manager.push(plan)


async def test_two_pushes_of_one_stream_do_not_share_it(manager: AssetsManager) -> None:
    started = anyio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"1"
        started.set()
        await anyio.sleep_forever()

    stream = slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(manager.create_asset, stream, "name")
        await started.wait()
        with pytest.raises(SourceError, match="another push, or another file of this push, is reading it"):
            await manager.create_asset(stream, "other")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("move", [lambda file: file.read(1), lambda file: file.close()], ids=["read", "close"])
async def test_a_file_object_that_something_else_uses_is_noticed(
    manager: AssetsManager, move: Callable[[io.BytesIO], object]
) -> None:
    file = io.BytesIO(bytes(3_000_000))

    def report(event: Event) -> None:
        if not isinstance(event, TransferStarted) and not file.closed and file.tell() in range(1, 3_000_000):
            move(file)

    with pytest.raises(SourceError, match=r"something else read the file object|the file object was closed"):
        await manager.create_asset(file, "name", progress=report)


async def test_a_buffer_that_changes_during_the_push_does_no_harm(manager: AssetsManager) -> None:
    """Mutable buffers are copied first."""
    buffer = bytearray(b"before")

    def change(event: Event) -> None:
        buffer[:] = b"after!"

    assert await push(manager, {"a": buffer, "b": memoryview(buffer)}, progress=change) == {
        "a": b"before",
        "b": b"before",
    }


@contextlib.asynccontextmanager
async def closing() -> AsyncIterator[tuple[AsyncIterator[bytes], anyio.Event, list[str]]]:
    """Yield an iterator that waits after its first chunk, the event of this, and what happens to it."""
    waits, happened = anyio.Event(), list[str]()

    async def slow() -> AsyncIterator[bytes]:
        try:
            yield b"1" * 2_000_000
            waits.set()
            await anyio.sleep_forever()
        finally:
            happened.append("closed")

    yield slow(), waits, happened


@pytest.mark.parametrize("error", [Broken, StoreUnavailable("elsewhere", "it is down."), ObjectNotFound("x")])
async def test_an_iterator_that_fails_leaves_nothing(manager: AssetsManager, memory: MemoryDriver, error: Any) -> None:
    """Its own exceptions are raised unchanged, but those of this package could be taken for errors of the store."""

    async def fails() -> AsyncIterator[bytes]:
        yield b"1" * 2_000_000
        raise error

    with pytest.raises(
        Broken if error is Broken else SourceError, match=None if error is Broken else "'key': its iter"
    ):
        await manager.create_asset({"key": fails(), "other": b"2"}, "name")
    assert await keys(memory) == ["assets/name/0.0.meta"]
    assert (await manager.create_asset(b"content", "name")).version == "0.0"


async def test_a_cancelled_push_stops_waiting_for_its_stream_at_once(
    make_manager: ManagerFactory, memory: MemoryDriver
) -> None:
    """Nothing is left, and a generator is closed."""
    manager = make_manager(memory, cleanup_timeout=100_000.0)
    async with closing() as (iterator, waits, happened):
        async with anyio.create_task_group() as tasks:
            source: dict[str, Any] = {"key": iterator, "other": b"2"}
            tasks.start_soon(manager.create_asset, source, "name")
            await waits.wait()
            tasks.cancel_scope.cancel()
        assert happened == ["closed"]
    assert await keys(memory) == ["assets/name/0.0.meta"]
    assert (await manager.create_asset(b"content", "name")).version == "0.0"


async def test_a_failure_of_one_file_stops_waiting_for_the_others(manager: AssetsManager) -> None:
    async with closing() as (iterator, waits, happened):

        async def fails() -> AsyncIterator[bytes]:
            await waits.wait()
            async for chunk in chunks(b"1", Broken):
                yield chunk

        with pytest.raises(Broken):
            await manager.create_asset({"key": iterator, "other": fails()}, "name")
        assert happened == ["closed"]


async def test_a_push_of_a_stream_is_never_resumed(
    manager: AssetsManager, memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    """After an outage, it removes what it stored, if the store is back."""
    store = Interposer(memory)

    async def fail(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "upload_stream"):
            store.hook = nothing
            raise StoreUnavailable("memory://", "it is down.", uncertain=False)

    store.hook = fail
    with pytest.raises(StoreUnavailable):
        await make_manager(store).create_asset({"key": chunks(b"1"), "other": b"2"}, "name")
    assert await keys(memory) == ["assets/name/0.0.meta"]
    plans = [await manager.plan_create({"key": chunks(b"1")}, "name") for _ in range(2)]
    assert plans[0].tree.fingerprint != plans[1].tree.fingerprint


async def nothing(moment: str, method: str, key: str) -> None:
    """Do nothing."""


async def test_a_stream_whose_number_is_lost_is_not_sent_again(
    memory: MemoryDriver, make_manager: ManagerFactory
) -> None:
    store = Interposer(memory)

    async def steal(moment: str, method: str, key: str) -> None:
        if (moment, method) == ("before", "upload_stream"):
            await memory.delete(["assets/name/0.0.meta"])

    store.hook = steal
    with pytest.raises(PushContended, match="once, and streams can't be read again"):
        await make_manager(store).create_asset(chunks(b"1"), "name")


async def test_bytes_are_compared_and_streams_are_not(manager: AssetsManager) -> None:
    await manager.create_asset({"a": b"same", "b": b"same"}, "name")
    assert (await manager.update_asset({"a": b"same", "b": bytearray(b"same")}, "name", if_changed=True)).unchanged
    assert not (await manager.update_asset({"a": b"same", "b": chunks(b"same")}, "name", if_changed=True)).unchanged
    with copying_from(1):
        await manager.update_asset({"a": b"same"}, "name")
        pushed = await manager.update_asset({"c": b"same", "d": chunks(b"same"), "e": b"other"}, "name")
    assert (pushed.copied, pushed.uploaded) == (4, 9)


async def test_a_reader_of_a_pipe_can_be_cancelled(manager: AssetsManager, memory: MemoryDriver) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb", buffering=0) as pipe:
        pipe.write(b"1")
        has_begun = anyio.Event()
        async with anyio.create_task_group() as tasks:
            push = manager.create_asset
            tasks.start_soon(lambda: push(file, "name", progress=lambda event: has_begun.set()))
            await has_begun.wait()
            tasks.cancel_scope.cancel()
    assert await keys(memory) in ([], ["assets/name/0.0.meta"])


async def test_urls_in_a_mapping_are_those_of_objects_and_prefixes(memory: MemoryDriver) -> None:
    for key in ("a/b", "a/c/d"):
        await memory.write(key, key.encode(), expected=Expect.ABSENT)
    sources = Sources(lambda location: memory)
    source = {"object": "memory://memory/a/b", "prefix": "memory://memory/a"}
    tree = await sources.scan(PushRequest(source=source, name="name"), "memory://other")
    assert [(file.path, file.source) for file in tree.files] == [
        ("object", "memory://memory/a/b"),
        ("prefix/b", "memory://memory/a/b"),
        ("prefix/c/d", "memory://memory/a/c/d"),
    ]
