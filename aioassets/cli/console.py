"""What is printed: forecasts, questions, progress, results. rich is imported only to draw.

Everything that the commands print goes through this module, which escapes it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncclick as click

from aioassets.cli.escaping import abridged, escaped, traceback_lines
from aioassets.errors import OutOfThreads
from aioassets.progress import BytesTransferred, Event, FileTransferred, TransferFinished, TransferStarted
from aioassets.runtime.tasks import unwrapped
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from rich.progress import Progress

    from aioassets.manager import AssetVersions
    from aioassets.model.leftovers import CleaningPlan, Leftover
    from aioassets.push.plan import PushPlan


MOMENT: Final = 0.5
"""Seconds that an operation may take without being drawn."""
FRAME: Final = 0.1
"""Seconds between two drawings."""
VERSIONS_SHOWN: Final = 6
"""Versions of one major that a forecast names."""


def echo_err(line: str = "", *, end: str = "\n") -> None:
    """Print one line for people on standard error, escaped: it may quote a store, a file name or a server."""
    _write(abridged(escaped(line)) + end, err=True)


def put(*fields: str) -> None:
    """Print one line of results on standard output: escaped fields, separated by tabs."""
    _write("\t".join(map(escaped, fields)) + "\n", err=False)


def put_path(path: Path) -> None:
    """Print a path on standard output: its bytes as they are on disk, so that programs can use them.

    On a terminal, it is escaped like any other text.
    """
    if sys.stdout.isatty():
        put(str(path))
    else:
        click.echo(os.fsencode(path))


def put_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document on standard output, in ASCII."""
    click.echo(json.dumps(document, indent=2))


def _write(text: str, *, err: bool) -> None:
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err, nl=False)


@contextlib.contextmanager
def logging_escaped() -> Iterator[None]:
    """Escape log records that Python prints by itself because the program sets up no logging."""
    default = logging.lastResort
    logging.lastResort = _Log(logging.WARNING)
    try:
        yield
    finally:
        logging.lastResort = default


class _Log(logging.Handler):
    """Prints log records."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        try:
            echo_err(record.getMessage())
            for line in traceback_lines(record.exc_info[1]) if record.exc_info and record.exc_info[1] else ():
                echo_err(line)
        except Exception:
            self.handleError(record)


def human_bytes(nbytes: int) -> str:
    """A size as people read it, in powers of 1000."""
    if nbytes < 1000:
        return f"{nbytes} byte{'' if nbytes == 1 else 's'}"
    size = float(nbytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"


def human_files(files: int, nbytes: int) -> str:
    """How much there is to upload."""
    return f"{files:,} file{'' if files == 1 else 's'}, {human_bytes(nbytes)}"


# Forecasts and questions


def forecast(plan: PushPlan, source: str, store: str) -> list[str]:
    """What a push would do, in aligned lines."""
    return [
        f"Asset     {plan.name}",
        f"Store     {store}" + (" (a new folder)" if plan.new_store else ""),
        *_aligned("Existing", _existing(plan.versions)),
        f"Version   {plan.version} (forecast)",
        f"Upload    {human_files(plan.files, plan.size)}, from {source}",
    ]


def described_leftovers(plan: CleaningPlan) -> Iterator[str]:
    """What a cleaning found, a line each: first what it would remove."""
    for title, removable in (("Remove", True), ("Keep", False)):
        rows = [_leftover(leftover) for leftover in plan.leftovers if leftover.removable is removable]
        yield from _aligned(title, rows) if rows else ()
    if not plan.leftovers:
        yield "There is nothing to clean."
    elif not plan.removable:
        yield "There is nothing to remove."


def leftover_label(leftover: Leftover) -> str:
    """What a leftover is called."""
    return f"{leftover.name}:{leftover.version}" if leftover.version and not leftover.is_cached else leftover.where


def _leftover(leftover: Leftover) -> str:
    what = leftover.kind.value.replace("_", " ")
    details = [
        f"by {leftover.holder}" if leftover.holder else "",
        f"{human_duration(leftover.age)} old" if leftover.age is not None else "",
        human_files(leftover.files, leftover.size) if leftover.files else "",
        f"{leftover.uploads} open upload{'' if leftover.uploads == 1 else 's'}" if leftover.uploads else "",
    ]
    told = ", ".join([what, *filter(None, details)])
    return f"{leftover_label(leftover)}: {told}" + (f" ({leftover.advice})" if leftover.advice else "")


def human_duration(duration: timedelta) -> str:
    """A time span as people read it, by its largest unit."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _aligned(title: str, texts: Sequence[str]) -> Iterator[str]:
    for heading, text in itertools.zip_longest([title], texts, fillvalue=""):
        yield f"{heading:<10}{text}"


