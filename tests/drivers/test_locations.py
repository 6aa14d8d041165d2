"""Locations of stores: what is misspelt or ambiguous is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from aioassets import AssetsManager, InvalidSetting
from aioassets.drivers import Location
from aioassets.settings import Settings


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("provider", [None, "s3", "local"])
@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ('"s3://models"', "s3://models"),
        ("'s3://models'", "s3://models"),
        ('"s3://models', "s3://models"),
        ("\u201cs3://models\u201d", "s3://models"),
        (" s3://models", "s3://models"),
        ("s3://models\t", "s3://models"),
        ("s3://models\r", "s3://models"),
        ("\ufeffs3://models", "s3://models"),
        ("s3:/models", "s3://models"),
        ("s3:models", "s3://models"),
        ("s3//models", "s3://models"),
        ("s3/models", "s3://models"),
        ("s3;//models", "s3://models"),
        ("s3=//models", "s3://models"),
        ("s3 ://models", "s3://models"),
        ("s3: //models", "s3://models"),
        ("s3\uff1a//models", "s3://models"),
        ("S3:/models", "s3://models"),
        ("s3:\\\\models", "s3://models"),
        ("s3:\\models", "s3://models"),
        (":s3://models", "s3://models"),
        ("gs:/models", "gs://models"),
        ("az:models", "az://models"),
        ("gcs:/models", "gs://models"),
        ("memory:models", "memory://models"),
        ("file:/srv/models", "file:///srv/models"),
        ("https//example.org/models", "https://example.org/models"),
        ("tape:/models", "tape://models"),
        ('"./store"', "./store"),
        (".\\store", "./store"),
        (Path("s3://models"), "s3://models"),
    ],
)
def test_a_slip_is_refused_with_a_suggestion(slip: str | Path, meant: str, provider: str | None) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Location.parse(slip, provider)
    assert f"Did you mean {meant}?" in str(caught.value)


@pytest.mark.parametrize(
    "slip",
    ["$BUCKET", "${BUCKET}", "s3://${BUCKET}", "s3://my models", 's3://"models"', "s3a://models", "C:\\store", " "],
)
def test_what_no_store_is_called_is_refused(slip: str) -> None:
    with pytest.raises(InvalidSetting):
        Location.parse(slip)


@pytest.mark.parametrize(
    "slip", ['"s3://key:secret@models"', "s3:key:secret", "s3:/models?sig=secret", "key:secret@models"]
)
def test_a_suggestion_shows_no_secret(slip: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Location.parse(slip)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["./s3:models", "../s3:models", "/srv/s3:/models", "~/s3:models", ".store", "a/store", "."]
)
def test_a_path_stays_a_path(path: str) -> None:
    assert Location.parse(path) == Location("local", path)


def test_an_upper_case_scheme_is_a_url() -> None:
    assert Location.parse("S3://models") == Location("s3", "models")


def test_a_bare_name_is_a_bucket_of_its_provider_or_a_folder_that_exists(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert Location.parse("there", "s3") == Location("s3", "there")
    assert Location.parse("there") == Location("local", "there")
    assert Location.parse("new", "local") == Location("local", "new")
    assert Location.parse(Path("new")) == Location("local", "new")


@pytest.mark.parametrize("name", ["my-models", "my-models/"])
@pytest.mark.parametrize("variable", ["AIOASSETS_BUCKET", "MODELKIT_STORAGE_BUCKET"])
def test_any_other_bare_name_is_ambiguous(name: str, variable: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as caught:
        _ = Settings.resolve(environ={variable: name}).location
    assert "./my-models" in str(caught.value)
    assert "s3://my-models" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_bucket_of_bytes_is_refused() -> None:
    with pytest.raises(InvalidSetting):
        AssetsManager(b"store")  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", ["s3://models", "s3:/models", '"/srv/cache"', " /srv/cache", b"cache"])
def test_an_assets_directory_that_is_no_path_is_refused(folder: str) -> None:
    with pytest.raises(InvalidSetting):
        _ = Settings(assets_dir=folder).cache_folder


@pytest.mark.parametrize("prefix", ['"assets"', " assets", "assets\r"])
def test_a_quoted_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidSetting, match="Did you mean assets"):
        Settings.resolve(environ={"AIOASSETS_PREFIX": prefix})
