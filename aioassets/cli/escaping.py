"""Escaping untrusted text, so that it can neither forge a line nor control a terminal."""

from __future__ import annotations

import traceback
from typing import Final

LONGEST: Final = 8000
"""Maximum length of a line on standard error, in characters. The middle of a longer line is omitted."""


def escaped(text: str, keep: str = "") -> str:
    r"""Replace each unprintable character with its Python escape sequence, such as `\x1b`.

    Unprintable characters are control characters, line and paragraph separators, spaces other than the
    ASCII space, format characters (bidirectional overrides, zero-width characters) and lone surrogates.

    Args:
        text: any text.
        keep: unprintable characters to leave unchanged.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text)


class Escaped(str):
    """A field of a line of results that is escaped already."""

    __slots__ = ()


def escaped_field(text: str, special: str = "") -> Escaped:
    r"""Escape a field of a line of results, so that its value can be restored without doubt.

    A backslash becomes `\\`, and each unprintable or special character becomes its Python escape sequence.

    Args:
        text: any text, which is returned as it is if it is escaped already.
        special: printable characters to escape as well, such as a separator within the field.
    """
    if isinstance(text, Escaped):
        return text
    if text.isprintable() and "\\" not in text and not any(char in text for char in special):
        return Escaped(text)
    doubled = text.replace("\\", "\\\\")
    return Escaped("".join(f"\\x{ord(char):02x}" if char in special else escaped(char) for char in doubled))


def abridged(line: str) -> str:
    """Return a line, omitting its middle if it is longer than `LONGEST`."""
    if len(line) <= LONGEST:
        return line
    half = LONGEST // 2
    return f"{line[:half]} [… {len(line) - 2 * half:,} characters …] {line[-half:]}"


def traceback_lines(error: BaseException) -> list[str]:
    """Return the lines of a traceback. A multi-line message is escaped so that it fits on a single line.

    In an exception group, all lines are indented, and messages may span several lines.
    """
    lines: list[str] = []
    for entry in traceback.format_exception(error):
        text = entry.removesuffix("\n")
        # Frames and separators start with whitespace and contain no untrusted text.
        lines += map(escaped, text.split("\n") if text[:1].isspace() or not text else [text])
    return lines
