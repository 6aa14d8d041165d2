"""Names of versions and files in errors and logs."""

from __future__ import annotations


def version_label(name: str, version: str) -> str:
    """Return the name of a version, such as `model:1.0`."""
    return f"{name}:{version}"


def file_label(name: str, version: str, path: str) -> str:
    """Return the name of a file, such as `model:1.0[weights/w.bin]`. For a file asset, it is that of the version."""
    label = version_label(name, version)
    return f"{label}[{path}]" if path else label
