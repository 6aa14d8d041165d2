"""Real store servers, each started once per session on free ports, with its data in a temporary folder."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
from platformdirs import user_cache_path

T = TypeVar("T")

ACCESS_KEY = "key"
NEXT_ACCESS_KEY = "next-key"
"""The next key of the same identity, for tests of renewed credentials."""
SECRET_KEY = "secret"
AZURITE_VERSION = "3.35.0"
"""The last version without a minimum version of Node.js."""
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Not a secret: Azurite's documentation contains it."""
START_TIMEOUT = 60.0
"""Seconds. SeaweedFS takes about five on two cores."""
POLL = 0.05
PORTS = 2000
"""Ports of each test worker."""
BUCKETS = 4
"""More than one test uses at a time."""


@dataclass(frozen=True)
class S3Server:
    """Server that speaks S3.

    Attributes:
        endpoint_url: its URL.
        make_bucket: makes a bucket with this name.
        empty_bucket: empties a bucket; `None` if each bucket is used only once.
    """

    endpoint_url: str
    make_bucket: Callable[[str], None]
    empty_bucket: Callable[[str], None] | None
    _used: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of an `S3Driver` for this server."""
        return {
            "endpoint_url": self.endpoint_url,
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "addressing_style": "path",
        }

    def fresh_bucket(self) -> str:
        """Return the name of an empty bucket that the next few calls don't return. This blocks: for sync fixtures.

        SeaweedFS takes half a second to make a bucket, so a few are used in turn.
        """
        if self.empty_bucket is None or len(self._used) < BUCKETS:
            name = f"bucket-{len(self._used)}"
            self.make_bucket(name)
        else:
            name = self._used.pop(0)
            self.empty_bucket(name)
        self._used.append(name)
        return name


@dataclass(frozen=True)
class AzureServer:
    """Server that speaks the API of Azure Blob Storage.

    Attributes:
        account_url: the endpoint of its account.
    """

    account_url: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of an `AzureDriver` for this server."""
        fields = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": AZURITE_ACCOUNT,
            "AccountKey": AZURITE_KEY,
            "BlobEndpoint": self.account_url,
        }
        return {"connection_string": ";".join(f"{name}={value}" for name, value in fields.items())}

    def client(self, container: str) -> Any:
        """Return the SDK's blocking client: for sync fixtures."""
        from azure.storage.blob import ContainerClient  # noqa: PLC0415 - only where a server of Azure is used

        return ContainerClient.from_connection_string(
            self.options["connection_string"], container, retry_total=0, api_version="2021-12-02"
        )

    def fresh_container(self) -> str:
        """Return the name of a new container."""
        name = f"container-{next(self._numbers)}"
        with self.client(name) as client:
            client.create_container()
        return name


