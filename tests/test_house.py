"""Public names, direction of imports, and agreement of the documentation with the code."""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aioassets
from aioassets.cli.process import EXIT_CODES, SIGNAL_MESSAGES, UNWRITTEN
from aioassets.drivers.azure.driver import AzureDriver
from aioassets.drivers.gcs.driver import GCSDriver
from aioassets.drivers.protocol import Driver
from aioassets.drivers.s3.driver import S3Driver
from aioassets.model.aliases import AliasTable
from aioassets.model.chunks import ChunkTable
from aioassets.model.claim import CLAIM_FIELD, Claim
from aioassets.model.index import VersionIndex
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import TOMBSTONE_FIELD, Tombstone
from aioassets.settings import Settings, debug_wanted

ROOT = Path(__file__).parent.parent
URL = "https://github.com/aioassets/aioassets/blob/main/"
PACKAGE = Path(aioassets.__file__).parent

FLOORS = (
    {"_version", "errors", "progress"},
    {"model"},
    {"runtime"},
    {"drivers"},
    {"store", "testing"},
    {"push", "fetch", "cleanup"},
    {"views", "read"},
    {"settings"},
    {"session"},
    {"manager"},
    {"blocking", "cli", "integrations"},
)
"""Rooms by floor, lowest first. A module may import from its own room and from lower floors only."""
OUTSIDE = {"", "__main__"}
"""Modules outside the rooms: the package and its entry point."""


def modules() -> dict[str, ast.Module]:
    """Return the syntax trees of all modules, by name within the package."""
    found = (info.name for info in pkgutil.walk_packages([str(PACKAGE)], "aioassets."))
    names = ["aioassets", *found]
    return {
        name.partition(".")[2]: ast.parse(Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8"))  # type: ignore[union-attr, arg-type]
        for name in names
    }


MODULES = modules()


def imported(tree: ast.Module) -> set[str]:
    """Return the modules of the package that a module imports, including local imports."""
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules = node.module == "aioassets"
            names = [f"aioassets.{alias.name}" for alias in node.names] if modules else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.partition(".")[2] for name in names if name.partition(".")[0] == "aioassets"}
    return found


def all_imported(module: str) -> set[str]:
    """Return a module with those that it imports directly or indirectly."""
    found, new = {module}, {module}
    while new := {name for each in new & MODULES.keys() for name in imported(MODULES[each])} - found:
        found |= new
    return found


def room_of(module: str) -> str:
    """Return the room of a module: the first part of its name."""
    return module.partition(".")[0]


def floor_of(room: str) -> int:
    """Return the number of the floor that a room is on."""
    floors = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"{room} is on no floor: add it to FLOORS"
    return floors[0]


def public_names_of(modules: Iterable[str | None]) -> set[str]:
    """Return the names in `__all__` of these modules, and the version."""
    return {"__version__", *(name for module in modules for name in importlib.import_module(f"{module}").__all__)}


class TestSurface:
    def test_all_agrees_with_the_imports_for_type_checkers(self) -> None:
        stars = {
            node.module
            for node in ast.walk(MODULES[""])
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        }

        assert public_names_of(stars) == set(aioassets.__all__)
        assert len(aioassets.__all__) == len(set(aioassets.__all__)) == len(dir(aioassets))

    def test_public_names_of_modules_are_public_in_the_package(self) -> None:
        listing = {
            f"aioassets.{name}"
            for name, tree in MODULES.items()
            if "__all__" in assigned(tree) and name not in ("drivers", "testing")  # for authors of drivers
        }

        assert public_names_of(listing) == set(aioassets.__all__)

    def test_every_listed_name_exists(self) -> None:
        assert [name for name in aioassets.__all__ if not hasattr(aioassets, name)] == []
        with pytest.raises(AttributeError, match="nonsense"):
            aioassets.nonsense  # noqa: B018

    def test_importing_the_package_imports_only_its_version(self) -> None:
        code = "import sys, aioassets; print([name for name in sys.modules if name.startswith('aioassets.')])"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

        assert output.strip() == "['aioassets._version']"

    @pytest.mark.parametrize("name", sorted(set(aioassets.__all__) - {"__version__"}))
    def test_everything_public_is_documented(self, name: str) -> None:
        value = getattr(aioassets, name)
        if not inspect.isclass(value):
            assert name in documented_aliases()
            return
        members = own_members(value)
        undocumented = [name for name, member in members if not inspect.getdoc(member) and not hasattr(Driver, name)]

        assert not (vars(value)["__doc__"] or f"{name}(").startswith(f"{name}(")  # a dataclass's default
        assert undocumented == []


