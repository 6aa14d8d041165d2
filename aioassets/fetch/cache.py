"""The assets directory: what is there, and placing more without anybody seeing it half-done.

======================================================  ================================================
`{assets_dir}/{name}/{version}`                         a complete, verified payload
`{assets_dir}/.aioassets/{name}/{version}.json`         its record, written last
`{assets_dir}/.aioassets/{name}/{version}.parts/`       single files of a version that isn't here whole
`{assets_dir}/.aioassets/{name}/{version}.parts.json`   the record of these
`{assets_dir}/.aioassets/{name}/{version}.lock`         held while any of them changes
`{assets_dir}/.aioassets/{name}/{version}.staging/`     what its holder is downloading
======================================================  ================================================

Modes are what the umask leaves; of the source's own, the executable bit alone comes back. A single
file and the same one in the whole version are one file with two names, where the file system can
do that: payloads are for reading.

The directory is its user's: links in it are followed, so whoever else may write to it decides where
assets go. Only what is staged is always made afresh.

Methods block, and are to be run in a thread; they let `OSError` pass.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from aioassets.errors import CacheError, IntegrityError
from aioassets.fetch.download import WRITE, check_digest, digest_of
from aioassets.model.files import FileEntry
from aioassets.model.jsontext import dump_chunks
from aioassets.model.manifest import Manifest
from aioassets.model.paths import inner_folders
from aioassets.runtime.disk import write_atomically
from aioassets.runtime.threads import check_cancelled, coalesced

OURS: Final = ".aioassets"
APART: Final = "use an assets directory on another file system (assets_dir, AIOASSETS_DIR)"
"""What to do where a file system can't keep two paths apart."""

