"""Agreement of the package's metadata with its imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parent.parent
METADATA: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = METADATA["optional-dependencies"]
OPTIONAL = {"azure-identity", "blake3", "google-crc32c", "pyfastcdc", "pytest", "universal-pathlib"}
"""Distributions that are imported only if they are installed, or only by tests."""


def syntax_trees() -> dict[str, ast.Module]:
    found = {}
    for path in (PROJECT / "aioassets").rglob("*.py"):
        name = ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = syntax_trees()
PROVIDERS = packages_distributions()


def imported(tree: ast.Module) -> Iterator[str]:
    """Iterate over the modules that a module imports anywhere, by statements or `import_module("name")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def reached_from(module: str, seen: set[str]) -> set[str]:
    """Return the names of a module of the package and of all modules of the package that it imports."""
    if module in MODULES and module not in seen:
        seen.add(module)
        for other in imported(MODULES[module]):
            reached_from(other, seen)
    return seen


def distributions(modules: set[str]) -> set[str]:
    """Return the distributions, other than this one, that modules of the package import."""
    names = {name for module in modules for name in imported(MODULES[module])}
    return {
        distribution_of(name) for name in names if name.partition(".")[0] not in {*sys.stdlib_module_names, "aioassets"}
    }


def distribution_of(module: str) -> str:
    """Return the distribution of a module. For a namespace package, return the one with the longest prefix."""
    candidates = PROVIDERS[module.partition(".")[0]]
    return normalized(max(candidates, key=lambda name: (module.replace(".", "-").startswith(name), len(name))))


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normalized(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


@pytest.mark.parametrize("extra", ["s3", "gcs", "azure"])
def test_a_driver_imports_only_what_its_extra_declares(extra: str) -> None:
    needed = distributions(reached_from(f"aioassets.drivers.{extra}.driver", set()))

    assert needed - declared(METADATA["dependencies"]) - OPTIONAL <= declared(EXTRAS[extra])


def test_modules_outside_of_these_drivers_import_only_plain_dependencies() -> None:
    behind_extras = ("drivers.s3", "drivers.gcs", "drivers.azure", "drivers.http", "integrations")
    rest = {name for name in MODULES if not name.startswith(tuple(f"aioassets.{room}" for room in behind_extras))}

    assert distributions(rest) - OPTIONAL == declared(METADATA["dependencies"])


def test_integrations_import_only_what_their_extra_declares() -> None:
    needed = distributions({name for name in MODULES if name.startswith("aioassets.integrations")})

    assert needed - declared(METADATA["dependencies"]) - OPTIONAL == declared(EXTRAS["fsspec"])


def test_the_extra_of_everything_names_all_others() -> None:
    assert EXTRAS["all"] == [f"aioassets[{','.join(sorted(EXTRAS.keys() - {'all'}))}]"]


def test_chunks_need_exactly_what_their_extra_declares() -> None:
    needed = distributions({"aioassets.runtime.chunking"})

    assert needed == declared(EXTRAS["deltas"])