def own_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Iterate over the public methods and properties that a class defines itself."""
    for name, value in vars(kind).items():
        member = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def assigned(tree: ast.Module) -> set[str]:
    """Return the names that a module assigns."""
    targets = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    return {target.id for target in targets if isinstance(target, ast.Name)}


def documented_aliases() -> set[str]:
    """Return the module-level names that a docstring follows."""
    found = set()
    for tree in MODULES.values():
        for node, following in zip(tree.body, tree.body[1:], strict=False):
            explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if isinstance(node, ast.Assign) and explained:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


class TestRooms:
    @pytest.mark.parametrize("module", sorted(MODULES.keys() - OUTSIDE))
    def test_imports_run_one_way(self, module: str) -> None:
        own = room_of(module)
        others = {room_of(other) for other in imported(MODULES[module])} - {own}

        assert {room for room in others if floor_of(room) >= floor_of(own)} == set()

    @pytest.mark.parametrize("room", sorted(name for name in MODULES if f"{name}." in " ".join(MODULES)))
    def test_each_room_has_a_docstring_of_two_sentences(self, room: str) -> None:
        text = ast.get_docstring(MODULES[room]) or "" if room else "outside"

        assert not room or len(re.findall(r"[.](?:\s|$)", text)) >= 2, f"{room} needs a docstring of two sentences"

    def test_imports_have_no_cycles(self) -> None:
        graph = {module: imported(tree) for module, tree in MODULES.items()}

        graphlib.TopologicalSorter(graph).prepare()

    def test_only_the_manager_and_the_command_line_import_settings(self) -> None:
        readers = {module for module, tree in MODULES.items() if "settings" in imported(tree)}

        assert {room_of(module) for module in readers} - OUTSIDE <= {"session", "manager", "blocking", "cli"}

    def test_only_settings_read_the_environment(self) -> None:
        """Except for the variables of the AWS SDK that tell an endpoint before the SDK is imported."""
        readers = {
            module
            for module, tree in MODULES.items()
            for node in ast.walk(tree)
            if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"))
            or (isinstance(node, ast.alias) and node.name in ("environ", "getenv", "environb"))
        }

        assert readers == {"settings", "drivers.s3.place"}


class TestLogging:
    def test_modules_that_log_import_the_room_that_keeps_the_package_silent(self) -> None:
        assert "NullHandler" in ast.unparse(MODULES["runtime"])
        loggers = {module for module, tree in MODULES.items() if "getLogger(__name__)" in ast.unparse(tree)}

        assert loggers
        assert {module for module in loggers if not {"runtime"} & set(map(room_of, all_imported(module)))} == set()


class TestClocks:
    def test_only_known_modules_read_the_wall_clock(self) -> None:
        """These modules need dates, for versions, manifests, records and files. Deadlines use a monotonic clock."""
        readers = {
            module
            for module, tree in MODULES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "datetime.now", "datetime.utcnow")
        }

        assert readers == {
            "cli.caching",
            "fetch.leftovers",
            "fetch.usage",
            "runtime.known_hashes",
            "store.marks",
            "store.probe",
            "push.context",
            "drivers.azure.values",
            "drivers.gcs.values",
            "drivers.s3.values",
            "drivers.folder",
            "drivers.memory",
            "testing.uploads",
            "model.versioning",
        }


class RecordingEnvironment(dict[str, str]):
    """An empty environment that records the names that are read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def section(page: str, title: str) -> str:
    """Return a section of a page, up to the next section of the same level."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no section {title!r}"
    return found[1]


def links(page: Path) -> list[str]:
    """Return the targets of the links on a page."""
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))


class TestReferencePages:
    def test_the_table_of_variables_lists_exactly_those_that_are_read(self) -> None:
        environ = RecordingEnvironment()
        Settings.resolve(environ=environ)
        debug_wanted(environ)

        rows = re.findall(
            r"^\| (`[A-Z].*?) \|", section("docs/configuration.md", "Environment variables"), re.MULTILINE
        )
        named = {name for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row)}

        assert named == environ.names

    def test_the_numbers_in_the_table_are_the_defaults(self, tmp_path: Path) -> None:
        table = section("docs/configuration.md", "Environment variables")
        rows = re.findall(r"^\| `AIOASSETS_([A-Z_]+)` \| (\d+) \|", table, re.MULTILINE)
        defaults = Settings.resolve(assets_dir=tmp_path, environ={})

        assert len(rows) == 7
        assert {name: float(text) for name, text in rows} == {name: getattr(defaults, name.lower()) for name, _ in rows}

    @pytest.mark.parametrize(("store", "driver"), [("S3", S3Driver), ("GCS", GCSDriver), ("Azure", AzureDriver)])
    def test_the_tables_of_options_list_exactly_those_of_the_drivers(self, store: str, driver: type[Any]) -> None:
        options = set(list(inspect.signature(driver).parameters)[1:]) - {"dispatcher", "client", "credential"}
        options -= {"connect_timeout", "read_timeout"}  # settings of their own
        page = section("docs/configuration.md", "Store options")
        table = re.search(rf"^\| {store} option .*?(?=^$|\Z)", page, re.MULTILINE | re.DOTALL)

        assert table is not None
        assert set(re.findall(r"^\| `([a-z0-9_]+)` \|", table[0], re.MULTILINE)) == options

    def test_the_exit_codes_are_those_of_the_command_line(self) -> None:
        rows = {
            int(row) for row in re.findall(r"^\| (\d+) \|", section("docs/command-line.md", "Exit codes"), re.MULTILINE)
        }

        assert rows == {0, *(code for _, code in EXIT_CODES), UNWRITTEN, *(128 + number for number in SIGNAL_MESSAGES)}


class TestLinks:
    def test_the_readme_links_to_files_by_absolute_urls(self) -> None:
        """PyPI renders the README without the repository."""
        targets = links(ROOT / "README.md")

        assert targets
        assert [target for target in targets if not target.startswith(URL)] == []
        assert [target for target in targets if not (ROOT / target.removeprefix(URL)).is_file()] == []

    @pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
    def test_relative_links_of_the_docs_lead_to_files(self, page: Path) -> None:
        relative = [target.partition("#")[0] for target in links(page) if "://" not in target]

        assert [target for target in relative if target and not (page.parent / target).exists()] == []


class TestFormatPage:
    def test_its_examples_are_read_and_written_unchanged(self) -> None:
        text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
        index, claim, *manifests, mark, tombstone, aliases, chunks = re.findall(
            r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL
        )

        assert json.loads(VersionIndex.from_json(index.encode()).to_json()) == json.loads(index)
        assert json.loads(Claim.from_value(json.loads(claim)[CLAIM_FIELD]).to_json()) == json.loads(claim)
        assert json.loads(AliasTable.from_json(aliases.encode()).to_json()) == json.loads(aliases)
        assert json.loads(ChunkTable.from_json(chunks.encode()).to_json()) == json.loads(chunks)
        assert len(manifests) == 2
        for manifest in manifests:
            marked = {**json.loads(manifest), "mark": json.loads(mark)}
            for document in (json.loads(manifest), marked):
                assert json.loads(Manifest.from_json(json.dumps(document).encode()).to_json()) == document
        assert json.loads(Tombstone.from_value(json.loads(tombstone)[TOMBSTONE_FIELD]).to_json()) == json.loads(
            tombstone
        )


class TestGuarantees:
    def test_each_named_test_exists(self) -> None:
        root = Path(__file__).parent
        sources = "".join(path.read_text(encoding="utf-8") for path in root.rglob("test_*.py"))
        named = re.findall(r"`(test_\w+)`", (root.parent / "docs" / "guarantees.md").read_text(encoding="utf-8"))

        assert named
        assert [name for name in named if f"def {name}(" not in sources] == []
