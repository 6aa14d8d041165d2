"""Implementations of the commands that list and read the files of a version."""

from __future__ import annotations

import itertools
import sys
from typing import Final

from aioassets.cli.descriptions import FILE_TITLES, directory_row, file_json, file_row
from aioassets.cli.display import progress_display
from aioassets.cli.options import StoreOptions
from aioassets.cli.output import echo_err, echo_json, is_terminal, write_content
from aioassets.cli.tables import print_rows
from aioassets.errors import IntegrityError
from aioassets.read.file import AssetFile
from aioassets.runtime.threads import in_thread

WRITTEN: Final = 1024 * 1024
"""Number of bytes to write at a time."""


async def ls(spec: str, store: StoreOptions, *, offline: bool | None, as_json: bool) -> None:
    """List the files of a version."""
    async with store.manager() as manager, progress_display(f"Reading {spec}"):
        found = await manager.list_files(spec, offline=offline)
    if as_json:
        document = {
            "name": found.name,
            "version": found.version,
            "part": found.part,
            "is_directory": found.is_directory,
            "size": found.size,
            "entries": [file_json(file) for file in found.files],
            "empty_directories": list(found.empty_directories),
        }
        echo_json(document, is_listing=True)
        return
    for_people = is_terminal(sys.stdout)
    files = (file_row(file, for_people=for_people) for file in found.files)
    print_rows(FILE_TITLES, itertools.chain(files, map(directory_row, found.empty_directories)))


async def cat(spec: str, store: StoreOptions, *, offline: bool | None) -> None:
    """Write the content of a file to standard output."""
    async with store.manager() as manager, manager.open(spec, offline=offline) as file:
        try:
            is_complete = await _copy(file)
        except IntegrityError:
            if await file.tell():
                echo_err("The output is incomplete or damaged. Discard it.")
            raise
        if is_complete and not file.verified:
            echo_err(f"{spec} was not verified: the manifest has no digest of it that aioassets supports.")


async def _copy(file: AssetFile) -> bool:
    """Copy a file to standard output, and return whether all of it could be written."""
    while data := await file.read(WRITTEN):
        if not await in_thread(write_content, data):
            return False
    return True