_MANIFEST: Final = b',"manifest":'
"""Where a record's manifest begins; within a string of JSON, there is a backslash before a quotation mark."""
_HEAD: Final = 64 * 1024
"""Bytes of a record that hold what is before its manifest."""
_PARTS: Final = ".parts"
_ASIDE: Final = re.compile(r"\.aside-[0-9a-f]{8}$")
_OF_A_VERSION: Final = re.compile(r"\.(?:parts|staging|aside-[0-9a-f]{8})$")


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a version in the assets directory.

    Attributes:
        source: the identity of the store that it came from.
        manifest: what it consists of.
        label: name and version; empty where that wasn't recorded.
    """

    source: str
    manifest: Manifest
    label: str = field(default="", compare=False)

    def write_to(self, file: BinaryIO) -> None:
        """Write the record as it is stored."""
        head = json.dumps({"source": self.source, "asset": self.label}).encode()
        file.write(head[:-1] + _MANIFEST)
        file.writelines(coalesced(dump_chunks(self.manifest.to_fields())))
        file.write(b"}")

    @classmethod
    def read_from(cls, file: BinaryIO) -> Record:
        """Parse a record; raises `ValueError`."""
        head, _, rest = file.read(_HEAD).partition(_MANIFEST)
        value = json.loads(head + b"}") if rest else None
        if not isinstance(value, dict) or not isinstance(value.get("source"), str):
            raise ValueError("it isn't a record")  # noqa: TRY004 - the type of data, not of an argument
        begin, end = len(head) + len(_MANIFEST), file.seek(0, os.SEEK_END) - 1
        file.seek(begin)
        return cls(
            value["source"], Manifest.from_json(file.read(end - begin), check_cancelled), str(value.get("asset", ""))
        )


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Where one version is kept, or would be.

    Attributes:
        assets_dir: the assets directory.
        name: the asset.
        version: the version.
    """

    assets_dir: Path
    name: str
    version: str

    @property
    def payload(self) -> Path:
        """The version itself, complete or absent."""
        return self.assets_dir / self.name / self.version

    @property
    def parts(self) -> Path:
        """Single files of the version."""
        return self._own(".parts")

    @property
    def staging(self) -> Path:
        """What is being downloaded."""
        return self._own(".staging")

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.name}:{self.version}"

    def _own(self, suffix: str) -> Path:
        return self.assets_dir / OURS / self.name / f"{self.version}{suffix}"

    # Looking up

    def record(self) -> Record | None:
        """The record of the complete version, if there is one."""
        record = self._load(".json")  # first, since asking whether something exists may hide a refusal
        return record if record is not None and self.payload.exists() else None

    def parts_record(self) -> Record | None:
        """The record of its single files, if there is one."""
        return self._load(".parts.json")

    def _load(self, suffix: str) -> Record | None:
        try:
            with self._own(suffix).open("rb") as file:
                found = Record.read_from(file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        if found.label not in ("", self.label):
            raise CacheError(
                str(self.payload), f"its file system takes {found.label} and {self.label} for one; {APART}"
            )
        return found

    def has_parts(self, entries: Iterable[FileEntry], folders: Iterable[str]) -> bool:
        """Whether each of these files was fetched and verified before, and each folder made."""
        files = all(_is_file_of(self.parts / entry.path, entry) for entry in entries)
        return files and all((self.parts / folder).is_dir() for folder in folders)

    # Locking

    def try_lock(self) -> int | None:
        """Take the version's lock: a descriptor for `unlock`, or `None` where somebody holds it."""
        path = self._own(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_file_at(descriptor, path):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # it was removed between the two by whoever held it

    def unlock(self, descriptor: int) -> None:
        """Give the lock back, and leave no file behind."""
        with contextlib.suppress(OSError):
            os.unlink(self._own(".lock"))
        os.close(descriptor)

    # Staging and placing; the lock is held

    def clear_staging(self) -> None:
        """Remove what is staged; a link there isn't ours, and not followed."""
        if self.staging.is_symlink():
            self.staging.unlink()
        elif self.staging.exists():
            shutil.rmtree(self.staging)

    def prepare_staging(self, folders: Iterable[Path]) -> None:
        """Begin an empty staging folder with these folders inside."""
        self.clear_staging()
        self.staging.mkdir(parents=True)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

    def reuse(self, entry: FileEntry, target: Path) -> bool:
        """Take a file that was fetched and verified as a single one of this very version, if there is such."""
        known = self.parts / entry.path
        if not _is_file_of(known, entry):
            return False
        _link_or_copy(known, target)
        return True

    def check_apart(self, staged: Path, entries: Iterable[FileEntry], manifest: Manifest) -> None:
        """See that only these files are staged, so that none will be taken for another one of the version.

        Raises:
            FileExistsError: by another path of the version, one of them is there as well.
        """
        staged_paths = {entry.path for entry in entries}
        for entry in manifest.files:
            if entry.path not in staged_paths and os.path.lexists(target := f"{staged}/{entry.path}"):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)

    def one_path(self, error: OSError, manifest: Manifest) -> CacheError | None:
        """What to raise where a file was in the way because its path and another one are the same here.

        The file system found that out; here it is only looked which two they are. `None` where
        there is another reason.
        """
        name = os.fspath(error.filename or "")
        root = next((root for root in (self.staging / "payload", self.parts) if name.startswith(f"{root}/")), None)
        if root is None:
            return None
        path = name[len(f"{root}/") :]
        known = manifest.table.paths
        for other in (*known, *manifest.empty_directories, *inner_folders(known, manifest.empty_directories)):
            if other != path and _folded(other) == _folded(path):
                both = " and ".join(map(repr, sorted((other, path))))
                return CacheError(
                    str(self.assets_dir), f"its file system takes {both} of {self.label} for one path; {APART}"
                )
        return None

    def differing(self, staged: Path, record: Record) -> list[FileEntry] | None:
        """The files of the version that aren't what is staged; `None` where something else is there, or nothing."""
        known = self.record()
        if known is None or known.manifest != record.manifest:
            return None
        return [
            entry for entry in record.manifest.files if not _same_file(staged / entry.path, self.payload / entry.path)
        ]

    def place(self, staged: Path, record: Record, differing: Iterable[FileEntry] | None) -> None:
        """Make what is staged the version.

        Args:
            differing: where the version is there already, the only files to replace; nothing is
                removed that others may be reading. `None` puts whatever is there aside, as a whole.
        """
        written = self.staging / "record"
        with written.open("wb") as file:
            record.write_to(file)  # before anything is placed: the disk may be full
        if differing is None:
            self._own(".json").unlink(missing_ok=True)  # lest a crash leaves it beside another payload
            if self.payload.exists():
                self.set_aside(self.payload)
            self.payload.parent.mkdir(parents=True, exist_ok=True)
            os.rename(staged, self.payload)
        else:
            self._replace(staged, record.manifest, differing)
        os.replace(written, self._own(".json"))

    def _replace(self, staged: Path, manifest: Manifest, differing: Iterable[FileEntry]) -> None:
        for folder in manifest.empty_directories:
            (self.payload / folder).mkdir(parents=True, exist_ok=True)
        for entry in differing:
            target = self.payload / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / entry.path, target)

    def place_parts(self, staged: Path, entries: Iterable[FileEntry], folders: Iterable[str], record: Record) -> None:
        """Make staged files available as single ones, apart from those of any other version of this name."""
        if self.parts.exists() and self.parts_record() != record:
            self.set_aside(self.parts)
        write_atomically(self._own(".parts.json"), record.write_to)
        for folder in folders:
            (self.parts / folder).mkdir(parents=True, exist_ok=True)
        for entry in entries:
            target = self.parts / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / entry.path, target)

    def write_record(self, record: Record) -> None:
        """Declare the payload complete."""
        write_atomically(self._own(".json"), record.write_to)

    def set_aside(self, path: Path) -> None:
        """Move files of another content out of the way, keeping them."""
        aside = self._own(f".aside-{secrets.token_hex(4)}")
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(path, aside)

    # Verifying

    def verify(self, manifest: Manifest) -> None:
        """Hash the payload.

        Raises:
            IntegrityError: a file is missing or isn't the one that was pushed.
        """
        for entry in manifest.files:
            verify_file(self.payload / entry.path, entry, self.what(entry))

    def verify_parts(self, entries: Iterable[FileEntry]) -> None:
        """Hash single files; raises as `verify`."""
        for entry in entries:
            verify_file(self.parts / entry.path, entry, self.what(entry))

    def what(self, entry: FileEntry) -> str:
        """What errors call a file."""
        return f"{self.label}[{entry.path}]" if entry.path else self.label

    def holds_exactly(self, manifest: Manifest) -> bool:
        """Whether a payload without a record is what a manifest with digests describes."""
        if not manifest.verifiable or self.payload.is_dir() != manifest.is_directory:
            return False
        try:
            self.verify(manifest)
        except (IntegrityError, OSError):
            return False
        if not manifest.is_directory:
            return True
        found = {
            str((Path(base) / name).relative_to(self.payload))
            for base, _, names in os.walk(self.payload)
            for name in names
        }
        folders = all((self.payload / folder).is_dir() for folder in manifest.empty_directories)
        return folders and found == set(manifest.table.paths)


