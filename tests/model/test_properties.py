"""Properties of all names, versions, paths and documents, and of fetches from arbitrary stores."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aioassets import AioAssetsError, AssetsManager, AssetSpec, Bump, InvalidName, MajorMinor, MemoryDriver, SimpleDate
from aioassets.drivers.protocol import Expect
from aioassets.model.aliases import MAX_MOVES, AliasTable
from aioassets.model.claim import Claim
from aioassets.model.documents import parse_meta
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.keys import Layout
from aioassets.model.manifest import Manifest
from aioassets.model.marks import Mark
from aioassets.model.names import is_name, parse_new_name, version_problem
from aioassets.model.paths import parents, path_problem
from aioassets.model.pusher import Pusher
from aioassets.model.tombstone import Tombstone
from aioassets.model.versioning import VersioningScheme
from aioassets.testing import BytesSource

T = TypeVar("T")

ROOT = "/srv/cache/model/0.0"
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.strftime("%Y-%m-%dT%H-%M-%SZ"))
NUMBERS = st.tuples(st.integers(0, 30), st.integers(0, 10**20)).map(lambda pair: f"{pair[0]}.{pair[1]}")
NOW = datetime(2050, 1, 1, tzinfo=UTC)
MARK = Mark("token", NOW, Pusher("ann", "host"), "bad")

SEGMENTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "A",
        "b",
        "é",
        "e\u0301",
        "\0",
        "\x1b[31m",
        "C:",
        "~",
        "NUL",
        " ",
        "\\",
        "\ud800",
        "a" * 256,
        "日本",
    ]
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join) | st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ODD_SIZES = st.sampled_from([None, 0, 1, 3, 4, -1, 2**40, 2**62, 2**63, 10**120, 1.5, "3", True])
CONTENT = b"abc"
DIGESTS = st.sampled_from(
    [{"sha256": hashlib.sha256(CONTENT).hexdigest()}, {"sha256": "0" * 64}, {"sha256": "\x1b"}, {"x": "ab"}, {}, [], 1]
)


HOLDERS = st.dictionaries(st.sampled_from(["user", "host"]), st.text(max_size=3), max_size=2)
MARKS = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["yanked", "restored", "yanked", "restored", "x"]),
        "token": st.text(max_size=3),
        "date": st.sampled_from(["2026-05-06T07:08:09Z", "2026-05-06T07:08:09.5+02:00", "yesterday"]),
    },
    optional={"by": HOLDERS, "reason": st.text(max_size=3) | st.none() | st.integers()},
)
TOMBSTONES = st.builds(
    lambda mark, rest: {"aioassets_deleted": {**mark, **rest}},
    MARKS,
    st.dictionaries(st.sampled_from(["content_digest", "push_token"]), st.text(max_size=3) | st.none()),
)


@st.composite
def nearly_manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Manifests with up to two invalid or malicious changes."""
    paths = draw(
        st.lists(st.sampled_from(["a", "A", "b/a", "b/c/d", "é", "e\u0301"]), unique=True, min_size=1, max_size=3)
    )
    row = {"size": len(CONTENT), "digests": {"sha256": hashlib.sha256(CONTENT).hexdigest()}}
    rows: list[dict[str, Any]] = [{"path": path, **row} for path in paths]
    value: dict[str, Any] = {"push_date": "2026-05-06T07:08:09Z", "is_directory": True}
    folders = draw(st.lists(st.sampled_from(["e", "b/f", "b"]), unique=True, max_size=2))
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        match draw(st.integers(0, 6)):
            case 0:
                rows.append({"path": draw(PATHS), **row})
            case 1:
                folders.append(draw(PATHS))
            case 2 if rows:
                rows[-1] = {**rows[-1], "size": draw(ODD_SIZES)}
            case 3 if rows:
                rows[-1] = {**rows[-1], "digests": draw(DIGESTS)}
            case 4:
                value["is_directory"] = False
                rows = draw(st.sampled_from([rows, [{"path": "", **row}]]))
            case 5:
                names = ["push_date", "labels", "pushed_by", "message", "contents", "x", "aioassets_claim", "mark"]
                value[draw(st.sampled_from(names))] = draw(JSON)
            case 6:
                value["files"] = draw(JSON)
    paths_of = {"contents": [row["path"] for row in rows], "empty_directories": folders}
    marks = {"mark": draw(MARKS)} if draw(st.integers(0, 3)) == 0 and "mark" not in value else {}
    return {**paths_of, **({"files": rows} if draw(st.booleans()) else {}), **marks, **value}


