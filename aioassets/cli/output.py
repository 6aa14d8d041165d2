"""Lines, paths and JSON documents on the standard streams, escaped.

Every line that a command prints goes through this module.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import asyncclick as click

from aioassets.cli.escaping import abridged, escaped, traceback_lines
from aioassets.cli.redaction import redacted

if TYPE_CHECKING:
    from rich.table import Table

_PACKAGE: Final = logging.getLogger("aioassets")


def echo_err(line: str = "", *, end: str = "\n") -> None:
    """Print one line on standard error. Untrusted text in it is escaped, and a very long line is shortened."""
    with contextlib.suppress(OSError, ValueError):  # nothing else could tell of it, and the work goes on
        _write(abridged(escaped(line)) + end, sys.stderr)


def echo(*fields: str) -> None:
    """Print one line of results on standard output: escaped fields, separated by tabs."""
    _write_result("\t".join(map(escaped, fields)) + "\n")


def echo_path(path: Path) -> None:
    """Print a path on standard output.

    A terminal gets it escaped. A pipe gets the exact bytes, so that programs can open the path.
    """
    if is_terminal(sys.stdout):
        echo(str(path))
    else:
        _write_result(os.fsencode(path) + b"\n")


def echo_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document on standard output, in ASCII."""
    _write_result(json.dumps(document, indent=2) + "\n")


def print_table(table: Table) -> None:
    """Print a table on standard output, which is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    console = Console(markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    _write_result(captured.get())


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal. Python has no stream for a descriptor that was closed."""
    return stream is not None and not stream.closed and stream.isatty()


class Results:
    """Delivery of results to standard output.

    Attributes:
        lost: whether a result could not be written there.
    """

    lost = False

    def write(self, content: str | bytes) -> None:
        """Write to standard output; if that fails, to standard error.

        Raises:
            BrokenPipeError: the reader of standard output has gone.
        """
        if not self.lost:
            try:
                _write(content, sys.stdout)
            except BrokenPipeError:
                raise
            except (OSError, ValueError) as error:
                self.lost = True
                discard_output()
                reason = getattr(error, "strerror", None) or str(error)
                echo_err(f"Can't write to standard output ({reason}). The result:")
            else:
                return
        with contextlib.suppress(OSError, ValueError):
            _write(content, sys.stderr)


RESULTS: Final = Results()
"""The results of this process."""


def _write_result(content: str | bytes) -> None:
    RESULTS.write(content)


def _write(content: str | bytes, stream: TextIO | None) -> None:
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if isinstance(content, str):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        content = content.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(content, file=stream, nl=False)


def discard_output() -> None:
    """Let the interpreter flush what is left in the buffer of standard output to nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


@contextlib.contextmanager
def escaped_logging(*, verbose: bool = False) -> Iterator[None]:
    """Escape the log records that Python prints when logging isn't configured.

    Args:
        verbose: also print the records of this package from INFO on.
    """
    default, level = logging.lastResort, _PACKAGE.level
    logging.lastResort = _EscapingHandler(logging.WARNING)
    handler = _EscapingHandler()
    if verbose:
        _PACKAGE.addHandler(handler)
        _PACKAGE.setLevel(logging.INFO)
    try:
        yield
    finally:
        logging.lastResort = default
        _PACKAGE.removeHandler(handler)
        _PACKAGE.setLevel(level)


class _EscapingHandler(logging.Handler):
    """Handler that prints escaped log records on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record and its traceback."""
        try:
            echo_err(redacted(record.getMessage()))
            for line in traceback_lines(record.exc_info[1]) if record.exc_info and record.exc_info[1] else ():
                echo_err(redacted(line))
        except Exception:
            self.handleError(record)
