"""Data, servers with and without delay, and a new place for each run."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import pytest

from benchmarks.peers import CACHE, Unavailable

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from tools.servers import (
    ACCESS_KEY,
    AZURITE_ACCOUNT,
    AZURITE_KEY,
    SECRET_KEY,
    AzureServer,
    GCSServer,
    start_azurite,
    start_gcs,
    start_seaweedfs,
)

T = TypeVar("T")

REGION: Final = "us-east-1"
PREFIXES: Final = (
    "AIOASSETS_",
    "AWS_",
    "AZURE_",
    "DVC_",
    "GOOGLE_",
    "MODELKIT_",
    "PYTHONDONTWRITEBYTECODE",
    "S3_",
    "STORAGE_",
)
"""Prefixes of environment variables that only this module sets."""
BLOCK: Final = 1024 * 1024
COPIES: Final = 4
"""Copies of the data that need disk space: the source, stored and fetched data, and a peer's cache."""


@dataclass(frozen=True, slots=True)
class Data:
    """Files of random bytes.

    Attributes:
        files: how many; a single file is pushed as a file, several as a folder.
        size: bytes of each.
        per_folder: files in each folder.
    """

    files: int
    size: int
    per_folder: int = 100

    @property
    def total(self) -> int:
        """Return the bytes of all files."""
        return self.files * self.size

    def scaled(self, factor: float) -> Data:
        """Return fewer files, or a smaller one."""
        if self.files == 1:
            return replace(self, size=max(1, round(self.size * factor)))
        return replace(self, files=max(2, round(self.files * factor)))

    def __str__(self) -> str:
        return f"{self.files:,} x {_readable(self.size)}"


def _readable(size: int) -> str:
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} B"


@dataclass(frozen=True, slots=True)
class Place:
    """Place of one run.

    Attributes:
        folder: a new folder.
        bucket: the URL of an empty bucket, or an empty folder.
        environ: the environment variables of its processes.
    """

    folder: Path
    bucket: str
    environ: dict[str, str]


