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
    """Makes plain dicts, not ordered ones: they take half the time, which holds up all other threads."""

    def load_file(self, file_path: str) -> Any:
        """The content of a file, whose path comes without its ending; `None` where there is none."""
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            with contextlib.suppress(FileNotFoundError), opened(f"{file_path}{ending}", "rb") as file:
                return json.loads(file.read())
        return None


class Models(Loader):  # type: ignore[misc]
    """Takes folders for services without looking for files in all of them, of which there are 400."""

    FILE_LOADER_CLASS = _Files

    def list_available_services(self, type_name: str) -> list[str]:
        """All that may have a model of this kind; whether one has it turns out where it is loaded."""
        return sorted({name for folder in self.search_paths if os.path.isdir(folder) for name in os.listdir(folder)})
