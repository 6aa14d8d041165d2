"""Versioned assets on object stores: asyncio-native, and without a server to run."""

from __future__ import annotations

from importlib import import_module

from aioassets._version import __version__ as __version__

TYPE_CHECKING = False  # known to type checkers; importing `typing` takes a tenth of the time of `aioassets --help`
if TYPE_CHECKING:
    from typing import Any

    from aioassets.drivers.azure.driver import *
    from aioassets.drivers.gcs.driver import *
    from aioassets.drivers.local import *
    from aioassets.drivers.memory import *
    from aioassets.drivers.protocol import *
    from aioassets.drivers.s3.driver import *
    from aioassets.errors import *
    from aioassets.fetch.cache import *
    from aioassets.fetch.fetched import *
    from aioassets.fetch.inventory import *
    from aioassets.fetch.pruning import *
    from aioassets.fetch.verify import *
    from aioassets.manager import *
    from aioassets.model.aliases import *
    from aioassets.model.description import *
    from aioassets.model.diff import *
    from aioassets.model.files import *
    from aioassets.model.leftovers import *
    from aioassets.model.manifest import *
    from aioassets.model.marks import *
    from aioassets.model.names import *
    from aioassets.model.origin import *
    from aioassets.model.pusher import *
    from aioassets.model.retention import *
    from aioassets.model.versioning import *
    from aioassets.model.withdrawals import *
    from aioassets.progress import *
    from aioassets.push.accepted import *
    from aioassets.push.copy import *
    from aioassets.push.plan import *
    from aioassets.read.file import *
    from aioassets.read.listing import *
    from aioassets.runtime.budget import *
    from aioassets.runtime.dispatch import *
    from aioassets.runtime.retry import *
    from aioassets.settings import *

_MODULES = (
    "aioassets.errors",
    "aioassets.progress",
    "aioassets.manager",
    "aioassets.fetch.cache",
    "aioassets.fetch.fetched",
    "aioassets.fetch.inventory",
    "aioassets.fetch.pruning",
    "aioassets.fetch.verify",
    "aioassets.model.aliases",
    "aioassets.model.description",
    "aioassets.model.diff",
    "aioassets.model.files",
    "aioassets.model.leftovers",
    "aioassets.model.manifest",
    "aioassets.model.marks",
    "aioassets.model.names",
    "aioassets.model.origin",
    "aioassets.model.pusher",
    "aioassets.model.retention",
    "aioassets.model.versioning",
    "aioassets.model.withdrawals",
    "aioassets.push.accepted",
    "aioassets.push.copy",
    "aioassets.push.plan",
    "aioassets.read.file",
    "aioassets.read.listing",
    "aioassets.runtime.budget",
    "aioassets.runtime.dispatch",
    "aioassets.runtime.retry",
    "aioassets.settings",
    "aioassets.drivers.azure.driver",
    "aioassets.drivers.gcs.driver",
    "aioassets.drivers.local",
    "aioassets.drivers.memory",
    "aioassets.drivers.protocol",
    "aioassets.drivers.s3.driver",
)
"""Modules whose `__all__` this package exports, the most frequently used first."""


def __getattr__(name: str) -> Any:
    # Modules are imported on first use, so that `aioassets --help` and `import aioassets` stay fast.
    if name == "__all__":
        value: Any = ["__version__", *sorted(public for module in _MODULES for public in import_module(module).__all__)]
    elif name.startswith("__") or (module := _home_of(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    else:
        value = getattr(module, name)
    globals()[name] = value
    return value


def _home_of(name: str) -> Any:
    modules = map(import_module, _MODULES)
    return next((module for module in modules if name in module.__all__), None)


def __dir__() -> list[str]:
    return list(__getattr__("__all__"))
