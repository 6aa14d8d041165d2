"""Commands under a limit of threads that the system enforces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

Limited = Callable[..., "subprocess.CompletedProcess[str]"]

USER = 50_000 + os.getpid() % 10_000
"""A user without other processes, since the limit counts all threads of a user."""

LIMITED = """
import ctypes, os, resource, struct, sys
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]), int(sys.argv[1])))
os.setresuid({user}, 0, 0)  # keep root's group, which may be needed to read the interpreter's files
libc, header, data = ctypes.CDLL(None), struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
libc.capget(header, data)
words = struct.unpack("6I", data.raw)
ignoring_limits = 1 << 21 | 1 << 24  # CAP_SYS_ADMIN and CAP_SYS_RESOURCE
libc.capset(header, struct.pack("6I", words[0] & ~ignoring_limits, words[1] & ~ignoring_limits, *words[2:]))
del sys.argv[1]
"""
MAIN = "from aioassets.cli.app import main; main()"
PROBE = "import threading; threading.Thread(target=int).start()"
ERROR = "Error: Cannot start a thread: the system limit was reached. "


def run_limited(threads: int, code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process limited to a number of threads, including the main thread."""
    command = [sys.executable, "-c", LIMITED.format(user=USER) + code, str(threads), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def limited() -> Limited:
    """Run a command in a process limited to a number of threads."""
    if os.getuid() != 0:
        pytest.skip("only root can run a process as another user")
    if "can't start new thread" not in run_limited(1, PROBE).stderr:
        pytest.skip("RLIMIT_NPROC is not enforced here")
    return lambda threads, *args: run_limited(threads, MAIN, *args)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a folder for a store and a cache, with a source of many files."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "source").mkdir()
    for number in range(40):
        (folder / "source" / f"{number}").write_text(f"{number}")
    (folder / "source" / "large").write_bytes(bytes(3 * 1024 * 1024))
    monkeypatch.setenv("AIOASSETS_BUCKET", str(folder / "store"))
    monkeypatch.setenv("AIOASSETS_DIR", str(folder / "cache"))
    monkeypatch.setenv("HOME", str(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("args", [["new", "{}/source", "name", "--yes"], ["list"], ["fetch", "name"], ["clean"]])
def test_1_without_threads_the_error_says_what_to_do(limited: Limited, workspace: Path, args: list[str]) -> None:
    ran = limited(1, *(arg.format(workspace) for arg in args))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(ERROR)
    assert "`ulimit -u`" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in workspace.iterdir()] == ["source"]


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_0_few_threads_are_enough(limited: Limited, workspace: Path, threads: int) -> None:
    for args in (["new", workspace / "source", "name"], ["update", workspace / "source", "name"]):
        assert limited(threads, *args, "--yes").returncode == 0
    ran = limited(threads, "fetch", "name")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert contents(Path(ran.stdout.strip())) == contents(workspace / "source")
    assert limited(threads, "verify", "name").stdout == "name:0.1\n"
    assert limited(threads, "clean").stderr == "No leftovers found.\n"


@pytest.mark.parametrize(
    ("bucket", "options"),
    [
        ("s3://name", ["endpoint_url={url}", "region=us-east-1", "access_key_id=key", "secret_access_key=secret"]),
        ("gs://name", ["api_root={url}", "anonymous=true"]),
        ("az://name", ["account_url={url}/account", "account_key=a2V5"]),
    ],
)
@pytest.mark.parametrize("args", [["list"], ["new", "{}/source", "name", "--yes"]], ids=lambda args: args[0])
def test_1_a_host_lookup_without_threads(
    limited: Limited, workspace: Path, args: list[str], bucket: str, options: list[str]
) -> None:
    """The command neither retries nor reports an error of the store."""
    given = [word for option in options for word in ("-o", option.format(url="http://localhost:1"))]
    ran = limited(2, *(arg.format(workspace) for arg in args), "--bucket", bucket, *given)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(ERROR)
    assert ran.stderr.count("\n") == 1


def test_0_a_loop_that_cannot_close_does_not_fail_the_command(limited: Limited) -> None:
    """asyncio starts a thread to join those of its executor."""
    code = """
import asyncio
from aioassets.cli.process import run

async def work():
    await asyncio.to_thread(int)
    return 3

sys.exit(run(work))
"""
    ran = run_limited(2, code)
    assert (ran.returncode, ran.stderr) == (3, "")
