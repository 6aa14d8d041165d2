"""Printing escaped lines, paths and JSON documents to the standard streams.

Apart from the progress display and the table of assets, commands print everything through this module.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import asyncclick as click

from aioassets.cli.escaping import abridged, escaped, escaped_field, traceback_lines
from aioassets.cli.redaction import redacted
from aioassets.runtime.notices import is_notice
from aioassets.settings import secrets_in

_PACKAGE: Final = logging.getLogger("aioassets")


class Unwritten:
    """A record of failures to write to the standard streams.

    Attributes:
        error: the error that occurred when a result was written to standard output; `None` if there was none.
        is_stderr_broken: whether a line could not be written to standard error.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_stderr_broken = False

    def reset(self) -> None:
        """Clear the record before a command runs."""
        self.error = None
        self.is_stderr_broken = False


unwritten: Final = Unwritten()


def echo_err(line: str = "", *, end: str = "\n") -> None:
    """Print a line to standard error. Unprintable characters are escaped, and very long lines are shortened.

    If the line can't be printed, discard it and continue.
    """
    write_err(abridged(escaped(line)) + end)


def echo(*fields: str) -> None:
    """Print one line of results to standard output: escaped fields, separated by tabs."""
    _write("\t".join(map(escaped, fields)) + "\n")


def echo_listed(*fields: str) -> None:
    """Print one line of a listing. If standard output is a pipe that its reader has closed, discard the line.

    Fields for programs are escaped unambiguously.
    """
    escape = escaped if is_terminal(sys.stdout) else escaped_field
    _write("\t".join(map(escape, fields)) + "\n", is_listing=True)


def echo_path(path: Path | str) -> None:
    """Print a path or a URL to standard output.

    On a terminal, it is escaped. Otherwise, its exact bytes are written, so that programs can open it.
    """
    if sys.stdout is None or is_terminal(sys.stdout):
        echo(str(path))
    else:
        _write(os.fsencode(path) + b"\n")


def write_content(data: bytes) -> bool:
    """Write bytes to standard output as they are, and return whether that succeeded. Blocking.

    If standard output is a pipe that its reader has closed, no error is reported.
    """
    if sys.stdout is None:
        report_unwritten(OSError("it is closed"))
        return False
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        _discard(sys.stdout)
        unwritten.error = error
    except (OSError, ValueError) as error:
        report_unwritten(error)
    return unwritten.error is None


def echo_json(document: Mapping[str, Any], *, is_listing: bool = False) -> None:
    """Print a JSON document to standard output, in ASCII."""
    _write(json.dumps(document, indent=2) + "\n", is_listing=is_listing)


def echo_json_line(document: Mapping[str, Any]) -> None:
    """Print a JSON document to standard output, in ASCII and on one line, and flush it."""
    _write(json.dumps(document) + "\n", is_listing=True)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal. `None` means that it was closed when the process started."""
    return stream is not None and stream.isatty()


def write_err(text: str) -> bool:
    """Write text to standard error. Return whether this succeeded."""
    try:
        click.echo(_encodable(text, sys.stderr), err=True, nl=False)
    except (OSError, ValueError):
        _discard(sys.stderr)
        unwritten.is_stderr_broken = True
    return sys.stderr is not None and not unwritten.is_stderr_broken


def report_unwritten(error: Exception) -> None:
    """Record that writing to standard output failed, and report the error on standard error."""
    unwritten.error = error
    _discard(sys.stdout)
    echo_err(f"Cannot write to standard output: {getattr(error, 'strerror', None) or error}.")


def _write(content: str | bytes, *, is_listing: bool = False) -> None:
    """Write a result to standard output or, if that fails, to standard error."""
    if sys.stdout is not None and unwritten.error is None:
        try:
            click.echo(_encodable(content, sys.stdout) if isinstance(content, str) else content, nl=False)
        except (OSError, ValueError) as error:
            if is_listing and isinstance(error, BrokenPipeError):
                _discard(sys.stdout)
                unwritten.error = error
            else:
                report_unwritten(error)
        else:
            return
    if not (is_listing and isinstance(unwritten.error, BrokenPipeError)):
        text = content if isinstance(content, str) else escaped(os.fsdecode(content), keep="\n")
        if not write_err(text) and unwritten.error is None:  # standard output was closed from the start
            unwritten.error = OSError("neither standard output nor standard error can be written to")


def _encodable(text: str, stream: TextIO | None) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _discard(stream: TextIO | None) -> None:
    """Redirect a broken standard stream to the null device, so that flushing it at exit doesn't fail."""
    is_replaced = stream is not sys.__stdout__ and stream is not sys.__stderr__
    if stream is None or is_replaced:
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextlib.contextmanager
def escaped_logging(args: Sequence[str] = (), *, verbose: bool = False) -> Iterator[None]:
    """Print log messages for users (warnings about leftovers) to standard error, escaped and redacted.

    Also escape the log messages that Python prints if logging isn't configured.

    Args:
        args: the arguments whose secrets to redact, in addition to those in environment variables.
        verbose: whether to print all log messages of this package at level INFO and above.
    """
    default, level = logging.lastResort, _PACKAGE.level
    logging.lastResort = _EscapingHandler(logging.WARNING, args)
    handler = _EscapingHandler(logging.NOTSET, args)
    if verbose:
        _PACKAGE.setLevel(logging.INFO)
    else:
        handler.addFilter(is_notice)
    _PACKAGE.addHandler(handler)
    try:
        yield
    finally:
        logging.lastResort = default
        _PACKAGE.removeHandler(handler)
        _PACKAGE.setLevel(level)


class _EscapingHandler(logging.Handler):
    """A handler that prints escaped log messages to standard error."""

    def __init__(self, level: int, args: Sequence[str]) -> None:
        super().__init__(level)
        self._args = args

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log message and its traceback."""
        try:
            error = record.exc_info[1] if record.exc_info else None
            secrets = secrets_in(self._args)
            for line in (record.getMessage(), *(traceback_lines(error) if error else ())):
                echo_err(redacted(line, secrets))
        except Exception:
            self.handleError(record)
