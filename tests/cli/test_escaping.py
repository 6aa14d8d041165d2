"""Nothing that is printed commands a terminal or looks like another line."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioassets.cli.console import echo_err, logging_escaped, put
from aioassets.cli.escaping import LONGEST, abridged, escaped, traceback_lines

ANY_TEXT = st.text(st.characters(categories=["C", "Z", "L", "M", "S"]))


@given(ANY_TEXT)
def test_any_text_becomes_one_printable_line_that_says_the_same(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    if "\\" not in text:
        assert shown.encode("ascii", "backslashreplace").decode("unicode_escape") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ünïcödé 日本語 🎉 [red]", "ünïcödé 日本語 🎉 [red]"),
        ("a\x1b[31m\x9b0m\x7f\0", "a\\x1b[31m\\x9b0m\\x7f\\x00"),
        ("a\r\n\tb\v\f\x85", "a\\r\\n\\tb\\x0b\\x0c\\x85"),
        ("\u202ea\u2066b\u2069", "\\u202ea\\u2066b\\u2069"),
        ("\u200b\u200d\ufeff\u2028\u2029\U000e0041", "\\u200b\\u200d\\ufeff\\u2028\\u2029\\U000e0041"),
        ("\udcff\ud800", "\\udcff\\ud800"),
    ],
    ids=["readable", "controls", "lines", "bidi", "invisible", "surrogates"],
)
def test_what_is_printable_stays_and_the_rest_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_line_is_said_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    echo_err("a\nb\u202e")
    assert capsys.readouterr() == ("", "a\\nb\\u202e\n")


def test_a_result_is_one_line_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    put("a\tb", "c\nd")
    assert capsys.readouterr() == ("a\\tb\tc\\nd\n", "")


def test_the_end_of_a_long_line_is_said_too(capsys: pytest.CaptureFixture[str]) -> None:
    """There stands what to do; a result is never cut."""
    assert abridged("a" * LONGEST) == "a" * LONGEST
    echo_err(f"begin{'a' * 10**6}end")
    put("a" * 10**6)
    printed = capsys.readouterr()
    assert len(printed.err) < LONGEST + 100
    assert printed.err.startswith("begin")
    assert printed.err.endswith("aend\n")
    assert printed.out == "a" * 10**6 + "\n"


def test_a_stream_of_another_encoding_gets_what_it_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))
    put("é日")
    sys.stdout.flush()
    assert data.getvalue() == b"\\xe9\\u65e5\n"


def failed(message: str) -> Exception:
    try:
        try:
            raise ValueError(message)
        except ValueError as error:
            raise KeyError(message) from error
    except KeyError as error:
        return error


@given(ANY_TEXT)
def test_a_traceback_has_as_many_lines_whatever_the_errors_say(text: str) -> None:
    lines = traceback_lines(failed(text))
    assert len(lines) == len(traceback_lines(failed("plain")))
    assert all(line.isprintable() for line in lines)


@given(ANY_TEXT)
def test_a_traceback_of_a_group_is_indented_whatever_the_errors_say(text: str) -> None:
    for line in traceback_lines(ExceptionGroup(text, [failed(text)])):
        assert line.startswith("  ")
        assert line.isprintable()


def test_log_records_are_printed_as_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with logging_escaped():
        logging.getLogger("sdk.test").warning("it says: %s", "\x1b[2J\nError: none")
    assert capsys.readouterr().err == "it says: \\x1b[2J\\nError: none\n"
