"""The peers, each in an environment of its own that is made once and kept."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

CACHE = user_cache_path("aioassets-benchmarks", appauthor=False)
"""Folder of the environments. Remove it to get newer peers."""


class Unavailable(Exception):
    """Reason why a server, a peer or a store can't be used here."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Tool or library to compare with.

    Attributes:
        name: the name of its distribution on PyPI.
        requirements: the packages to install.
        program: a pattern for the path of its program, if that has a version of its own.
    """

    name: str
    requirements: tuple[str, ...]
    program: str = ""

    @property
    def python(self) -> Path:
        """Return its interpreter.

        Raises:
            Unavailable: it can't be installed.
        """
        return _environment(self) / "bin" / "python"

    def file(self, pattern: str) -> Path:
        """Return a file of its environment.

        Raises:
            Unavailable: it can't be installed, or has no such file.
        """
        for found in _environment(self).glob(pattern):
            return found
        raise Unavailable(f"{self.name} has no file {pattern!r}")

    @property
    def version(self) -> str:
        """Return the installed version, or "not installed"."""
        for program in _folder(self).glob(self.program or "no program"):
            return subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.strip()
        folders = [str(folder) for folder in _folder(self).glob("lib/python*/site-packages")]
        found = importlib.metadata.distributions(name=self.name, path=folders)
        return next((each.version for each in found), "not installed")


S5CMD = Peer("s5cmd", ("s5cmd",), "lib/python*/site-packages/s5cmd/bin/s5cmd")
OBSTORE = Peer("obstore", ("obstore",))
AIOBOTOCORE = Peer("aiobotocore", ("aiobotocore",))
FAST_S3 = Peer("fast-s3", ("fast-s3",))
AWSCLI = Peer("awscli", ("awscli",))
DVC = Peer("dvc", ("dvc[s3]",))
MODELKIT = Peer("modelkit", ("modelkit==0.1.3", "boto3>=1.40"))
PEERS = (S5CMD, OBSTORE, AIOBOTOCORE, FAST_S3, AWSCLI, DVC, MODELKIT)


def _folder(peer: Peer) -> Path:
    return CACHE / f"{peer.name}-{platform.python_version()}"


@functools.cache
def _reason_or_environment(peer: Peer) -> Path | str:
    folder = _folder(peer)
    complete = folder / "complete"
    if complete.is_file() and complete.read_text() == str(peer.requirements):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    print(f"Installing {peer.name}", file=sys.stderr)
    for command in _installing(folder, python, peer):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{peer.name} can't be installed: {(done.stderr.strip() or 'no message from pip').splitlines()[-1]}"
    complete.write_text(str(peer.requirements))
    return folder


def _installing(folder: Path, python: str, peer: Peer) -> Iterator[list[str]]:
    yield [sys.executable, "-m", "venv", str(folder)]
    yield [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements]


def _environment(peer: Peer) -> Path:
    found = _reason_or_environment(peer)
    if isinstance(found, str):
        raise Unavailable(found)
    return found
