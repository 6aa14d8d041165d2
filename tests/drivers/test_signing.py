"""Signatures are equal to those of the SDK."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.utils import percent_encode, percent_encode_sequence
from hypothesis import given
from hypothesis import strategies as st

from aioassets.drivers.s3.signing import UNSIGNED, Signer, encoded_key, encoded_query, host_of

ENCODABLE = st.characters(exclude_categories=["Cs"])
ODD_PARTS = st.sampled_from([".", "..", "", "+", "%", "%2F", "~", " ", "a b", "é", "*", "?", "#", "&=", ":", "文"])
KEYS = st.one_of(st.text(ENCODABLE, min_size=1), st.lists(ODD_PARTS, min_size=1).map("/".join).filter(bool))
HOSTS = st.sampled_from(["bucket.s3.eu-west-1.amazonaws.com", "localhost", "127.0.0.1", "[::1]", "Store.Example"])
PORTS = st.one_of(st.just(""), st.integers(1, 65535).map(":{}".format), st.sampled_from([":80", ":443"]))
ENDPOINTS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    HOSTS,
    PORTS,
    st.sampled_from(["/", "/bucket/", "/base/bucket/", "/a%20b/bucket/"]),
)
HEADER_NAMES = st.one_of(
    st.from_regex(r"x-amz-[a-z0-9-]{1,12}", fullmatch=True),
    st.sampled_from(["range", "if-match", "if-none-match", "cache-control", "content-type", *sorted(UNSIGNED)]),
).filter(lambda name: name not in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token"))
HEADER_VALUES = st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cc", "Cs"]))
TEXT = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1)
QUERIES = st.dictionaries(st.text(ENCODABLE, min_size=1), st.text(ENCODABLE), max_size=4)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1))


def signed_by_the_sdk(
    method: str, url: str, headers: dict[str, str], credentials: ReadOnlyCredentials, region: str, moment: datetime
) -> dict[str, str]:
    request = AWSRequest(method=method, url=url, headers=headers)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        S3SigV4Auth(credentials, "s3", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    method=st.sampled_from(["GET", "PUT"]),
    endpoint=ENDPOINTS,
    key=KEYS,
    query=QUERIES,
    headers=st.dictionaries(HEADER_NAMES, HEADER_VALUES),
    access=TEXT,
    secret=st.text(ENCODABLE, min_size=1),
    token=st.one_of(st.none(), TEXT),
    region=st.one_of(st.sampled_from(["us-east-1", "eu-west-1", "auto"]), TEXT),
    moments=st.lists(MOMENTS, min_size=1, max_size=3),
)
def test_signatures_are_those_of_the_sdk(
    method: str,
    endpoint: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    access: str,
    secret: str,
    token: str | None,
    region: str,
    moments: list[datetime],
) -> None:
    signer = Signer(region)
    credentials = ReadOnlyCredentials(access, secret, token)
    url = f"{endpoint}{encoded_key(key)}"
    parts = urlsplit(url)
    if query:
        url += f"?{encoded_query(query)}"
    for moment in moments:  # the signer caches its key
        time = moment.strftime("%Y%m%dT%H%M%SZ")
        ours = signer.signed(credentials, method, host_of(parts), parts.path, encoded_query(query), headers, time=time)
        expected = signed_by_the_sdk(method, url, headers, credentials, region, moment.replace(tzinfo=UTC))
        assert {**expected, "host": host_of(parts)} == ours


@given(first=st.text(ENCODABLE, min_size=1), second=st.text(ENCODABLE, min_size=1))
def test_credentials_may_change_from_one_request_to_the_next(first: str, second: str) -> None:
    signer = Signer("eu-west-1")
    moment = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    for secret in (first, second, first):
        credentials = ReadOnlyCredentials("id", secret, None)
        ours = signer.signed(credentials, "GET", "store", "/key", "", {}, time="20240229T235959Z")
        expected = signed_by_the_sdk("GET", "http://store/key", {}, credentials, "eu-west-1", moment)
        assert ours["authorization"] == expected["Authorization".lower()]


def test_the_digest_of_a_payload_is_signed() -> None:
    signer = Signer("eu-west-1")
    credentials = ReadOnlyCredentials("id", "secret", None)
    request = AWSRequest(method="PUT", url="http://store/key", data=b"data")
    moment = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    digest = request.headers["X-Amz-Content-SHA256"]
    ours = signer.signed(credentials, "PUT", "store", "/key", "", {}, time="20240229T235959Z", payload=digest)
    assert ours["authorization"] == request.headers["Authorization"]


@given(KEYS)
def test_keys_are_encoded_as_by_the_sdk(key: str) -> None:
    assert encoded_key(key) == percent_encode(key, safe="/~")


@given(QUERIES)
def test_queries_are_encoded_as_by_the_sdk(query: dict[str, str]) -> None:
    assert encoded_query(query) == percent_encode_sequence(query)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://store", "store"),
        ("https://Store:443", "store"),
        ("http://store:443", "store:443"),
        ("http://store:80", "store"),
        ("http://[::1]:9000", "[::1]:9000"),
    ],
)
def test_the_default_port_is_not_part_of_the_host(url: str, host: str) -> None:
    assert host_of(urlsplit(url)) == host