def _existing(versions: Sequence[str]) -> list[str]:
    """The versions that are there, latest first; a line for each major where they have majors."""
    if not versions:
        return ["nothing yet"]
    if not all("." in version for version in versions):
        return [_abridged(versions)]
    return [
        f"major {major}: {_abridged(list(group))}"
        for major, group in itertools.groupby(versions, lambda version: version.partition(".")[0])
    ]


def _abridged(versions: Sequence[str]) -> str:
    rest = len(versions) - VERSIONS_SHOWN
    return ", ".join(versions[:VERSIONS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def can_ask() -> bool:
    """Whether somebody may answer."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


async def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes is no. Waiting doesn't block the loop, so it can be cancelled."""
    echo_err(f"{question} [y/N] ", end="")
    descriptor = sys.stdin.fileno()
    try:
        await anyio.wait_readable(descriptor)
    except anyio.get_cancelled_exc_class():
        echo_err()
        raise
    try:
        answer = os.read(descriptor, 1024).decode(errors="replace")
    except OSError:  # the terminal is gone
        answer = ""
    if not answer.endswith("\n"):
        echo_err()  # Ctrl-D leaves the cursor behind the question
    return answer.strip().lower() in ("y", "yes")


# Progress


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
    await anyio.sleep(MOMENT)
    try:
        spinner, bar = await in_thread(_drawings)
    except OutOfThreads:  # the operation itself may need none
        return
    with spinner:
        spinner.add_task(escaped(tally.waiting), total=None)
        while tally.transfer is None:
            spinner.refresh()
            await anyio.sleep(FRAME)
    with bar:
        task = bar.add_task(escaped(tally.transfer), total=tally.nbytes, files="")
        while True:
            files = f"{tally.files_done:,}/{tally.files:,} files"
            description = escaped(tally.transfer)
            bar.update(task, description=description, completed=tally.nbytes_done, total=tally.nbytes, files=files)
            bar.refresh()
            await anyio.sleep(FRAME)


def _drawings() -> tuple[Progress, Progress]:
    """What is drawn before, and after it is known what has to move; both vanish when they end."""
    from rich import progress  # noqa: PLC0415 - slow to import, and only terminals need it
    from rich.console import Console  # noqa: PLC0415
    from rich.constrain import Constrain  # noqa: PLC0415

    class Drawing(progress.Progress):
        def get_renderable(self) -> Constrain:
            """Leave room for the ^C that terminals echo: on the next line, it would displace what is drawn."""
            return Constrain(super().get_renderable(), console.width - 4)

    console = Console(stderr=True)
    description = progress.TextColumn("{task.description}", markup=False)  # a spec may hold brackets
    drawing = functools.partial(
        Drawing, console=console, transient=True, auto_refresh=False, redirect_stdout=False, expand=True
    )
    return drawing(progress.SpinnerColumn(), description), drawing(
        description,
        progress.BarColumn(bar_width=None),
        progress.TextColumn("{task.fields[files]}"),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
    )


def show_cursor() -> None:
    """Show the cursor, which a drawing that isn't ended properly leaves hidden."""
    if sys.stderr.isatty():
        click.echo("\x1b[?25h", err=True, color=True)


# Listings


def print_assets(assets: Iterable[AssetVersions]) -> None:
    """A table on a terminal; elsewhere a line for each asset, its name and versions apart by a tab."""
    if sys.stdout.isatty():
        _print_table(assets)
        return
    for asset in assets:
        put(asset.name, ",".join(asset.versions))


def _print_table(assets: Iterable[AssetVersions]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("Asset", overflow="fold")
    table.add_column("Versions", overflow="fold")
    for asset in assets:
        table.add_row(escaped(asset.name), escaped(", ".join(asset.versions)))
    Console(markup=False, highlight=False, emoji=False).print(table)
