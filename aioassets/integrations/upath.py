"""Paths of the filesystem `aioassets://` for universal-pathlib, which finds this module by an entry point."""

from __future__ import annotations

from upath import UPath


class AssetUPath(UPath):
    """A path such as `UPath("aioassets://team/model:1.2/config.json", bucket="s3://models")`, which is read-only."""

    __slots__ = ()
