"""Values that no document can hold are refused."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any

import pytest

from aioassets import Manifest, UsageError
from aioassets.model.arguments import check_count, check_labels, check_required_note, check_text
from aioassets.model.documents import parse_meta
from aioassets.model.marks import Mark
from aioassets.model.names import AssetSpec, parse_alias, parse_name
from aioassets.model.versioning import MajorMinor, SimpleDate, check_complete

NOW = datetime(2026, 11, 27, tzinfo=UTC)


class Stage(enum.StrEnum):
    TEST = "test"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"epoch": 3}, "The label 'epoch' must be a string, not int: write '3'."),
        ({"done": True}, "The label 'done' must be a string, not bool: write 'True'."),
        ({"loss": 0.5}, "The label 'loss' must be a string, not float: write '0.5'."),
        ({"stage": None}, "The label 'stage' must be a string, not NoneType."),
        ({"stage": ["a"]}, "The label 'stage' must be a string, not list."),
        ({"stage": b"a"}, "The label 'stage' must be a string, not bytes."),
        ({"stage": "x\udce9"}, r"The label 'stage' contains invalid characters: 'x\udce9'. Pass text in UTF-8."),
        ({1: "x"}, "The key of a label must be a string, not int: write '1'."),
        ({"x\udce9": "x"}, r"The key of a label contains invalid characters: 'x\udce9'. Pass text in UTF-8."),
        ({"": "x"}, "The key of a label must not be empty."),
        ([("a", "b")], "The labels must be a mapping of strings to strings, not list."),
        ("a=b", "The labels must be a mapping of strings to strings, not str."),
    ],
)
def test_labels_map_strings_to_strings(labels: Any, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_labels(labels)
    assert str(raised.value) == message


def test_labels_are_copied() -> None:
    labels = {"stage": "test", "empty": "", "日本": "é"}
    assert check_labels(labels) == labels
    assert check_labels(labels) is not labels
    assert check_labels(None) == {}


@pytest.mark.parametrize("reason", ["", " \n", None, 5])
def test_a_required_text_must_say_something(reason: Any) -> None:
    with pytest.raises(UsageError, match="The reason must"):
        check_required_note(reason, "reason")


def test_the_value_of_a_string_enumeration_is_written() -> None:
    manifest = Manifest(NOW, True, (), message=Stage.TEST, labels={"stage": Stage.TEST})
    check_text(Stage.TEST, "message")
    parsed = parse_meta(manifest.to_json())
    assert isinstance(parsed, Manifest)
    assert (parsed.message, parsed.labels) == ("test", {"stage": "test"})


@pytest.mark.parametrize(
    "fields",
    [
        {"message": 7},
        {"message": "\ud800"},
        {"tool": b"x"},
        {"token": 1},
        {"labels": {"epoch": 3}},
        {"labels": {1: "x"}},
        {"labels": {"a": "\ud800"}},
    ],
)
def test_a_manifest_that_could_not_be_read_is_never_made(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Manifest(NOW, True, (), **fields)


@pytest.mark.parametrize("reason", [5, b"x", "\ud800"])
def test_a_mark_that_could_not_be_read_is_never_made(reason: Any) -> None:
    with pytest.raises(UsageError, match="The reason"):
        Mark("token", NOW, reason=reason)


@pytest.mark.parametrize("value", [None, 0.0, 1, b"model"])
def test_names_versions_and_specs_are_strings(value: Any) -> None:
    for parse in (parse_name, parse_alias, AssetSpec.parse, AssetSpec):
        with pytest.raises(UsageError, match="it must be a string, not"):
            parse(value)
    for scheme in (MajorMinor(), SimpleDate()):
        with pytest.raises(UsageError, match="it must be a string, not"):
            check_complete(scheme, value)


@pytest.mark.parametrize("field", ["version", "part", "alias"])
def test_the_fields_of_a_spec_are_strings(field: str) -> None:
    fields: dict[str, Any] = {field: 1}
    with pytest.raises(UsageError, match="it must be a string, not int"):
        AssetSpec("model", **fields)


@pytest.mark.parametrize("value", ["3", 1.5, True, 0, -1])
def test_a_count_is_a_positive_integer(value: Any) -> None:
    with pytest.raises(UsageError, match=r"^The limit must be (an integer, not \w+|at least 1, not -?\d)\.$"):
        check_count(value, "The limit")
