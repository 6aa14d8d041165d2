"""The house is in order: its surface, its layers, and what the README says of both."""

from __future__ import annotations

import ast
import graphlib
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aioassets
from aioassets.cli.process import EXIT_CODES
from aioassets.drivers.azure.driver import AzureDriver
from aioassets.drivers.gcs.driver import GCSDriver
from aioassets.drivers.s3.driver import S3Driver
from aioassets.settings import Settings, debug_wanted

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PACKAGE = Path(aioassets.__file__).parent

FLOORS = (
    {"_version", "errors", "progress"},
    {"model"},
    {"runtime"},
    {"drivers"},
    {"store", "testing"},
    {"push", "fetch", "cleanup"},
    {"settings"},
    {"manager"},
    {"cli"},
)
"""Rooms, from the ground up. A module imports from its own room and from the floors below, not from its neighbours."""
OUTSIDE = {"", "__main__"}
"""Modules outside the rooms: the public surface, and the program."""


def modules() -> dict[str, ast.Module]:
    """The syntax trees of all modules, by name within the package."""
    found = (info.name for info in pkgutil.walk_packages([str(PACKAGE)], "aioassets."))
    names = ["aioassets", *found]
    return {
        name.partition(".")[2]: ast.parse(Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8"))  # type: ignore[union-attr, arg-type]
        for name in names
    }


MODULES = modules()


def imported(tree: ast.Module) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
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


def room_of(module: str) -> str:
    """Return the room of a module: the first part of its name."""
    return module.partition(".")[0]


def floor_of(room: str) -> int:
    """Return the number of the floor that a room is on."""
    floors = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"{room} is on no floor: give it one"
    return floors[0]


class TestSurface:
    def test_all_lists_what_type_checkers_see(self) -> None:
        stars = {
            node.module
            for node in ast.walk(MODULES[""])
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        }

        assert set(aioassets._MODULES) == stars
        assert len(aioassets.__all__) == len(set(aioassets.__all__)) == len(dir(aioassets))

    def test_a_module_makes_nothing_public_that_the_package_does_not(self) -> None:
        listing = {
            f"aioassets.{name}" for name, tree in MODULES.items() if "__all__" in assigned(tree) and name != "testing"
        }

        assert listing == set(aioassets._MODULES)

    def test_all_that_is_listed_is_there(self) -> None:
        assert [name for name in aioassets.__all__ if not hasattr(aioassets, name)] == []
        with pytest.raises(AttributeError, match="nonsense"):
            aioassets.nonsense  # noqa: B018

    def test_importing_the_package_imports_none_of_its_parts(self) -> None:
        code = "import sys, aioassets; print([name for name in sys.modules if name.startswith('aioassets.')])"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

        assert output.strip() == "['aioassets._version']"

    @pytest.mark.parametrize("name", sorted(set(aioassets.__all__) - {"__version__"}))
    def test_everything_public_is_documented(self, name: str) -> None:
        value = getattr(aioassets, name)
        if not inspect.isclass(value):
            assert name in documented_aliases()
            return
        undocumented = [member for member, function in own_members(value) if not inspect.getdoc(function)]

        assert not (vars(value)["__doc__"] or f"{name}(").startswith(f"{name}(")  # a dataclass makes one up
        assert undocumented == []


def own_members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class of ours defines."""
    for name, value in vars(kind).items():
        member = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def assigned(tree: ast.Module) -> set[str]:
    """Return the names that a module assigns."""
    targets = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    return {target.id for target in targets if isinstance(target, ast.Name)}


def documented_aliases() -> set[str]:
    """The names of modules' values that a string explains."""
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
    def test_each_room_says_what_happens_there_and_what_may_not(self, room: str) -> None:
        text = ast.get_docstring(MODULES[room]) or "" if room else "outside"

        assert not room or len(re.findall(r"[.](?:\s|$)", text)) >= 2, f"{room} needs a docstring of two sentences"

    def test_no_import_leads_back(self) -> None:
        graph = {module: imported(tree) for module, tree in MODULES.items()}

        graphlib.TopologicalSorter(graph).prepare()

    def test_settings_are_read_by_the_manager_and_the_command_line_alone(self) -> None:
        readers = {module for module, tree in MODULES.items() if "settings" in imported(tree)}

        assert {room_of(module) for module in readers} <= {"manager", "cli"}

    def test_only_settings_read_the_environment(self) -> None:
        readers = {
            module
            for module, tree in MODULES.items()
            for node in ast.walk(tree)
            if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"))
            or (isinstance(node, ast.alias) and node.name in ("environ", "getenv", "environb"))
        }

        assert readers == {"settings"}


class TestClocks:
    def test_deadlines_and_pauses_never_follow_a_clock_that_can_be_set(self) -> None:
        """Only these tell dates: of versions, manifests, notes and files, and of a store that doesn't tell its own."""
        readers = {
            module
            for module, tree in MODULES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("time.time", "datetime.now", "datetime.utcnow")
        }

        assert readers == {
            "fetch.leftovers",
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


class Asked(dict[str, str]):
    """An empty environment that remembers what was looked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return default


def section(title: str) -> str:
    """A section of the README, down to the next one of its level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has no section {title!r}"
    return found[1]


class TestReadme:
    def test_its_tables_name_exactly_the_variables_that_are_read(self) -> None:
        asked = Asked()
        Settings.resolve(environ=asked)
        debug_wanted(asked)

        rows = re.findall(r"^\| (`[A-Z].*?) \|", section("Environment"), re.MULTILINE)
        named = {name for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row)}

        assert named == asked.names

    def test_its_numbers_are_the_defaults(self, tmp_path: Path) -> None:
        rows = re.findall(r"^\| `AIOASSETS_([A-Z_]+)` \| (\d+) \|", section("Environment"), re.MULTILINE)
        defaults = Settings.resolve(assets_dir=tmp_path, environ={})

        assert len(rows) == 6
        assert {name: float(text) for name, text in rows} == {name: getattr(defaults, name.lower()) for name, _ in rows}

    @pytest.mark.parametrize(("store", "driver"), [("S3", S3Driver), ("GCS", GCSDriver), ("Azure", AzureDriver)])
    def test_its_tables_of_options_name_exactly_those_of_the_drivers(self, store: str, driver: type[Any]) -> None:
        options = set(list(inspect.signature(driver).parameters)[1:]) - {"dispatcher", "client", "credential"}
        options -= {"connect_timeout", "read_timeout"}  # settings of their own
        table = re.search(rf"^\| option of {store} .*?(?=^$)", section("Environment"), re.MULTILINE | re.DOTALL)

        assert table is not None
        assert set(re.findall(r"^\| `([a-z0-9_]+)` \|", table[0], re.MULTILINE)) == options

    def test_its_exit_codes_are_those_of_the_command_line(self) -> None:
        rows = {int(row) for row in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}

        assert rows == {0, *(code for _, code in EXIT_CODES), 130, 143}


class TestGuarantees:
    def test_each_names_tests_that_exist(self) -> None:
        root = Path(__file__).parent
        sources = "".join(path.read_text(encoding="utf-8") for path in root.rglob("test_*.py"))
        named = re.findall(r"`(test_\w+)`", (root.parent / "docs" / "guarantees.md").read_text(encoding="utf-8"))

        assert named
        assert [name for name in named if f"def {name}(" not in sources] == []
