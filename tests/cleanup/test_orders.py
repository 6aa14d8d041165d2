"""The orders of the steps of withdrawals keep their promises in the model, and the model notices mistakes."""

from __future__ import annotations

import pytest
from cleanup import orders
from cleanup.orders import Process, State, at, problems

pytestmark = pytest.mark.once


@pytest.mark.parametrize("operations", [1, 2, 3])
def test_no_interleaving_breaks_a_promise(operations: int) -> None:
    assert list(problems(operations)) == []


def test_a_deletion_that_begins_again_without_settling_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(process: Process, state: State) -> tuple[Process, State]:
        if process.step == "bury" and state.revision != process.seen[0]:
            return at(process, "start"), state
        return orders.yank(process, state, delete=True)

    monkeypatch.setitem(orders.OPERATIONS, "delete", hasty)
    assert any("isn't listed" in problem for problem in problems(3))


def test_a_fence_that_pushes_ignore_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def heedless(process: Process, state: State) -> tuple[Process, State]:
        return at(process, "end"), state._replace(listed=True)

    monkeypatch.setitem(orders.OPERATIONS, "push", heedless)
    assert any("listed" in problem for problem in problems(2))
