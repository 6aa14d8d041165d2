"""File systems for single tests: full or read-only ones, those with layers or reflinks, and one with whole seconds."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PAGE = 4096
MEBIBYTE = 1024 * 1024


class SmallDisk:
    """Real file system of a few MiB, kept in memory.

    Attributes:
        path: its path in this process and its children.
        size: in bytes.
    """

    def __init__(self, shell: subprocess.Popen[str], mounted_at: Path, size: int) -> None:
        self._shell = shell
        self._mounted_at = mounted_at
        self._filler = Path(f"/proc/{shell.pid}/root{mounted_at}/filler")
        self.path = self._filler.parent
        self.size = size

    @property
    def free(self) -> int:
        """Return the number of free bytes."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, *, leaving: int = 0) -> None:
        """Fill the file system except for this many bytes. This blocks."""
        with open(self._filler, "ab", buffering=0) as filler, contextlib.suppress(OSError):
            while self.free > leaving:
                filler.write(bytes(PAGE))

    def take_all_files(self) -> None:
        """Take all inodes, so that there is room for bytes but not for another file or folder. This blocks."""
        self._filler.touch()
        with contextlib.suppress(OSError):
            for number in itertools.count():
                self._filler.with_name(f"filler{number}").touch()

    def give_back(self) -> None:
        """Free the space and inodes that were taken. This blocks."""
        for filler in self.path.glob("filler*"):
            filler.unlink()

    def make_read_only(self) -> None:
        """Make the file system read-only."""
        assert _told(self._shell, f"mount -o remount,ro '{self._mounted_at}'")

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, at: Path, *, size: int, files: int = 1000) -> Iterator[SmallDisk | None]:
        """Mount a file system in a namespace that ends with its process. Yield `None` if that isn't permitted."""
        at.mkdir()
        with _mounted(f"mount -t tmpfs -o size={size},nr_inodes={files},mode=777 tmpfs '{at}'") as shell:
            yield None if shell is None else cls(shell, at, size)


class Layers:
    """Real overlayfs over a lower layer, as of a container image.

    Attributes:
        lower: the lower layer, to be filled before `mount`.
        merged: the file system, after that.
    """

    def __init__(self, shell: subprocess.Popen[str], at: Path) -> None:
        self._shell = shell
        self._at = at
        root = Path(f"/proc/{shell.pid}/root{at}")
        self.lower, self.merged = root / "lower", root / "merged"

    def mount(self) -> bool:
        """Mount the file system. Return whether that is permitted."""
        layers = ",".join(f"{name}dir={self._at}/{name}" for name in ("lower", "upper", "work"))
        options = (layers, f"{layers},userxattr")
        return any(_told(self._shell, f"mount -t overlay -o {each} overlay '{self._at}/merged'") for each in options)

    @classmethod
    @contextlib.contextmanager
    def prepared(cls, at: Path, *, as_root: bool) -> Iterator[Layers | None]:
        """Make the layers in a namespace that ends with its process. Yield `None` if that isn't permitted.

        Args:
            at: where to mount them.
            as_root: whether to use root's privileges, without which overlayfs can rename fewer folders.
        """
        at.mkdir()
        folders = " ".join(f"'{at}/{name}'" for name in ("lower", "upper", "work", "merged"))
        with _mounted(
            f"mount -t tmpfs -o mode=777 tmpfs '{at}' && mkdir {folders}", flags=("-m",) if as_root else ("-rm",)
        ) as shell:
            yield None if shell is None else cls(shell, at)


@contextlib.contextmanager
def whole_seconds(folder: Path, *, size: int = 512 * MEBIBYTE) -> Iterator[Path | None]:
    """Mount an ext4 whose inodes of 128 bytes store whole seconds only. Yield `None` if that isn't permitted.

    It requires root and a loop device.
    """
    with _formatted(folder, size, "mkfs.ext4", "-q", "-I", "128") as mounted:
        yield mounted


@contextlib.contextmanager
def with_reflinks(folder: Path, *, size: int = 128 * MEBIBYTE) -> Iterator[Path | None]:
    """Mount a Btrfs, whose files can share blocks. Yield `None` if that isn't permitted.

    It requires root and a loop device.
    """
    with _formatted(folder, size, "mkfs.btrfs", "-q", "--mixed") as mounted:
        yield mounted


@contextlib.contextmanager
def _formatted(folder: Path, size: int, *command: str) -> Iterator[Path | None]:
    image, at = folder / "image", folder / "mounted"
    at.mkdir()
    with open(image, "wb") as file:
        file.truncate(size)
    try:
        subprocess.run([*command, image], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    with _mounted(f"mount -o loop '{image}' '{at}'") as shell:
        yield None if shell is None else Path(f"/proc/{shell.pid}/root{at}")


@contextlib.contextmanager
def _mounted(command: str, flags: Sequence[str] = ("-rm", "-m")) -> Iterator[subprocess.Popen[str] | None]:
    """Start a shell in its own namespace with the mount. It requires user namespaces or root."""
    for flag in flags:
        shell = subprocess.Popen(
            ["unshare", flag, "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with shell:
            if _told(shell, command):
                yield shell
                return
    yield None


def _told(shell: subprocess.Popen[str], command: str) -> bool:
    """Run a command in a shell. Return whether it succeeded."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        shell.stdin.write(f"{command} && echo done || echo failed\n")
        shell.stdin.flush()
    return shell.stdout.readline() == "done\n"
