"""What S3's SDK reads of its services. Imports the SDK, so it is itself imported only where that is wanted."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
from collections.abc import MutableMapping
from typing import Any, Final
from weakref import WeakValueDictionary

from botocore.loaders import JSONFileLoader, Loader, create_loader

_SERVICES: Final = frozenset({"s3", "sts", "sso", "portal.sso", "oidc", "signin"})
"""Those that a client for S3 may ask, as the table of endpoints calls them: S3, and where credentials come from."""
_IN_USE: Final[MutableMapping[str | None, Models]] = WeakValueDictionary()


def models(data_path: str | None) -> Models:
    """The models to make a client with; all clients of this process share them while there are any.

    Args:
        data_path: where the SDK's configuration says that further ones are.
    """
    found = _IN_USE.get(data_path)
    if found is None:
        folders = create_loader(data_path).search_paths
        found = _IN_USE[data_path] = Models(extra_search_paths=folders, include_default_search_paths=False)
    return found


class _Files(JSONFileLoader):  # type: ignore[misc]  # the SDK has no types
    """Makes plain dicts, not ordered ones: they take half the time, which holds up all other threads.

    Of the endpoints of 300 services, those of a few are kept: all of them are a fifth of the objects
    in the process, which Python goes over whenever it searches for garbage.
    """

    def load_file(self, file_path: str) -> Any:
        """The content of a file, whose path comes without its ending; `None` where there is none."""
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            with contextlib.suppress(FileNotFoundError), opened(f"{file_path}{ending}", "rb") as file:
                content = json.loads(file.read())
                return _few(content) if os.path.basename(file_path) == "endpoints" else content
        return None


def _few(endpoints: Any) -> Any:
    """What the SDK doesn't know how to read is left for it to refuse."""
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        for partition in endpoints["partitions"]:
            services = partition["services"]
            partition["services"] = {name: services[name] for name in _SERVICES & services.keys()}
    return endpoints


class Models(Loader):  # type: ignore[misc]
    """Takes folders for services without looking for files in all of them, of which there are 400."""

    FILE_LOADER_CLASS = _Files

    def list_available_services(self, type_name: str) -> list[str]:
        """All that may have a model of this kind; whether one has it turns out where it is loaded."""
        return sorted({name for folder in self.search_paths if os.path.isdir(folder) for name in os.listdir(folder)})
