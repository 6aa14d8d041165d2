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
from aioassets.errors import OutOfThreads
from aioassets.progress import BytesTransferred, Event, FileTransferred, TransferFinished, TransferStarted
from aioassets.runtime.tasks import unwrapped
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY: Final = 0.5
"""Seconds that an operation may take without being drawn."""
INTERVAL: Final = 0.1
"""Seconds between two drawings."""


@dataclass(slots=True)
class Tally:
    """How far an operation is, as its events tell.

    Attributes:
        waiting: what goes on until it is known what has to move.
        moving: what goes on from then on, without the asset.
        transfer: what goes on, with the asset; `None` until it is known what has to move.
        files: how many have to move.
        nbytes: how many they hold; `None` where that isn't known.
        files_done: how many have moved.
        nbytes_done: how many have moved.
        finished: the version, once all is done.
    """

    waiting: str
    moving: str = ""
    transfer: str | None = None
    files: int = 0
    nbytes: int | None = None
    files_done: int = 0
    nbytes_done: int = 0
    finished: str | None = None

    def receive(self, event: Event) -> None:
        """Take an event into account; a `Progress` callback."""
        match event:
            case TransferStarted():  # once more where a version number was lost to another push
                self.transfer = f"{self.moving} {event.name}:{event.version}"
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
async def progress_display(waiting: str, moving: str = "") -> AsyncIterator[Tally]:
    """Draw an operation while it runs, if it takes longer than a moment and there is a terminal."""
    tally = Tally(waiting, moving)
    if not sys.stderr.isatty():
        yield tally
        return
    with unwrapped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_draw, tally)
            yield tally
            tasks.cancel_scope.cancel()


async def _draw(tally: Tally) -> None:
    await anyio.sleep(DELAY)
    try:
        spinner, bar = await in_thread(_spinner_and_bar)
    except OutOfThreads:  # the operation itself may need none
        return
    with spinner:
        spinner.add_task(escaped(tally.waiting), total=None)
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
    """What is drawn before, and after it is known what has to move; both vanish when they end."""
    from rich import progress  # noqa: PLC0415 - slow to import, and only terminals need it
    from rich.console import Console  # noqa: PLC0415
    from rich.constrain import Constrain  # noqa: PLC0415

    class Display(progress.Progress):
        def get_renderable(self) -> Constrain:
            """Leave room for the ^C that terminals echo: on the next line, it would displace what is drawn."""
            return Constrain(super().get_renderable(), console.width - 4)

    console = Console(stderr=True)
    description = progress.TextColumn("{task.description}", markup=False)  # a spec may hold brackets
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
    """Show the cursor, which a display that isn't ended properly leaves hidden."""
    if sys.stderr.isatty():
        click.echo("\x1b[?25h", err=True, color=True)
