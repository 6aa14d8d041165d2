"""The progress display on a terminal."""

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
from aioassets.cli.units import human_bytes
from aioassets.errors import OutOfThreads
from aioassets.progress import BytesTransferred, Event, FileTransferred, TransferFinished, TransferStarted
from aioassets.runtime.tasks import unwrapped
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY: Final = 0.5
"""Number of seconds before the display appears."""
INTERVAL: Final = 0.1
"""Number of seconds between updates of the display."""


@dataclass(slots=True)
class Tally:
    """The progress of an operation, tallied from its events.

    Attributes:
        preparing: the label to show before the transfer starts.
        verb: the verb in the label of the transfer, such as "Uploading".
        transfer: the label of the transfer; `None` until it starts.
        files: the number of files to transfer.
        nbytes: the number of bytes to transfer; `None` if unknown.
        files_done: the number of files transferred so far.
        nbytes_done: the number of bytes transferred so far.
        nbytes_reused: the number of bytes among them that weren't sent or received.
        finished: the version that was transferred; `None` until the transfer is complete.
        assets: the number of assets. If there are several, their files and bytes are added up.
    """

    preparing: str
    verb: str = ""
    transfer: str | None = None
    files: int = 0
    nbytes: int | None = None
    files_done: int = 0
    nbytes_done: int = 0
    nbytes_reused: int = 0
    finished: str | None = None
    assets: int = 1

    @property
    def reused_text(self) -> str:
        """The number of bytes that weren't sent or received, as an addition to the number of files."""
        how = "copied by the store" if self.verb == "Uploading" else "reused"
        return f", {human_bytes(self.nbytes_reused)} {how}" if self.nbytes_reused else ""

    def receive(self, event: Event) -> None:
        """Process an event. Pass this method as a `Progress` callback."""
        match event:
            case TransferStarted() if self.assets > 1:
                self.transfer = f"{self.verb} {self.assets:,} assets"
                self.files += event.files
                self.nbytes = (self.nbytes or 0) + (event.nbytes or 0)
            case TransferStarted():  # repeated if a version number was lost to another push
                self.transfer = f"{self.verb} {event.name}:{event.version}"
                self.files, self.nbytes = event.files, event.nbytes
                self.files_done = self.nbytes_done = self.nbytes_reused = 0
            case BytesTransferred():
                self.nbytes_done += event.nbytes
                self.nbytes_reused += event.nbytes if event.reused else 0
            case FileTransferred():
                self.files_done += 1
                self.nbytes_done += event.nbytes if event.skipped else 0
            case TransferFinished():
                self.finished = event.version


@contextlib.asynccontextmanager
async def progress_display(preparing: str, verb: str = "", assets: int = 1) -> AsyncIterator[Tally]:
    """Display the progress of an operation that takes longer than `DELAY`, if standard error is a terminal."""
    tally = Tally(preparing, verb, assets=assets)
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
            files = f"{tally.files_done:,}/{tally.files:,} files{tally.reused_text}"
            description = escaped(tally.transfer)
            bar.update(task, description=description, completed=tally.nbytes_done, total=tally.nbytes, files=files)
            bar.refresh()
            await anyio.sleep(INTERVAL)


def _spinner_and_bar() -> tuple[Progress, Progress]:
    """Return a display for the preparation and another for the transfer. Each is erased when it ends."""
    from rich import progress  # noqa: PLC0415 - slow to import, and only needed on a terminal
    from rich.console import Console  # noqa: PLC0415
    from rich.constrain import Constrain  # noqa: PLC0415

    class Display(progress.Progress):
        def get_renderable(self) -> Constrain:
            """Leave space for the echoed ^C. Otherwise, it could wrap to a new line and prevent erasing the display."""
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
    """Show the cursor again, since an interrupted display leaves it hidden."""
    if is_terminal(sys.stderr):
        with contextlib.suppress(OSError):
            click.echo("\x1b[?25h", err=True, color=True)