@st.composite
def documents(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> bytes:
    """JSON documents, some of them truncated or damaged, and a few random bytes."""
    data = json.dumps(draw(values)).encode()
    match draw(st.integers(0, 19)):
        case 1:
            return data[: draw(st.integers(0, len(data)))]
        case 2:
            position = draw(st.integers(0, len(data)))
            return data[:position] + draw(st.binary(max_size=3)) + data[position:]
        case 3:
            return draw(st.binary(max_size=20))
    return data


def weighted(often: st.SearchStrategy[T], *rarely: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Draw from the first strategy in nine cases of ten."""
    return st.integers(0, 9).flatmap(lambda number: st.one_of(rarely) if number == 9 else often)


CLAIMS = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["claimed", "abandoned", "released", "x"]),
        **dict.fromkeys(["token", "operation", "fingerprint", "machine", "started"], st.text(max_size=3)),
        "pid": st.integers() | st.none(),
    },
    optional={
        "holder": st.dictionaries(st.sampled_from(["user", "host"]), st.text() | st.integers()),
        "renewals": JSON,
    },
)
METAS = documents(
    st.one_of(
        weighted(nearly_manifests(), JSON, CLAIMS.map(lambda value: {"aioassets_claim": value})),
        weighted(TOMBSTONES, JSON.map(lambda value: {"aioassets_deleted": value})),
    )
)
LISTED = st.lists(weighted(NUMBERS, TIMES, st.text(max_size=8)), max_size=4)
FENCES = st.dictionaries(
    weighted(NUMBERS, TIMES, st.text(max_size=8)), weighted(st.sampled_from(["yanked", "deleted"]), JSON), max_size=4
)
INDEXES = documents(
    weighted(
        st.fixed_dictionaries(
            {"versions": weighted(LISTED, JSON)},
            optional={"x": JSON, "fences": weighted(FENCES, JSON), "token": weighted(st.text(max_size=3), JSON)},
        ),
        JSON,
    )
)


# Names and specs


@given(st.text(max_size=30))
@example("a:1[b]")
@example("a[[]]")
def test_a_parsed_spec_is_formatted_to_an_equal_one(text: str) -> None:
    try:
        spec = AssetSpec.parse(text)
    except AioAssetsError:
        return
    assert AssetSpec.parse(str(spec)) == spec
    stays_inside(spec.name)
    if spec.version is not None:
        stays_inside(spec.version)
    if spec.part is not None:
        assert not {"", ".", ".."} & set(spec.part.split("/"))


@given(st.text("ab/.-_01", max_size=12))
def test_a_name_stays_inside_its_folder(text: str) -> None:
    if is_name(text):
        stays_inside(text)


# Versions


@pytest.mark.parametrize(
    ("scheme", "versions"), [(MajorMinor(), NUMBERS), (SimpleDate(lambda: NOW), TIMES)], ids=["numbers", "times"]
)
@given(data=st.data())
def test_the_following_version_is_later_than_all(
    scheme: VersioningScheme, versions: st.SearchStrategy[str], data: st.DataObject
) -> None:
    taken = data.draw(st.lists(versions, unique=True, max_size=6))
    following = scheme.following(Bump(), taken)
    assert following is not None
    assert scheme.is_version(following)
    assert version_problem(following) is None
    assert following not in taken
    assert all(scheme.sort_key(following) > scheme.sort_key(version) for version in taken)
    assert scheme.select(None, [*taken, following])[0] == following
    if not taken:
        assert following == scheme.first()


@pytest.mark.parametrize(
    ("scheme", "versions"), [(MajorMinor(), NUMBERS), (SimpleDate(), TIMES)], ids=["numbers", "times"]
)
@given(data=st.data())
def test_versions_are_selected_latest_first(
    scheme: VersioningScheme, versions: st.SearchStrategy[str], data: st.DataObject
) -> None:

    listed = data.draw(st.lists(versions, unique=True, min_size=1, max_size=6))
    one = data.draw(st.sampled_from(listed))
    everything = list(scheme.select(None, listed))
    assert everything == sorted(listed, key=scheme.sort_key, reverse=True)
    assert list(scheme.select(one, listed)) == [one]
    if series := scheme.series(one):
        assert list(scheme.select(series, listed)) == [v for v in everything if scheme.series(v) == series]


@pytest.mark.parametrize("scheme", [MajorMinor(), SimpleDate()], ids=["numbers", "times"])
@given(text=st.text(max_size=25) | NUMBERS | TIMES | st.from_regex(r"[0-9.TZ-]{1,130}", fullmatch=True))
@example("2026-02-30T00-00-00Z")
@example("0000-01-01T00-00-00Z")
def test_every_version_of_a_scheme_can_be_sorted_and_stored(scheme: VersioningScheme, text: str) -> None:
    if scheme.is_version(text) and version_problem(text) is None:
        scheme.check(text)
        scheme.sort_key(text)
        stays_inside(text)
        assert AssetSpec("model", text).version == text


# Paths and keys


@given(PATHS)
def test_a_path_without_a_problem_stays_inside(path: str) -> None:
    """On any operating system, and its segments aren't too long for file names."""
    if path_problem(path) is None:
        stays_inside(path)
        assert PureWindowsPath(path).anchor == ""
        assert "\\" not in path
        for folder in parents(path):
            stays_inside(folder)
        assert max(len(segment.encode()) for segment in path.split("/")) <= 255


def stays_inside(path: str) -> None:
    """Fail unless a path leads to a place below its folder."""
    joined = os.path.normpath(os.path.join(ROOT, path))
    assert joined == f"{ROOT}/{path}"
    assert joined.startswith(f"{ROOT}/")


def pushable(name: str) -> bool:
    try:
        return bool(parse_new_name(name))
    except InvalidName:
        return False


NAMES = (
    st.lists(st.sampled_from(["a", "b", "a.b", "0", "1.0", "meta", "a.meta", "versions"]), min_size=1, max_size=3)
    .map("/".join)
    .filter(pushable)
)
VERSIONS = st.sampled_from(["0.0", "0.1", "1.0", "2026-05-06T07-08-09Z"])
CONTENTS = st.lists(st.sampled_from(["a", "b", "0.0", "1.0", "0.0.meta", "a.meta", "versions"]), max_size=3).map(
    "/".join
)
OBJECTS = st.tuples(st.sampled_from(["versions", "meta", "content"]), NAMES, VERSIONS, CONTENTS)


def key_of(layout: Layout, kind: str, name: str, version: str, path: str) -> tuple[str, tuple[str, ...]]:
    """Return a key, and the identity of its object."""
    if kind == "versions":
        return layout.versions(name), (kind, name)
    if kind == "meta":
        return layout.meta(name, version), (kind, name, version)
    return layout.content(name, version, path), (kind, name, version, path)


@given(st.sampled_from(["", "assets", "x/y"]), OBJECTS, OBJECTS)
def test_different_objects_have_different_keys(prefix: str, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    layout = Layout(prefix)
    one_key, one_is = key_of(layout, *one)
    other_key, other_is = key_of(layout, *other)
    assert (one_key == other_key) == (one_is == other_is)


@given(st.sampled_from(["", "assets", "x/y"]), NAMES, VERSIONS, CONTENTS)
def test_a_key_shows_its_asset_and_version(prefix: str, name: str, version: str, path: str) -> None:
    layout = Layout(prefix)
    assert layout.asset_of(layout.versions(name)) == name
    assert layout.asset_of(layout.meta(name, version)) is None
    for key in (layout.meta(name, version), layout.content(name, version, path), f"{layout.content(name, version)}/"):
        assert layout.version_in(layout.folder(name), key) == version


MOVES = st.fixed_dictionaries(
    {
        "alias": weighted(st.just("prod"), st.text(max_size=4), JSON),
        "version": weighted(st.sampled_from(["0.0", "0.1"]), st.none(), st.text(max_size=4), JSON),
        "token": weighted(st.text(max_size=3), JSON),
        "date": weighted(st.just("2026-11-27T12:00:00+00:00"), st.text(max_size=9), JSON),
    },
    optional={
        "previous": weighted(st.just("0.0"), JSON),
        "by": weighted(st.dictionaries(st.sampled_from(["user", "host"]), st.text(max_size=3)), JSON),
        "reason": weighted(st.text(max_size=9), JSON),
        "x": JSON,
    },
)
ALIASES = documents(
    weighted(
        st.fixed_dictionaries(
            {
                "aliases": weighted(
                    st.dictionaries(weighted(st.just("prod"), st.text(max_size=4)), MOVES, max_size=2), JSON
                )
            },
            optional={"history": weighted(st.lists(MOVES, max_size=3), JSON), "x": JSON},
        ),
        JSON,
    )
)


# Documents


@settings(max_examples=300)
@given(METAS)
def test_any_meta_is_parsed_or_raises_one_error(data: bytes) -> None:
    """A parsed document survives encoding, and its paths stay inside the version."""
    meta = parsed(parse_meta, data)
    if meta is None:
        return
    assert parse_meta(meta.to_json()) == meta
    if isinstance(meta, Claim):
        assert parse_meta(meta.renewed().to_json()) == meta.renewed()
        return
    if isinstance(meta, Tombstone):
        assert not {"push_date", "is_directory", "contents"} & json.loads(meta.to_json()).keys()
        return
    for yanked in (True, False):
        marked = parse_meta(meta.marked(MARK, yanked=yanked).to_json())
        assert isinstance(marked, Manifest)
        assert (marked, marked.extra, marked.mark, marked.is_yanked) == (meta, meta.extra, MARK, yanked)
    for path in (*(file.path for file in meta.files), *meta.empty_directories):
        if path or meta.is_directory:
            stays_inside(path)
    assert meta.size is None or meta.size >= 0
    meta.push_date.astimezone(UTC)


@settings(max_examples=200)
@given(INDEXES)
def test_any_index_is_parsed_or_raises_one_error(data: bytes) -> None:
    """Its unknown fields are kept when it is written."""
    index = parsed(VersionIndex.from_json, data)
    if index is not None:
        assert VersionIndex.from_json(index.to_json()) == index
        written, given = json.loads(index.to_json()), json.loads(data)
        empty = {key: given[key] for key in ("fences", "token") if not given.get(key) and key in given}
        assert {**empty, **written} == {**given, "versions": list(index.versions)}
        for version in index.numbers:
            stays_inside(version)


@given(st.lists(st.tuples(NUMBERS, st.sampled_from([*Fence, "lift"])), max_size=6), st.lists(NUMBERS))
def test_a_fenced_version_is_not_listed_and_a_deleted_one_stays_fenced(
    changes: list[tuple[str, Fence | str]], listed: list[str]
) -> None:
    index = VersionIndex(tuple(dict.fromkeys(listed)), extra={"x": [1]})
    deleted = set()
    for version, change in changes:
        before = index
        index = index.fenced(version, change, "t") if isinstance(change, Fence) else index.unfenced(version, "u")
        deleted |= {version} if change is Fence.DELETED else set()
        assert set(before.numbers) - {version} <= set(index.numbers)
        assert not set(index.versions) & index.fences.keys()
        assert {each for each, fence in index.fences.items() if fence is Fence.DELETED} == deleted
        assert VersionIndex.from_json(index.to_json()).extra == {"x": [1]}


@settings(max_examples=200)
@given(ALIASES)
def test_any_aliases_are_parsed_or_raise_one_error(data: bytes) -> None:
    """Unknown fields are kept when they are written, and a move of an alias changes nothing else."""
    table = parsed(AliasTable.from_json, data)
    if table is None:
        return
    assert AliasTable.from_json(table.to_json()) == table
    known = {"aliases", "history"}
    assert {key: value for key, value in json.loads(table.to_json()).items() if key not in known} == {
        key: value for key, value in json.loads(data).items() if key not in known
    }
    moved = table.moved("prod", "1.2", Mark("token", datetime(2026, 11, 27, tzinfo=UTC)))
    assert AliasTable.from_json(moved.to_json()) == moved
    assert moved.target("prod") == "1.2"
    assert len(moved.history) <= MAX_MOVES
    for alias, move in table.current.items():
        stays_inside(str(move.version))
        assert alias == "prod" or moved.current[alias] == move


def parsed(parse: Callable[[bytes], Any], data: bytes) -> Any:
    """Parse a document, or return `None` if it is refused with a short, printable message."""
    try:
        return parse(data)
    except ValueError as error:
        reason = str(error)
    assert reason.isprintable()
    assert 0 < len(reason) < 500
    return None


# Whole stores


@settings(max_examples=150)
@given(
    index=weighted(st.just(b'{"versions": ["0.0"]}'), INDEXES),
    meta=METAS,
    objects=weighted(st.just({}), st.dictionaries(PATHS, st.sampled_from([b"", CONTENT, CONTENT + b"d"]), max_size=3)),
    aliases=ALIASES,
    spec=st.sampled_from(["model", "model:0.0", "model:0.0[a]", "model:0[b/a]", "model@prod", "model@prod[a]"]),
)
def test_any_store_yields_a_version_or_a_documented_error(
    index: bytes, meta: bytes, objects: dict[str, bytes], aliases: bytes, spec: str
) -> None:
    """No file appears outside of the assets directory, and no link inside it."""
    with tempfile.TemporaryDirectory() as folder:
        documents = {"assets/model.versions": index, "assets/model/0.0.meta": meta, "assets/model.aliases": aliases}
        asyncio.run(fetch_from(documents, meta, objects, spec, Path(folder) / "cache"))
        assert os.listdir(folder) in ([], ["cache"])
        assert not any(path.is_symlink() for path in Path(folder).rglob("*"))


async def fetch_from(
    documents: dict[str, bytes], meta: bytes, objects: dict[str, bytes], spec: str, cache: Path
) -> None:
    """Fetch from a store with these objects, and compare the files with the manifest."""
    driver = MemoryDriver()
    for key, data in documents.items():
        await driver.write(key, data, expected=Expect.ABSENT)
    try:
        named = [path for path in json.loads(meta)["contents"] if isinstance(path, str)]
    except (ValueError, TypeError, KeyError):
        named = []
    for path, data in {**dict.fromkeys(named, CONTENT), **objects}.items():
        await driver.upload(f"assets/model/0.0/{path}", BytesSource(data), expected=Expect.ANYTHING)
    async with AssetsManager(driver=driver, assets_dir=cache) as manager:
        try:
            fetched = await manager.fetch_asset(spec)
        except AioAssetsError:
            return
    assert isinstance(fetched.manifest, Manifest)
    assert fetched.path.resolve().is_relative_to(cache.resolve())
    for entry in fetched.manifest.files if fetched.part is None else ():
        data = (fetched.path / entry.path).read_bytes()
        assert entry.size in (None, len(data))
        assert entry.digests.get("sha256") in (None, hashlib.sha256(data).hexdigest())
