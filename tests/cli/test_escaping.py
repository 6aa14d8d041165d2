"""Escaping of printed text."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioassets.cli.escaping import LONGEST, abridged, escaped, escaped_field, traceback_lines
from aioassets.cli.output import echo, echo_err, escaped_logging

ANY_TEXT = st.text(st.characters(categories=["C", "Z", "L", "M", "S"]))


@given(ANY_TEXT)
def test_escaped_text_is_one_printable_line_and_reversible(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    if "\\" not in text:
        assert shown.encode("ascii", "backslashreplace").decode("unicode_escape") == text


@given(ANY_TEXT)
@example("a\\n,b=c\n\\")
def test_an_escaped_field_is_reversible_and_has_no_separators(text: str) -> None:
    field = escaped_field(text, ",=")
    assert field.isprintable()
    assert not {",", "="} & set(field)
    assert field.encode("ascii", "backslashreplace").decode("unicode_escape") == text
    assert escaped_field(field) is field


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
def test_only_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_echo_err_prints_one_escaped_line(capsys: pytest.CaptureFixture[str]) -> None:
    echo_err("a\nb\u202e")
    assert capsys.readouterr() == ("", "a\\nb\\u202e\n")


def test_echo_prints_one_line_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\tb", "c\nd")
    assert capsys.readouterr() == ("a\\tb\tc\\nd\n", "")


def test_a_long_line_keeps_its_beginning_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    """The end of an error says what to do. Results are never shortened."""
    assert abridged("a" * LONGEST) == "a" * LONGEST
    echo_err(f"begin{'a' * 10**6}end")
    echo("a" * 10**6)
    printed = capsys.readouterr()
    assert len(printed.err) < LONGEST + 100
    assert printed.err.startswith("begin")
    assert printed.err.endswith("aend\n")
    assert printed.out == "a" * 10**6 + "\n"


def test_characters_missing_in_the_encoding_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(data, encoding="ascii"))
    echo("é日")
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
def test_messages_cannot_add_lines_to_a_traceback(text: str) -> None:
    lines = traceback_lines(failed(text))
    assert len(lines) == len(traceback_lines(failed("plain")))
    assert all(line.isprintable() for line in lines)


@given(ANY_TEXT)
def test_messages_cannot_unindent_lines_of_a_group_traceback(text: str) -> None:
    for line in traceback_lines(ExceptionGroup(text, [failed(text)])):
        assert line.startswith("  ")
        assert line.isprintable()


def test_log_records_are_printed_as_escaped_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with escaped_logging():
        logging.getLogger("sdk.test").warning("it says: %s", "\x1b[2J\nError: none")
    assert capsys.readouterr().err == "it says: \\x1b[2J\\nError: none\n"


@pytest.mark.parametrize(("verbose", "printed"), [(True, "retrying\\x1b[2J, sig=***\n"), (False, "")])
def test_debug_mode_prints_records_of_the_package_from_info_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verbose: bool, printed: str
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    logger = logging.getLogger("aioassets.test")
    with escaped_logging(verbose=verbose):
        logger.info("retrying%s, sig=%s", "\x1b[2J", "c0ffee")
        logger.debug("a request")
        logging.getLogger("sdk").info("not shown")
    logger.info("after the command")
    assert capsys.readouterr().err == printed
