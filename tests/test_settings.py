"""Settings from arguments, environment variables and defaults."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from aioassets import AssetsManager, Dispatcher, InvalidSetting, MemoryDriver, SimpleDate
from aioassets.drivers import Location, make_driver
from aioassets.drivers.local import LocalDriver
from aioassets.drivers.s3.driver import S3Driver
from aioassets.runtime.budget import MAX_REQUESTS
from aioassets.settings import Settings, debug_wanted


def resolve(environ: dict[str, str] | None = None, **arguments: object) -> Settings:
    return Settings.resolve(environ=environ or {}, **arguments)


def test_everything_but_the_bucket_has_a_default() -> None:
    settings = resolve()
    assert (settings.bucket, settings.prefix, settings.storage_provider) == (None, "assets", None)
    assert (settings.versioning, settings.offline, settings.single_writer) == ("major_minor", False, False)
    assert settings.cache_folder.name == "aioassets"


def test_arguments_take_precedence_over_variables_and_ours_over_those_of_modelkit() -> None:
    modelkit = {"MODELKIT_STORAGE_BUCKET": "theirs", "MODELKIT_STORAGE_PREFIX": "theirs"}
    ours = modelkit | {"AIOASSETS_BUCKET": "ours", "AIOASSETS_PREFIX": "ours"}
    assert resolve(ours, bucket="mine", prefix="mine").bucket == "mine"
    assert (resolve(ours).bucket, resolve(ours).prefix) == ("ours", "ours")
    assert (resolve(modelkit).bucket, resolve(modelkit).prefix) == ("theirs", "theirs")


def test_the_default_prefix_is_that_of_modelkit_if_the_bucket_is() -> None:
    modelkit = {"MODELKIT_STORAGE_BUCKET": "theirs", "MODELKIT_STORAGE_PROVIDER": "s3"}
    assert resolve(modelkit).prefix == "modelkit-assets"
    assert resolve(modelkit).storage_provider == "s3"
    assert resolve(modelkit, bucket="mine").prefix == "assets"
    assert resolve(modelkit | {"AIOASSETS_BUCKET": "ours"}).prefix == "assets"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, True) for text in ("true", "1", "YES", "on")] + [(text, False) for text in ("False", "0", "no", "off", "")],
)
def test_boolean_variables_accept_words_and_numbers(text: str, expected: bool) -> None:
    assert resolve({"AIOASSETS_OFFLINE": text}).offline is expected
    assert debug_wanted({"AIOASSETS_DEBUG": text}) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1000", 1000),
        ("20GB", 20 * 1000**3),
        ("1.5 gb", 1_500_000_000),
        ("500MiB", 500 * 1024**2),
        ("2k", 2000),
        ("1PiB", 1024**5),
        (" 7B ", 7),
    ],
)
def test_the_limit_of_the_cache_is_a_size_with_a_unit(text: str, expected: int) -> None:
    assert resolve({"AIOASSETS_CACHE_LIMIT": text}).cache_limit_bytes == expected
    assert resolve(cache_limit=text).cache_limit == expected
    assert resolve({"AIOASSETS_CACHE_LIMIT": text}, cache_limit=5).cache_limit_bytes == 5
    assert resolve().cache_limit_bytes is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retry_for": "60s"}, "retry_for must be a number, not str"),
        ({"max_requests": True}, "max_requests must be a number, not bool"),
        ({"storage_options": {"part_size": "5MiB"}}, "'5MiB' for the option part_size: it must be an integer"),
        ({"storage_options": {"connect_timeout": "1s"}}, "'1s' for the option connect_timeout: it must be a number"),
    ],
)
def test_a_number_of_another_type_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        AssetsManager("s3://bucket", **settings)


@pytest.mark.parametrize("limit", [-1, "much", ""])
def test_an_invalid_limit_of_the_cache_is_refused(limit: object) -> None:
    with pytest.raises(InvalidSetting, match="cache_limit"):
        resolve(cache_limit=limit)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("AIOASSETS_OFFLINE", "maybe"),
        ("AIOASSETS_MAX_REQUESTS", "many"),
        ("AIOASSETS_MAX_REQUESTS", "0"),
        ("AIOASSETS_MIN_REQUESTS", "0"),
        ("AIOASSETS_MIN_REQUESTS", f"{MAX_REQUESTS + 1}"),
        ("AIOASSETS_READ_TIMEOUT", "-1"),
        ("AIOASSETS_RETRY_FOR", "-1"),
        ("AIOASSETS_RETRY_FOR", "nan"),
        ("AIOASSETS_PREFIX", "a/../b"),
        ("AIOASSETS_CACHE_LIMIT", "20 gigs"),
        ("AIOASSETS_CACHE_LIMIT", "-1"),
        ("AIOASSETS_CACHE_LIMIT", "iB"),
    ],
)
def test_invalid_variables_are_refused(variable: str, text: str) -> None:
    with pytest.raises(InvalidSetting):
        resolve({variable: text})


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ('"s3://models"', "s3://models"),
        ("'gs://models'", "gs://models"),
        (" s3://models", "s3://models"),
        ("s3://models\n", "s3://models"),
        ('s3://models"', "s3://models"),
        ("“s3://models”", "s3://models"),
        ('"my-models"', "my-models"),
        ("s3:/models", "s3://models"),
        ("s3:models", "s3://models"),
        ("s3//models", "s3://models"),
        ("S3:/models", "s3://models"),
        ("s3:\\\\models", "s3://models"),
        ("s3;//models", "s3://models"),
        ("s3 ://models", "s3://models"),
        ("gs:/models/team", "gs://models"),
        ("az:models", "az://models"),
        ("https:/models.example.com", "https://models.example.com"),
        ("tape:/models", "tape://models"),
        ("file:/srv/models", "file://"),
        ("s3:/user:secret@host", "s3://name"),
        (" ", "whitespace"),
    ],
)
@pytest.mark.parametrize("provider", [None, "s3", "local"])
def test_a_url_with_a_slip_is_refused_with_a_suggestion(
    text: str, suggested: str, provider: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidSetting) as caught:
        _ = resolve({"AIOASSETS_BUCKET": text, "AIOASSETS_STORAGE_PROVIDER": provider or ""}).location
    assert suggested in str(caught.value)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["./s3:models", "/srv/s3:/models", "~/gs//models", "../models"])
def test_a_text_that_begins_like_a_path_is_a_path(path: str) -> None:
    assert resolve({"AIOASSETS_BUCKET": path}).location == Location("local", path)


def test_min_requests_defaults_to_at_most_max_requests() -> None:
    assert resolve({"AIOASSETS_MAX_REQUESTS": "2"}).fewest_requests == 2
    assert resolve({}, max_requests=100, min_requests=10).min_requests == 10


def test_driver_options_come_from_the_environment() -> None:
    environ = {
        "AIOASSETS_S3_REGION": "eu-west-1",
        "AIOASSETS_S3_PART_SIZE": "16777216",
        "S3_ENDPOINT": "http://theirs",
        "AWS_KMS_KEY_ID": "key",
    }
    assert resolve(environ).storage_options == {
        "s3.region": "eu-west-1",
        "s3.part_size": "16777216",
        "s3.endpoint_url": "http://theirs",
        "s3.sse": "aws:kms",
        "s3.sse_kms_key_id": "key",
    }
    ours = environ | {"AWS_ENDPOINT_URL_S3": "http://sdk", "AIOASSETS_S3_ENDPOINT_URL": "http://ours"}
    assert resolve(ours).storage_options["s3.endpoint_url"] == "http://ours"
    assert resolve(environ | {"AWS_ENDPOINT_URL_S3": "http://sdk"}).storage_options["s3.endpoint_url"] == "http://sdk"


def make(bucket: str, provider: str | None = None, **options: object) -> object:
    return make_driver(Location.parse(bucket, provider), dispatcher=Dispatcher(), options=options)


def test_a_bucket_is_a_url_a_path_or_a_name_with_a_provider(tmp_path: Path) -> None:
    for bucket, provider in ((str(tmp_path), None), (tmp_path.as_uri(), None), (str(tmp_path), "s3")):
        driver = make(bucket, provider)
        assert isinstance(driver, LocalDriver)
        assert driver.url == tmp_path.as_uri()
    for bucket, provider in (("s3://models", None), ("s3://models/", None), ("models", "s3"), ("S3://models", "local")):
        driver = make(bucket, provider)
        assert isinstance(driver, S3Driver)
        assert driver.url == "s3://models"
    assert isinstance(make("memory://x"), MemoryDriver)
    assert isinstance(make("store", "local"), LocalDriver)


@pytest.mark.parametrize(
    ("bucket", "provider"),
    [
        ("ftp://models", None),
        ("s3://", None),
        ("s3://models/path", None),
        ("s3://key:secret@models", None),
        ("file://elsewhere/path", None),
        ("models", "tape"),
    ],
)
def test_invalid_locations_are_refused_without_showing_secrets(bucket: str, provider: str | None) -> None:
    with pytest.raises(InvalidSetting) as caught:
        make(bucket, provider)
    assert "secret" not in str(caught.value)


def test_driver_options_are_parsed_and_unknown_ones_refused() -> None:
    assert isinstance(make("s3://models", **{"s3.part_size": "16777216", "verify": "false", "gcs.x": "y"}), S3Driver)
    for options in ({"part_size": "large"}, {"verify": "perhaps"}, {"colour": "red"}, {"part_size": "1"}):
        with pytest.raises(InvalidSetting):
            make("s3://models", **options)


class TestOneValue:
    def test_a_manager_with_settings_reads_no_environment(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AIOASSETS_BUCKET", "memory://of-the-environment")
        monkeypatch.setenv("AIOASSETS_PREFIX", "of-the-environment")
        assert AssetsManager(settings=Settings(assets_dir=tmp_path)).url is None
        given = Settings(bucket="memory://given", assets_dir=tmp_path)
        assert AssetsManager(settings=given).url == "memory://given/assets"

    def test_keywords_override_settings(self, tmp_path: Path) -> None:
        settings = Settings(bucket="memory://one", prefix="one", assets_dir=tmp_path)
        assert AssetsManager("memory://two", settings=settings).url == "memory://two/one"
        assert AssetsManager(settings=settings, assetsmanager_prefix="two").url == "memory://one/two"

    def test_options_of_drivers_are_merged(self) -> None:
        settings = Settings(storage_options={"s3.region": "here", "s3.profile": "mine"})
        assert settings.override(storage_options={"s3.region": "there"}).storage_options == {
            "s3.region": "there",
            "s3.profile": "mine",
        }

    def test_it_has_the_defaults_of_an_empty_environment(self) -> None:
        assert Settings() == resolve()

    def test_it_is_checked_and_never_changes(self) -> None:
        assert Settings(prefix="/team/assets/").prefix == "team/assets"
        cases: list[dict[str, Any]] = [
            {"prefix": "a/../b"},
            {"max_requests": 0},
            {"max_requests": 5, "min_requests": 6},
        ]
        for wrong in cases:
            with pytest.raises(InvalidSetting):
                Settings(**wrong)
        with pytest.raises(FrozenInstanceError):
            Settings().prefix = "other"  # type: ignore[misc]

    def test_it_takes_a_scheme_or_its_name(self) -> None:
        scheme = SimpleDate()
        assert Settings(versioning=scheme).scheme is scheme
        assert isinstance(Settings(versioning="simple_date").scheme, SimpleDate)
