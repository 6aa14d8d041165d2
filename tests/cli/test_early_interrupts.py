"""SIGINT before a command handles signals: at many imports between the start of the process and the event loop."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Listed = Callable[..., None]

AT_IMPORTS = """
import os, signal, sys
import aioassets

class Interrupting:
    '''Finder that forks at every third import. The child interrupts itself, and the parent records how it ended.'''

    def __init__(self):
        self.imports = 0
        self.endings = []

    def find_spec(self, name, path=None, target=None):
        if name in ("__future__", "aioassets.__main__"):
            return
        if is_running():
            sys.meta_path.remove(self)
            print(len(self.endings), *sorted(set(self.endings)), file=sys.stderr)
            return
        self.imports += 1
        if self.imports % 3:
            return
        child = os.fork()
        if not child:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            return
        _, status = os.waitpid(child, 0)
        self.endings.append(os.waitstatus_to_exitcode(status))

def is_running():
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)
    return running is not None and running() is not None

sys.meta_path.insert(0, Interrupting())
from aioassets.__main__ import main
main()
"""


@pytest.mark.once
def test_an_interrupt_during_imports_ends_the_command_quietly(
    spawn: Callable[..., subprocess.Popen[str]], listed: Listed
) -> None:
    listed("name", "0.0")
    process = spawn("list", script=AT_IMPORTS)
    out, err = process.communicate()
    count, *endings = err.split()
    assert (process.returncode, out) == (0, "name\t0.0\n")
    assert int(count) > 50
    assert endings == ["130"]


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_other_handlings_of_an_interrupt_are_kept(
    spawn: Callable[..., subprocess.Popen[str]], tmp_path: Path, handler: str
) -> None:
    """A shell ignores SIGINT for its background jobs."""
    script = f"""
import signal
from aioassets.__main__ import main
signal.signal(signal.SIGINT, signal.{handler})
from aioassets.cli import app
app.main = lambda: print(signal.getsignal(signal.SIGINT).name, flush=True)
main()
raise SystemExit
"""
    assert spawn(script=script).communicate() == (f"{signal.Handlers[handler].name}\n", "")
