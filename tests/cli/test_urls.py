"""The command that prints URLs."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.once

Invoke = Callable[..., Any]


@pytest.fixture
def model(invoke: Invoke, source: Path) -> None:
    """Push a directory as `team/model:0.0`."""
    assert invoke("new", source, "team/model", "-y").code == 0


@pytest.mark.usefixtures("model")
class TestURL:
    def test_it_prints_the_url(self, invoke: Invoke, tmp_path: Path) -> None:
        folder = (tmp_path / "store/assets/team/model/0.0").as_uri()
        assert invoke("url", "team/model").out == f"{folder}/\n"
        assert invoke("url", "team/model:0.0[a]").out == f"{folder}/a\n"
        document = invoke("url", "team/model[a]", "--json").document
        assert document == {"spec": "team/model[a]", "url": f"{folder}/a", "expires_in": None}

    @pytest.mark.parametrize(
        ("args", "code", "message"),
        [
            (["team/model[none]"], 3, "none"),
            (["team/model[a]", "--sign", "1h"], 7, "this kind of store has no signed URLs"),
            (["team/model[a]", "--sign", "8d"], 2, "between 1 second and 7 days, not for 691,200 seconds"),
            (["team/model[a]", "--sign", "soon"], 2, "'soon' is not a duration"),
            (["team/model", "--sign", "1h"], 2, "such as team/model:0.0[a]"),
        ],
    )
    def test_what_has_no_url_is_an_error(self, invoke: Invoke, args: list[str], code: int, message: str) -> None:
        ran = invoke("url", *args)
        assert (ran.code, ran.out) == (code, "")
        assert message in " ".join(ran.err.split())


@pytest.mark.servers
@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_it_prints_a_signed_url(run_on_store: Invoke, place: dict[str, Any], source: Path) -> None:
    assert run_on_store("new", source / "a", "team/file", "-y").code == 0
    assert run_on_store("url", "team/file").out == f"s3://{place['bucket']}/assets/team/file/0.0\n"
    ran = run_on_store("url", "team/file", "--sign", "5m", "--json")
    assert ran.document["expires_in"] == 300
    assert urllib.request.urlopen(ran.document["url"]).read() == b"first"
    assert "ignature=" not in ran.err
