"""Names of versions and files for error messages and logs."""

from __future__ import annotations


def version_label(name: str, version: str) -> str:
    """Return the name of a version, such as `model:1.0`."""
    return f"{name}:{version}"


def file_label(name: str, version: str, path: str) -> str:
    """Return the name of a file, such as `model:1.0[weights/w.bin]`, or just `model:1.0` for a file asset."""
    label = version_label(name, version)
    return f"{label}[{path}]" if path else label