@dataclass(frozen=True)
class GCSServer:
    """Server that speaks the JSON API of Google Cloud Storage.

    Attributes:
        api_root: its URL.
    """

    api_root: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of a `GCSDriver` for this server."""
        return {"api_root": self.api_root}

    def fresh_bucket(self) -> str:
        """Return the name of a new bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.ask("POST", "/storage/v1/b?project=tests", {"name": name})
        return name

    def set(self, bucket: str, **settings: Any) -> None:
        """Change the settings of a bucket of the project's test server: see `gcs_server`."""
        self.ask("PUT", f"/_settings/{bucket}", settings)

    def fail(self, bucket: str, operation: str, do: str, **fault: Any) -> None:
        """Make an operation of the project's test server fail: see `gcs_server`."""
        self.ask("POST", f"/_faults/{bucket}", [{"operation": operation, "do": do, **fault}])

    def requests(self, bucket: str, *operations: str) -> list[dict[str, Any]]:
        """Return the requests that the project's test server got for a bucket."""
        requests: list[dict[str, Any]] = self.ask("GET", f"/_log/{bucket}")["requests"]
        return [each for each in requests if not operations or each["operation"] in operations]

    def open_uploads(self, bucket: str) -> int:
        """Return the number of open upload sessions of a bucket of the project's test server."""
        return int(self.ask("GET", f"/_log/{bucket}")["sessions"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and parse its JSON response. This blocks, but not for long."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api_root}{path}", data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def start_seaweedfs(directory: Path) -> contextlib.AbstractContextManager[S3Server]:
    """Start SeaweedFS, a production S3 server that honours conditions."""
    # Each service listens on two ports, one of them for gRPC. Both must be given.
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], free_ports(8), strict=True))
    config = directory / "s3.json"
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": key, "secretKey": SECRET_KEY} for key in (ACCESS_KEY, NEXT_ACCESS_KEY)],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": "reader", "secretKey": SECRET_KEY}],
        "actions": ["Read", "List"],
    }
    config.write_text(json.dumps({"identities": [identity, reader]}))
    # A bucket that needs more room gets one more volume, not seven: each test has its own bucket.
    (directory / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    # Keep emptied collections: SeaweedFS would remove them minutes later, when the bucket is in use again.
    (directory / "filer.toml").write_text(
        '[filer.options]\ns3.empty_folder_cleanup_delay = "24h"\n'
        f"[leveldb2]\nenabled = true\ndir = {json.dumps(str(directory / 'filer'))}\n"
    )
    data = directory / "data"
    data.mkdir()
    command = [
        binary("weed"),
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",  # by default it reserves gigabytes per bucket, and runs out of volumes
        "-volume.max=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    folders = f"http://127.0.0.1:{ports['filer.port']}/buckets"
    server = S3Server(
        endpoint, lambda name: _make_bucket(endpoint, name), lambda name: _empty_folder(f"{folders}/{name}/")
    )
    return _running("seaweedfs", command, directory, server, lambda: _first_write(server))


def start_rclone_s3(directory: Path) -> contextlib.AbstractContextManager[S3Server]:
    """Start `rclone serve s3`, which accepts conditions and ignores them."""
    (port,) = free_ports(1)
    data = directory / "data"
    data.mkdir()
    command = [
        binary("rclone"),
        "--config=",
        "serve",
        "s3",
        f"--addr=127.0.0.1:{port}",
        f"--auth-key={ACCESS_KEY},{SECRET_KEY}",
        str(data),
    ]
    endpoint = f"http://127.0.0.1:{port}"
    # It caches sizes of objects that the tests remove by other means, so each bucket is used only once.
    server = S3Server(endpoint, lambda name: _make_bucket(endpoint, name), None)
    return _running("rclone", command, directory, server, lambda: _first_write(server))


def start_azurite(directory: Path) -> contextlib.AbstractContextManager[AzureServer]:
    """Start Azurite, Microsoft's emulator of Azure Blob Storage."""
    (port,) = free_ports(1)
    command = [
        str(_azurite()),
        "--blobHost=127.0.0.1",
        f"--blobPort={port}",
        "--inMemoryPersistence",
        "--skipApiVersionCheck",
        "--disableTelemetry",
        "--silent",
    ]
    server = AzureServer(f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}")
    return _running("azurite", command, directory, server, server.fresh_container)


def start_gcs(directory: Path) -> contextlib.AbstractContextManager[GCSServer]:
    """Start the project's test server, which implements what no emulator does."""
    (port,) = free_ports(1)
    server = GCSServer(f"http://127.0.0.1:{port}")
    command = [sys.executable, str(Path(__file__).with_name("gcs_server.py")), str(port)]
    return _running("gcs_server", command, directory, server, server.fresh_bucket)


def start_gcs_emulator(directory: Path) -> contextlib.AbstractContextManager[GCSServer]:
    """Start gcp-storage-emulator, which accepts conditions and ignores them."""
    (port,) = free_ports(1)
    server = GCSServer(f"http://127.0.0.1:{port}")
    command = [binary("gcp-storage-emulator"), "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    return _running("gcp-storage-emulator", command, directory, server, server.fresh_bucket)


def _azurite() -> Path:
    """Return the path of Azurite, which npm installs into the user's cache on the first call."""
    folder = user_cache_path("aioassets-tests", appauthor=False) / f"azurite-{AZURITE_VERSION}"
    program = Path("node_modules", ".bin", "azurite-blob")
    if not (folder / program).exists():
        npm = binary("npm", "Node.js")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary, "made")
            command = [npm, "install", f"--prefix={made}", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                [*command, f"azurite@{AZURITE_VERSION}"], capture_output=True, text=True, check=False, cwd=temporary
            )
            if done.returncode:
                unavailable(f"npm can't install azurite: {done.stderr.strip()[-1000:]}")
            with contextlib.suppress(OSError):  # another session installed it first
                made.rename(folder)
    return folder / program


def binary(name: str, source: str = "dependency group `servers`") -> str:
    """Return the path of a server's executable, beside the interpreter or on the search path.

    Without it, the test is skipped, except in CI (environment variable `CI`), where it fails.
    """
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        unavailable(f"the server {name!r} isn't installed ({source})")
    return found


def unavailable(message: str) -> NoReturn:
    """Skip the test, except in CI (environment variable `CI`), where it fails."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def free_ports(count: int) -> list[int]:
    """Return different free ports.

    They are outside the range that systems use for connections, and outside the ranges of other test workers, because
    a server listens on them only later.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    first = 10_000 + worker * PORTS
    found: list[int] = []
    for port in random.sample(range(first, first + PORTS), PORTS):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"of {PORTS} ports from {first}, fewer than {count} are free")


@contextlib.contextmanager
def _running(
    name: str, command: Sequence[str], directory: Path, server: T, first_write: Callable[[], object]
) -> Iterator[T]:
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=directory)
    try:
        _wait_until_writable(name, first_write, process, log)
        yield server
    finally:
        process.kill()  # its data isn't needed any more, and SeaweedFS takes ten seconds to stop in good order
        process.wait()


