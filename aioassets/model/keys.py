"""Key strings, and nothing else: where things stand in a store."""

from __future__ import annotations

from dataclasses import dataclass

MAX_KEY_BYTES = 1024
"""The longest key, in UTF-8: the limit of S3, GCS and Azure alike."""
MAX_SEGMENT_BYTES = 255
"""The longest segment of a path, in UTF-8: the limit of nearly every file system."""

_META = ".meta"
_VERSIONS = ".versions"


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of assets below one prefix, as modelkit lays them out.

    Attributes:
        prefix: without outer slashes; may be empty.
    """

    prefix: str

    @property
    def root(self) -> str:
        """What every key begins with."""
        return f"{self.prefix}/" if self.prefix else ""

    def versions(self, name: str) -> str:
        """The index of an asset's versions."""
        return f"{self.root}{name}{_VERSIONS}"

    def meta(self, name: str, version: str) -> str:
        """The claim, later the manifest, of one version."""
        return f"{self.root}{name}/{version}{_META}"

    def content(self, name: str, version: str, path: str = "") -> str:
        """The bytes of a file asset, or of one file of a directory asset."""
        return f"{self.root}{name}/{version}/{path}" if path else f"{self.root}{name}/{version}"

    def folder(self, name: str) -> str:
        """What the keys of all versions of an asset begin with."""
        return f"{self.root}{name}/"

    def scratch(self, token: str = "") -> str:
        """A key for trying the store out; without a token, what all of them begin with."""
        return f"{self.root}.aioassets-probe/{token}"

    def asset_of(self, key: str) -> str | None:
        """The asset whose index this key is, if it is one."""
        if not (key.startswith(self.root) and key.endswith(_VERSIONS)):
            return None
        return key[len(self.root) : -len(_VERSIONS)] or None

    def version_of(self, name: str, key: str) -> str | None:
        """The version that a key (or common prefix) of the asset's folder belongs to."""
        return self.version_in(self.folder(name), key)

    def version_in(self, folder: str, key: str) -> str | None:
        """The segment behind a folder, as a version would be named there."""
        return key[len(folder) :].partition("/")[0].removesuffix(_META) or None