def verify_file(path: Path, entry: FileEntry, what: str) -> None:
    """Compare a file's size and SHA-256 with what a manifest records, as far as it does."""
    try:
        size = path.stat().st_size
        if entry.size is not None and size != entry.size:
            raise IntegrityError(what, f"{entry.size} bytes", str(size))
        check_digest(what, entry, digest_of(path, entry))
    except FileNotFoundError:
        raise IntegrityError(what, f"{entry.size} bytes", "nothing") from None


def cached_versions(assets_dir: Path, name: str) -> list[str]:
    """The versions of an asset that are here complete, in no order."""
    return [
        version
        for version in _recorded(assets_dir, name, ".json")
        if not version.endswith(_PARTS) and (assets_dir / name / version).exists()
    ]


def partly_cached_versions(assets_dir: Path, name: str) -> list[str]:
    """The versions of an asset that single files are here of, in no order."""
    return _recorded(assets_dir, name, f"{_PARTS}.json")


def _recorded(assets_dir: Path, name: str, ending: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(assets_dir / OURS / name) as entries:
        return [entry.name.removesuffix(ending) for entry in entries if entry.name.endswith(ending)]
    return []


def stale_entries(assets_dir: Path, name: str | None, is_version: Callable[[str], bool]) -> list[CacheEntry]:
    """The versions whose download has died: something is staged, or a lock file is there, that nobody holds."""
    found = {
        CacheEntry(assets_dir, asset, entry.removesuffix(ending))
        for asset, entry in _own_entries(assets_dir, name)
        for ending in (".lock", ".staging")
        if entry.endswith(ending) and is_version(entry.removesuffix(ending))  # not an asset that is called so
    }
    return sorted((slot for slot in found if _is_stale(slot)), key=lambda slot: (slot.name, slot.version))


def untidy_files(assets_dir: Path, name: str | None) -> list[tuple[Path, bool]]:
    """Temporary files (true), and what was set aside (false)."""
    ours = assets_dir / OURS
    found = [(ours / asset / entry, entry.endswith(".tmp")) for asset, entry in _own_entries(assets_dir, name)]
    return sorted((path, temporary) for path, temporary in found if temporary or _ASIDE.search(path.name))


def _own_entries(assets_dir: Path, name: str | None) -> Iterator[tuple[str, str]]:
    """The files and folders of our own, by asset; what is in the folders of versions isn't looked at."""
    ours = assets_dir / OURS
    for base, folders, files in os.walk(ours if name is None else ours / name):
        asset = str(Path(base).relative_to(ours))
        yield from ((asset, entry) for entry in (*files, *folders))
        inner = () if name is not None else (folder for folder in folders if not _OF_A_VERSION.search(folder))
        folders[:] = inner


def _is_stale(slot: CacheEntry) -> bool:
    try:
        descriptor = slot.try_lock()
    except OSError:  # it may not be written, so nothing of it can be removed
        return False
    if descriptor is None:
        return False
    slot.unlock(descriptor)
    return True


def _same_file(new: Path, old: Path) -> bool:
    """Whether a file has the bytes and the executable bit of another one."""
    try:
        same_bit = not (new.stat().st_mode ^ old.stat().st_mode) & stat.S_IXUSR
    except FileNotFoundError:
        return False
    return same_bit and old.is_file() and _same_bytes(new, old)


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as these, other.open("rb") as those:
        while data := these.read(WRITE):
            check_cancelled()
            if those.read(WRITE) != data:
                return False
        return not those.read(1)


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _is_file_of(path: Path, entry: FileEntry) -> bool:
    try:
        return path.is_file() and entry.size in (None, path.stat().st_size)
    except OSError:
        return False


def _folded(path: str) -> str:
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:
        if os.path.lexists(target):  # where links aren't known, that is refused before it is seen
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        shutil.copy2(source, target)
