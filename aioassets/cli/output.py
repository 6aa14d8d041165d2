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
from typing import Any, Final

import asyncclick as click

from aioassets.cli.escaping import abridged, escaped, traceback_lines
from aioassets.cli.redaction import redacted

_PACKAGE: Final = logging.getLogger("aioassets")


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