class Rig:
    """Maker of data and places below one folder. It starts servers when they are first needed.

    Args:
        folder: the folder of the store and all other data; it needs space for several times the data.
        memory: a folder in memory for many small files, if there is one. On a disk, making them may take longer than
            the requests, above all if many were removed just before.
        stack: stops the servers.
    """

    def __init__(self, folder: Path, memory: Path | None, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._memory = memory
        self._stack = stack
        self._numbers = itertools.count()
        self._relays: dict[tuple[float, int | None], str] = {}

    def data(self, data: Data) -> Path:
        """Return the file or folder with the data."""
        path = self._root(data) / f"data-{data.files}-{data.size}-{data.per_folder}"
        if path.exists():
            return path
        if shutil.disk_usage(self._folder).free < COPIES * data.total:
            raise Unavailable(f"there is no room for {data}, and its copies")
        dice = random.Random(0)
        if data.files == 1:
            _write(path, data.size, dice)
        for number in range(data.files if data.files > 1 else 0):
            folder, name = divmod(number, data.per_folder)
            file = path / f"{folder:04}" / f"{name:04}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, data.size, dice)
        return path

    @contextlib.contextmanager
    def local_place(self) -> Iterator[Place]:
        """Return a place with a local store on the disk."""
        with self._own_folder(self._folder) as folder:
            store = folder / "store"
            store.mkdir()
            yield Place(folder, str(store), _environ(folder))

    @contextlib.contextmanager
    def s3_place(self, data: Data, round_trip: float, rate: int | None) -> Iterator[Place]:
        """Return a place for this data, with a bucket that is this many milliseconds away, at a bandwidth in MB/s.

        Raises:
            Unavailable: there is no server, or no relay.
        """
        endpoint = self._endpoint(round_trip, rate)
        with self._own_folder(self._root(data)) as folder:
            bucket = f"bench-{folder.name}"
            self._client.create_bucket(Bucket=bucket)
            self._client.put_object(Bucket=bucket, Key="first-write", Body=b"data")  # allocates volumes
            try:
                yield Place(folder, f"s3://{bucket}", {**_environ(folder), **_reaching(endpoint)})
            finally:
                self._client.delete_bucket(Bucket=bucket)  # SeaweedFS removes it with its objects

    @contextlib.contextmanager
    def azure_place(self, data: Data) -> Iterator[Place]:
        """Return a place for this data, with a container on Azurite.

        Raises:
            Unavailable: there is no server.
        """
        server = self._azurite
        with self._own_folder(self._root(data)) as folder:
            variables = {
                "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
                "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
                "AZURE_STORAGE_CONNECTION_STRING": server.options["connection_string"],
                "AZURE_STORAGE_ENDPOINT": server.account_url,
            }
            yield Place(folder, f"az://{server.fresh_container()}", {**_environ(folder), **variables})

    @contextlib.contextmanager
    def gcs_place(self, data: Data) -> Iterator[Place]:
        """Return a place for this data, with a bucket on the test server of Google's API.

        Raises:
            Unavailable: there is no server.
        """
        server = self._gcs
        with self._own_folder(self._root(data)) as folder:
            variables = {"STORAGE_EMULATOR_HOST": server.api_root}
            yield Place(folder, f"gs://{server.fresh_bucket()}", {**_environ(folder), **variables})

    def _root(self, data: Data) -> Path:
        if self._memory is None or data.files == 1 or shutil.disk_usage(self._memory).free < COPIES * data.total:
            return self._folder
        return self._memory

    @contextlib.contextmanager
    def _own_folder(self, root: Path) -> Iterator[Path]:
        folder = root / f"run-{next(self._numbers)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    @cached_property
    def _server(self) -> str:
        return str(self._started("seaweedfs", start_seaweedfs).endpoint_url)

    @cached_property
    def _azurite(self) -> AzureServer:
        return self._started("azurite", start_azurite)

    @cached_property
    def _gcs(self) -> GCSServer:
        return self._started("gcs", start_gcs)

    def _started(self, name: str, start: Callable[[Path], contextlib.AbstractContextManager[T]]) -> T:
        directory = self._folder / name
        directory.mkdir(exist_ok=True)
        try:
            return self._stack.enter_context(start(directory))
        except pytest.skip.Exception as reason:
            raise Unavailable(str(reason)) from None

    @cached_property
    def _client(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - only where a server is used
        from botocore.session import get_session  # noqa: PLC0415

        return get_session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self._server,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}, read_timeout=600, retries={"total_max_attempts": 1}),
        )

    def _endpoint(self, round_trip: float, rate: int | None) -> str:
        if not round_trip and not rate:
            return self._server
        if (round_trip, rate) not in self._relays:
            port = urlsplit(self._server).port
            command = [str(_relay()), str(port), str(round_trip / 2), *([str(rate)] if rate else [])]
            relay = self._stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            self._stack.callback(relay.kill)
            assert relay.stdout is not None  # noqa: S101
            self._relays[round_trip, rate] = f"http://127.0.0.1:{int(relay.stdout.readline())}"
        return self._relays[round_trip, rate]


def _write(path: Path, size: int, dice: random.Random) -> None:
    with path.open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(dice.randbytes(min(BLOCK, size - start)))


def _relay() -> Path:
    """Return the delaying relay, which is compiled on the first call.

    Raises:
        Unavailable: there is no compiler.
    """
    source = Path(__file__).with_name("delay.c")
    program = CACHE / "delay"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        if shutil.which("cc") is None:
            raise Unavailable("the relay can't be compiled: there is no `cc`")
        CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["cc", "-O2", "-o", str(program), str(source)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"the relay can't be compiled: {done.stderr.strip()}")
    return program


def _environ(folder: Path) -> dict[str, str]:
    """Return the environment variables of a run: without the user's settings, and with a home of its own."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)},
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def _reaching(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint,
        "S3_ENDPOINT": endpoint,
        "S3_ENDPOINT_URL": endpoint,
    }
