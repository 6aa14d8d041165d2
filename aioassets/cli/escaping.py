"""Text from anywhere, made safe to print: one line stays one line, and no character commands a terminal."""

from __future__ import annotations

import traceback
from typing import Final

LONGEST: Final = 8000
"""Characters of a line for people; of a longer one, the beginning and the end are shown."""


def escaped(text: str, keep: str = "") -> str:
    r"""Return a text with every unprintable character replaced by its Python escape, like `\x1b`.

    Unprintable are control characters, line and paragraph separators, every space but the ASCII one,
    format characters (bidirectional overrides, zero-width characters) and lone surrogates.

    Args:
        text: any text.
        keep: unprintable characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text)


def abridged(line: str) -> str:
    """Return a line without its middle if it is too long to read."""
    if len(line) <= LONGEST:
        return line
    half = LONGEST // 2
    return f"{line[:half]} [… {len(line) - 2 * half:,} characters …] {line[-half:]}"


def traceback_lines(error: BaseException) -> list[str]:
    """Return the lines of a traceback; a message of several lines is one escaped line.

    In an exception group, all lines are indented, and a message may take several.
    """
    lines: list[str] = []
    for entry in traceback.format_exception(error):
        text = entry.removesuffix("\n")
        # Frames and separators begin with white space, and consist of source code or fixed words.
        lines += map(escaped, text.split("\n") if text[:1].isspace() or not text else [text])
    return lines
