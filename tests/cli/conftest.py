"""Fixtures that run the command line in this process, in another process, and on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aioassets.cli.app import parse
from aioassets.cli.process import run

PATIENCE = 60
"""Seconds until a test stops waiting and fails."""

CONTROLLING_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that ^C reaches the process
"""


@dataclass(frozen=True)
class Ran:
    """Outcome of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return the JSON document on standard output."""
        return json.loads(self.out)


Invoke = Callable[..., Ran]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a new folder for the store and the cache, and none of the user's settings."""
    for name in list(os.environ):
        if name.startswith(("AIOASSETS_", "MODELKIT_", "AWS_", "S3_", "COLUMNS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIOASSETS_BUCKET", str(tmp_path / "store"))
    monkeypatch.setenv("AIOASSETS_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LANGUAGE", "C")  # keeps asyncclick from looking for translations on the disk
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Create a directory to push."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"second")
    return folder


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., None]:
    """Create an asset whose index lists the given versions."""

    def make(name: str, *versions: str) -> None:
        index = tmp_path / "store" / "assets" / f"{name}.versions"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text(json.dumps({"versions": versions}))

    return make


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process, without a terminal."""

    def run_here(*args: object) -> Ran:
        capsys.readouterr()
        argv = [str(arg) for arg in args]
        parsed = parse(argv)
        code = parsed if isinstance(parsed, int) else run(parsed, argv)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run_here


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run a command in a new process without a terminal, after an optional script."""
    with contextlib.ExitStack() as stack:

        def start(*args: object, script: str = "") -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-c", f"{script}\nfrom aioassets.cli.app import main\nmain()", *map(str, args)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


class Terminal:
    """Process on a terminal. Its standard output is the terminal or a pipe."""

    def __init__(self, argv: Sequence[str], *, piped: bool, pass_fds: Sequence[int] = ()) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=subprocess.PIPE if piped else slave,
            stderr=slave,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        os.close(slave)
        self.screen = ""

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def expect(self, text: str) -> None:
        """Wait until a text appears after the previously expected one."""
        begin = len(self.screen)
        while text not in self.screen[begin:]:
            if not self._read():
                pytest.fail(f"{text!r} did not appear on the terminal: {self.screen!r}")

    def ended(self) -> Ran:
        """Wait until the process exits."""
        while self._read():
            pass
        out = self.process.stdout.read().decode() if self.process.stdout else ""
        return Ran(self.process.wait(PATIENCE), out, self.screen)

    def close(self) -> None:
        """Kill the process if it is still running."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        os.close(self._master)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], PATIENCE)[0]:
            pytest.fail(f"Nothing more appeared on the terminal: {self.screen!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: all writers have closed the terminal
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Terminal]]:
    """Run a command on a terminal."""
    with contextlib.ExitStack() as stack:

        def start(
            *args: object, script: str = "", piped: bool = False, argv: Sequence[str] = (), pass_fds: Sequence[int] = ()
        ) -> Terminal:
            code = f"{CONTROLLING_TERMINAL}\n{script}\nfrom aioassets.cli.app import main\nmain()"
            command = argv or [sys.executable, "-c", code, *map(str, args)]
            terminal = Terminal(command, piped=piped, pass_fds=pass_fds)
            stack.callback(terminal.close)
            return terminal

        yield start


URLS = {
    "local": "{path}",
    "s3": "s3://{bucket}",
    "gcs": "gs://{bucket}",
    "azure": "az://{container}",
}


@pytest.fixture
def tolerant(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server that starts for a test print warnings."""
    monkeypatch.delenv("PYTHONWARNINGS")


@pytest.fixture
def run_on_store(tolerant: None, invoke: Invoke, place: dict[str, Any]) -> Invoke:
    """Run a command on a store that other processes can use, too."""
    if place["kind"] == "memory":
        pytest.skip("a store in memory ends with its process")
    url = URLS[place["kind"]].format(**place)
    used = ("kind", "path", "bucket", "container")
    options = [part for name, value in place.items() if name not in used for part in ("-o", f"{name}={value}")]
    return lambda *args: invoke(*args, "--bucket", url, *options)
