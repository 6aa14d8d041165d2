"""The targets of aliases when they were last looked up, kept in the assets directory for offline use.

Each alias has a small file next to the records of its asset. Its modification time is the time of the lookup, so a
lookup that finds the same target again only touches the file. A file that is missing, damaged or not writable makes
an alias unknown offline, and has no other effect.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from aioassets.fetch.directory import ALIAS, OWN_FOLDER
from aioassets.model.jsontext import dump, load
from aioassets.model.names import version_problem
from aioassets.runtime.clocks import utc
from aioassets.runtime.disk import READING, reason, write_atomically

logger = logging.getLogger(__name__)

MAX_SIZE: Final = 64 * 1024
"""Maximum number of bytes to read from a file. The identity of a store is its longest field."""


@dataclass(frozen=True, slots=True)
class LastTarget:
    """The target of an alias when it was last looked up.

    Attributes:
        version: the version.
        source: the identity of the store.
        date: the time of the lookup, in UTC.
    """

    version: str
    source: str
    date: datetime

    def __str__(self) -> str:
        return f"pointed at {self.version} when it was last looked up, on {self.date:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class RememberedAlias:
    """The file for one alias from one store in the assets directory. Methods block.

    Attributes:
        root: the folder of the store.
        name: the asset's name.
        alias: the alias.
    """

    root: Path
    name: str
    alias: str

    @property
    def path(self) -> Path:
        """The file. A version has no `@`, so it can't be confused with the files of a version."""
        return self.root / OWN_FOLDER / self.name / f"@{self.alias}{ALIAS}"

    def load(self) -> LastTarget | None:
        """Return the last known target, or `None` if it is unknown."""
        try:
            descriptor = os.open(self.path, READING)
            with open(descriptor, "rb") as file:
                target = self._parse(file.read(MAX_SIZE))
                return LastTarget(*target, utc(os.fstat(descriptor).st_mtime))
        except (OSError, ValueError):
            return None

    def save(self, version: str, source: str) -> None:
        """Record the target that was just looked up, if the directory is writable."""
        try:
            known = self.load()
            if known is not None and (known.version, known.source) == (version, source):
                os.utime(self.path)
                return
            value = {"source": source, "asset": self.name, "alias": self.alias, "version": version}
            write_atomically(self.path, lambda file: file.write(dump(value)))
        except OSError as error:
            logger.debug("Cannot remember %s@%s in %r: %s", self.name, self.alias, str(self.path), reason(error))

    def clear(self) -> None:
        """Forget an alias that doesn't exist any more, if the directory is writable."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _parse(self, data: bytes) -> tuple[str, str]:
        """Return the version and source in a file, or raise `ValueError`. A file system may fold the names of files."""
        value = load(data)
        if (value.get("asset"), value.get("alias")) != (self.name, self.alias):
            raise ValueError("it describes something else")
        version, source = value.get("version"), value.get("source")
        if not (isinstance(version, str) and isinstance(source, str)) or version_problem(version) is not None:
            raise ValueError("it has no valid version and source")
        return version, source