def _wait_until_writable(
    name: str, first_write: Callable[[], object], process: subprocess.Popen[bytes], log: Path
) -> None:
    """Retry a first write until it succeeds. The port accepts connections long before that."""
    deadline = time.monotonic() + START_TIMEOUT
    trouble: Exception | None = None
    while process.poll() is None and time.monotonic() < deadline:
        try:
            first_write()
        except Exception as error:  # a server that is still starting may send anything
            trouble = error
            time.sleep(POLL)
        else:
            return
    tail = log.read_text(errors="replace")[-4000:]
    pytest.fail(f"{name} didn't start (exit code {process.poll()}, last trouble {trouble!r}). Its log ends:\n{tail}")


def _first_write(server: S3Server) -> None:
    async def write(client: Any) -> None:
        with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            await client.create_bucket(Bucket="first-write")
        await client.put_object(Bucket="first-write", Key="key", Body=b"data")

    _with_client(server.endpoint_url, write)


def _make_bucket(endpoint_url: str, name: str) -> None:
    _with_client(endpoint_url, lambda client: client.create_bucket(Bucket=name))


def _empty_folder(url: str) -> None:
    """Remove everything below a folder of SeaweedFS's filer."""
    listing = urllib.request.Request(f"{url}?limit=100000", headers={"Accept": "application/json"})
    with urllib.request.urlopen(listing) as answer:
        entries = json.load(answer).get("Entries") or []
    for entry in entries:
        name = urllib.parse.quote(entry["FullPath"].rpartition("/")[2])
        urllib.request.urlopen(urllib.request.Request(f"{url}{name}?recursive=true", method="DELETE")).close()


def _with_client(endpoint_url: str, work: Callable[[Any], Any]) -> None:
    """Run a function with a client and an event loop of its own."""
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - only where a server of S3 is used
    from aiobotocore.session import AioSession  # noqa: PLC0415

    async def run() -> None:
        config = AioConfig(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=20,
            request_checksum_calculation="when_required",
        )
        async with AioSession().create_client(
            "s3",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=config,
        ) as client:
            await work(client)

    asyncio.run(run())
