"""Indexes and lists of aliases with many entries. The work on them must not grow with the square of their length."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from aioassets.model.aliases import AliasTable
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.marks import Mark

pytestmark = pytest.mark.once

MANY = 500
MARK = Mark("token", datetime(2026, 11, 27, tzinfo=UTC))


class Counted(str):
    """String that counts comparisons."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


@pytest.fixture(autouse=True)
def few_comparisons() -> Iterator[None]:
    Counted.comparisons = 0
    yield
    assert Counted.comparisons <= 10 * MANY


def test_the_numbers_of_a_long_index() -> None:
    listed = tuple(Counted(f"1.{number}") for number in range(MANY))
    deleted: dict[str, Fence] = {Counted(f"0.{number}"): Fence.DELETED for number in range(MANY)}
    both: dict[str, Fence] = {Counted("1.0"): Fence.YANKED, **deleted}
    assert VersionIndex(listed, both).numbers == (*listed, *deleted)


def test_the_aliases_of_many_versions() -> None:
    table = AliasTable()
    for number in range(MANY):
        table = table.moved(f"b{number}", Counted(f"1.{number}"), MARK)
    table = table.moved("a", Counted("1.7"), MARK)
    Counted.comparisons = 0
    found = table.by_version()
    assert len(found) == MANY
    assert found["1.7"] == table.of("1.7") == ("a", "b7")
