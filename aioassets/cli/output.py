"""Lines, paths and JSON documents on the standard streams, escaped.

Every line that a command prints goes through this module.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncclick as click

from aioassets.cli.escaping import abridged, escaped, traceback_lines


def echo_err(line: str = "", *, end: str = "\n") -> None:
    """Print one line on standard error. Untrusted text in it is escaped, and a very long line is shortened."""
    _write(abridged(escaped(line)) + end, err=True)


def echo(*fields: str) -> None:
    """Print one line of results on standard output: escaped fields, separated by tabs."""
    _write("\t".join(map(escaped, fields)) + "\n", err=False)


def echo_path(path: Path) -> None:
    """Print a path on standard output.

    A terminal gets it escaped. A pipe gets the exact bytes, so that programs can open the path.
    """
    if sys.stdout.isatty():
        echo(str(path))
    else:
        click.echo(os.fsencode(path))


def echo_json(document: Mapping[str, Any]) -> None:
    """Print a JSON document on standard output, in ASCII."""
    click.echo(json.dumps(document, indent=2))


def _write(text: str, *, err: bool) -> None:
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), err=err, nl=False)


@contextlib.contextmanager
def logging_escaped() -> Iterator[None]:
    """Escape the log records that Python prints when logging isn't configured."""
    default = logging.lastResort
    logging.lastResort = _EscapingHandler(logging.WARNING)
    try:
        yield
    finally:
        logging.lastResort = default


class _EscapingHandler(logging.Handler):
    """Handler that prints escaped log records on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record and its traceback."""
        try:
            echo_err(record.getMessage())
            for line in traceback_lines(record.exc_info[1]) if record.exc_info and record.exc_info[1] else ():
                echo_err(line)
        except Exception:
            self.handleError(record)
