"""Identities of buckets on S3: what the SDK resolves distinguishes two stores with one name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.session import Session

from aioassets import InvalidSetting, MissingCredentials, S3Driver
from aioassets.drivers.s3.place import place_of

pytestmark = pytest.mark.once

Configure = Callable[..., None]

HERE, THERE = "http://here.example:9000", "https://there.example"


@pytest.fixture(autouse=True)
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Return a function that sets the SDK's variables and writes its configuration file."""
    for name in (
        "ENDPOINT_URL",
        "ENDPOINT_URL_S3",
        "DEFAULT_REGION",
        "PROFILE",
        "DEFAULT_PROFILE",
        "IGNORE_CONFIGURED_ENDPOINT_URLS",
        "DATA_PATH",
    ):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))

    def write(text: str = "", *, credentials_file: str = "", **variables: str) -> None:
        config.write_text(text)
        credentials.write_text(credentials_file)
        for name, value in variables.items():
            monkeypatch.setenv(f"AWS_{name}", value)

    return write


def resolved(profile: str | None, region: str | None) -> str:
    """Return the endpoint that the SDK resolves."""
    session = Session(profile=profile)
    return str(session.create_client("s3", region, aws_access_key_id="a", aws_secret_access_key="b").meta.endpoint_url)


TWO_PROFILES = f"""
[profile staging]
endpoint_url = {HERE}
[profile production]
services = ours
region = eu-central-1
[services ours]
s3 =
  endpoint_url = {THERE}
[profile china]
region = cn-north-1
[profile plain]
region = us-west-2
"""


@pytest.mark.parametrize(
    ("config", "variables", "options", "place"),
    [
        ("", {}, {}, "aws"),
        ("[default]\nregion = eu-west-1\n", {}, {}, "aws"),
        ("", {}, {"region": "ap-south-1"}, "aws"),
        ("", {}, {"region": "cn-north-1"}, "aws-cn"),
        ("", {"DEFAULT_REGION": "us-gov-west-1"}, {}, "aws-us-gov"),
        ("", {"ENDPOINT_URL": HERE}, {}, HERE),
        ("", {"ENDPOINT_URL": HERE, "ENDPOINT_URL_S3": THERE}, {}, THERE),
        ("", {"ENDPOINT_URL": HERE, "ENDPOINT_URL_S3": ""}, {}, HERE),
        ("", {"ENDPOINT_URL": HERE, "IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, {}, "aws"),
        ("", {"ENDPOINT_URL": HERE, "DEFAULT_REGION": "cn-north-1"}, {}, HERE),
        ("[default]\nignore_configured_endpoint_urls = true\n", {"ENDPOINT_URL": HERE}, {}, "aws"),
        (f"[default]\nendpoint_url = {HERE}\n", {}, {}, HERE),
        (f"[default]\nendpoint_url = {HERE}\n", {"ENDPOINT_URL_S3": THERE}, {}, THERE),
        ("[default]\nregion = cn-north-1\n", {}, {"region": "eu-west-1"}, "aws"),
        (TWO_PROFILES, {}, {}, "aws"),
        (TWO_PROFILES, {}, {"profile": "staging"}, HERE),
        (TWO_PROFILES, {}, {"profile": "production"}, THERE),
        (TWO_PROFILES, {"PROFILE": "production"}, {}, THERE),
        (TWO_PROFILES, {}, {"profile": "china"}, "aws-cn"),
        (TWO_PROFILES, {}, {"profile": "plain"}, "aws"),
    ],
)
def test_the_identity_names_the_endpoint_that_the_sdk_resolves(
    configure: Configure, config: str, variables: dict[str, str], options: dict[str, str], place: str
) -> None:
    configure(config, **variables)
    driver = S3Driver("models", **options)  # type: ignore[arg-type]

    assert driver.identity == ("s3://models" if place == "aws" else f"s3://models@{place}")
    assert place_of(resolved(options.get("profile"), options.get("region"))) == place


def test_an_endpoint_in_the_credentials_file_counts(configure: Configure) -> None:
    configure(credentials_file=f"[default]\nendpoint_url = {HERE}\n")

    assert S3Driver("models").identity == f"s3://models@{HERE}"


def test_the_endpoint_of_a_given_client_counts() -> None:
    client = Session().create_client(
        "s3", "eu-west-1", endpoint_url=HERE, aws_access_key_id="a", aws_secret_access_key="b"
    )

    assert S3Driver("models", client=client).identity == S3Driver("models", endpoint_url=HERE).identity


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [
        ("https://s3.amazonaws.com", "aws"),
        ("https://s3.eu-west-1.amazonaws.com/", "aws"),
        ("http://s3.dualstack.us-east-1.amazonaws.com", "aws"),
        ("https://s3-fips.us-east-1.amazonaws.com", "aws"),
        ("https://s3-fips.us-gov-west-1.amazonaws.com", "aws-us-gov"),
        ("https://s3.cn-northwest-1.amazonaws.com.cn", "aws-cn"),
        ("https://cn-models.s3.eu-west-1.amazonaws.com", "https://cn-models.s3.eu-west-1.amazonaws.com"),
        ("https://s3-outposts.us-east-1.amazonaws.com", "https://s3-outposts.us-east-1.amazonaws.com"),
        ("https://s3.amazonaws.com.example.org", "https://s3.amazonaws.com.example.org"),
        ("HTTPS://Here.Example:443/", "https://here.example"),
        ("http://user:secret@here:9000", "http://here:9000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("http://here/a/b/", "http://here%2Fa%2Fb"),
    ],
)
def test_spellings_of_one_endpoint_are_one_place(endpoint: str, place: str) -> None:
    assert place_of(endpoint) == place


def test_an_endpoint_that_is_no_url_is_an_invalid_setting(configure: Configure) -> None:
    configure(ENDPOINT_URL="http://here:port")

    with pytest.raises(InvalidSetting, match="the endpoint in the SDK's configuration is not an HTTP URL"):
        S3Driver("models").identity  # noqa: B018 - the access raises


def test_an_unknown_profile_is_an_error_of_the_package(configure: Configure) -> None:
    configure(f"[default]\nendpoint_url = {HERE}\n")

    with pytest.raises(MissingCredentials, match="nobody"):
        S3Driver("models", profile="nobody").identity  # noqa: B018 - the access raises


LOADED = "import sys; from aioassets import S3Driver; S3Driver('m').identity; print('botocore' in sys.modules)"


@pytest.mark.parametrize(
    ("config", "variables", "imports"),
    [
        ("[default]\nregion = eu-west-1\n[profile other]\nregion = us-east-1\n", {}, False),
        ("", {"ENDPOINT_URL": HERE}, False),
        (TWO_PROFILES, {}, True),
    ],
)
def test_the_sdk_is_imported_only_if_its_files_may_name_another_place(
    configure: Configure, config: str, variables: dict[str, str], imports: bool
) -> None:
    configure(config, **variables)
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)

    assert done.stdout == f"{imports}\n"
