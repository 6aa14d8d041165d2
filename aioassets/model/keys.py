"""Object keys in a store."""

from __future__ import annotations

from dataclasses import dataclass

MAX_KEY_BYTES = 1024
"""Maximum length of a key in UTF-8 bytes, on S3, GCS and Azure alike."""
MAX_SEGMENT_BYTES = 255
"""Maximum length of a path segment in UTF-8 bytes, on nearly every file system."""

_META = ".meta"
_VERSIONS = ".versions"
_ALIASES = ".aliases"
_CHUNKS = ".chunks"


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys of the assets under one prefix, in modelkit's layout.

    Attributes:
        prefix: the prefix, without leading or trailing slashes; may be empty.
    """

    prefix: str

    @property
    def root(self) -> str:
        """The common prefix of all keys."""
        return f"{self.prefix}/" if self.prefix else ""

    def versions(self, name: str) -> str:
        """Return the key of an asset's index."""
        return f"{self.root}{name}{_VERSIONS}"

    def aliases(self, name: str) -> str:
        """Return the key of an asset's aliases."""
        return f"{self.root}{name}{_ALIASES}"

    def meta(self, name: str, version: str) -> str:
        """Return the key of a version's `.meta`, which holds its claim and later its manifest."""
        return f"{self.root}{name}/{version}{_META}"

    def content(self, name: str, version: str, path: str = "") -> str:
        """Return the key of a file asset's content, or of one file in a directory asset."""
        return f"{self.root}{name}/{version}/{path}" if path else f"{self.root}{name}/{version}"

    def chunks(self, name: str, version: str) -> str:
        """Return the key of a version's `.chunks`, which lists the chunks of its large files."""
        return f"{self.root}{name}/{version}{_CHUNKS}"

    def folder(self, name: str) -> str:
        """Return the common prefix of the keys of all versions of an asset."""
        return f"{self.root}{name}/"

    def scratch(self, token: str = "") -> str:
        """Return the key of a scratch object, or the common prefix of all scratch objects if no token is given."""
        return f"{self.root}.aioassets-probe/{token}"

    def asset_of(self, key: str) -> str | None:
        """Return the name of the asset whose index has this key, or `None` if the key isn't that of an index."""
        if not (key.startswith(self.root) and key.endswith(_VERSIONS)):
            return None
        return key[len(self.root) : -len(_VERSIONS)] or None

    def version_in(self, folder: str, key: str) -> str | None:
        """Return the version that a key or common prefix in a folder seems to belong to, or `None` if there is none."""
        return version_of(key[len(folder) :].partition("/")[0]) or None


def version_of(segment: str) -> str:
    """Return the version that the first segment of a key after the asset's name belongs to."""
    return segment.removesuffix(_META).removesuffix(_CHUNKS)
