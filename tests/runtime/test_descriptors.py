"""The limit of open files: work is fitted to it, and commands raise it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from aioassets import AssetsManager, Dispatcher
from aioassets.runtime.budget import MAX_REQUESTS
from aioassets.runtime.descriptors import FEWEST, PER_REQUEST, RESERVED, fitting

RAISE = """
import resource
from aioassets.runtime.descriptors import raise_limit
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def limited(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (soft, resource.RLIM_INFINITY))


def fill_gaps(count: int) -> list[int]:
    """Open descriptors until the next `count` free ones are consecutive, and return them."""
    opened: list[int] = []
    while len(opened) <= count or opened[-1] - opened[-1 - count] != count:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    for _ in range(count + 1):
        os.close(opened.pop())
    return opened


@pytest.mark.parametrize("soft", [256, 512, 1024])
def test_requests_fit_the_limit_beside_what_is_open(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    limited(monkeypatch, soft)
    opened = fill_gaps(PER_REQUEST)
    before = fitting(10_000)
    assert PER_REQUEST * before + RESERVED < soft
    opened += [os.open(os.devnull, os.O_RDONLY) for _ in range(PER_REQUEST)]
    assert fitting(10_000) == before - 1
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize("soft", [8192, resource.RLIM_INFINITY])
def test_a_high_limit_restricts_nothing(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    limited(monkeypatch, soft)
    assert fitting(MAX_REQUESTS) == MAX_REQUESTS
    assert Dispatcher().budget.requests_allowed == MAX_REQUESTS


def test_a_tiny_limit_allows_a_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 32)
    assert fitting(MAX_REQUESTS) == FEWEST
    assert Dispatcher().budget.requests_allowed == FEWEST


def test_no_free_descriptor_allows_a_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(24, "Too many open files")

    limited(monkeypatch, 256)
    monkeypatch.setattr("os.pipe", refuse)
    assert fitting(MAX_REQUESTS) == FEWEST


async def test_a_manager_changes_no_limit_of_its_process(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "file").touch()
    async with AssetsManager(tmp_path / "store", assets_dir=tmp_path / "cache") as manager:
        await manager.create_asset(tmp_path / "file", "model")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(256, 256, "256 256"), (256, 4096, "4096 4096"), (4096, 4096, "4096 4096"), (256, 20_000, "10240 20000")],
)
def test_a_command_raises_its_limit_as_far_as_the_system_allows(soft: int, hard: int, expected: str) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("the system allows fewer open files")
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n{RAISE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
