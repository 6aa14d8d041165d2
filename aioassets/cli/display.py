"""The progress display of a terminal."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import asyncclick as click

from aioassets.cli.escaping import escaped
from aioassets.cli.output import is_terminal
from aioassets.errors import OutOfThreads
from aioassets.progress import BytesTransferred, Event, FileTransferred, TransferFinished, TransferStarted
from aioassets.runtime.tasks import unwrapped
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY: Final = 0.5
"""Seconds until the display appears."""
INTERVAL: Final = 0.1
"""Seconds between two updates of the display."""


@dataclass(slots=True)
class Tally:
    """Progress of one operation, counted from its events.

    Attributes:
        preparing: label until the transfer starts.
        verb: verb of the transfer, such as "Uploading".
        transfer: label of the transfer; `None` until it starts.
        files: files to transfer.
        nbytes: bytes to transfer; `None` if unknown.
        files_done: files transferred.
        nbytes_done: bytes transferred.
        finished: the version, once the transfer is complete.
    """

    preparing: str
    verb: str = ""
    transfer: str | None = None
    files: int = 0
    nbytes: int | None = None
    files_done: int = 0
    nbytes_done: int = 0
    finished: str | None = None

    def receive(self, event: Event) -> None:
        """Count an event. Pass this method as a `Progress` callback."""
        match event:
            case TransferStarted():  # again after losing a version number to another push
                self.transfer = f"{self.verb} {event.name}:{event.version}"
                self.files, self.nbytes = event.files, event.nbytes
                self.files_done = self.nbytes_done = 0
            case BytesTransferred():
                self.nbytes_done += event.nbytes
            case FileTransferred():
                self.files_done += 1
                self.nbytes_done += event.nbytes if event.skipped else 0
            case TransferFinished():
                self.finished = event.version


@contextlib.asynccontextmanager
async def progress_display(preparing: str, verb: str = "") -> AsyncIterator[Tally]:
    """Display the progress of an operation on the terminal, if there is one, once it takes longer than `DELAY`."""
    tally = Tally(preparing, verb)
    if not is_terminal(sys.stderr):
        yield tally
        return
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_draw, tally)
            yield tally
            tasks.cancel_scope.cancel()


async def _draw(tally: Tally) -> None:
    with contextlib.suppress(OSError):  # the terminal was closed
        await _draw_until_cancelled(tally)


async def _draw_until_cancelled(tally: Tally) -> None:
    await anyio.sleep(DELAY)
    try:
        spinner, bar = await in_thread(_spinner_and_bar)
    except OutOfThreads:  # the operation may still succeed without a thread
        return
    with spinner:
        spinner.add_task(escaped(tally.preparing), total=None)
        while tally.transfer is None:
            spinner.refresh()
            await anyio.sleep(INTERVAL)
    with bar:
        task = bar.add_task(escaped(tally.transfer), total=tally.nbytes, files="")
        while True:
            files = f"{tally.files_done:,}/{tally.files:,} files"
            description = escaped(tally.transfer)
            bar.update(task, description=description, completed=tally.nbytes_done, total=tally.nbytes, files=files)
            bar.refresh()
            await anyio.sleep(INTERVAL)


def _spinner_and_bar() -> tuple[Progress, Progress]:
    """Return the displays before and during the transfer. Both are erased when they end."""
    from rich import progress  # noqa: PLC0415 - slow to import, and needed on terminals only
    from rich.console import Console  # noqa: PLC0415
    from rich.constrain import Constrain  # noqa: PLC0415

    class Display(progress.Progress):
        def get_renderable(self) -> Constrain:
            """Leave room for the echoed ^C, which would otherwise wrap to a new line and break the erasing."""
            return Constrain(super().get_renderable(), console.width - 4)

    console = Console(stderr=True)
    description = progress.TextColumn("{task.description}", markup=False)  # a spec may contain brackets
    display = functools.partial(
        Display, console=console, transient=True, auto_refresh=False, redirect_stdout=False, expand=True
    )
    return display(progress.SpinnerColumn(), description), display(
        description,
        progress.BarColumn(bar_width=None),
        progress.TextColumn("{task.fields[files]}"),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
    )


def show_cursor() -> None:
    """Show the cursor, which an interrupted display leaves hidden."""
    if is_terminal(sys.stderr):
        with contextlib.suppress(OSError):
            click.echo("\x1b[?25h", err=True, color=True)
