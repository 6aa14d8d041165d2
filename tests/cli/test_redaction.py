"""Redaction of secrets."""

from __future__ import annotations

import base64
import os
from urllib.parse import quote, quote_plus

import pytest

from aioassets.cli.redaction import redacted
from aioassets.settings import secrets_in

SECRET = "s3cr3t value/+=&"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host/key?X-Amz-Signature=c0ffee&part=1",
        "https://host/key?part=1&sig=c0ffee%2Bx",
        "PUT /upload/storage?upload_id=c0ffee",
        "url='https://host/token?access_token=c0ffee'",
        "{'Authorization': 'AWS4-HMAC-SHA256 Credential=AKID/20240101, SignedHeaders=host, Signature=c0ffee'}",
        "Authorization: Bearer c0ffee",
        "headers <Bearer c0ffee>",
        "SharedKey account:c0ffee==",
        "AccountName=one;AccountKey=c0ffee==;BlobEndpoint=http://host",
        "http://user:c0ffee@host:9000/path",
        "http://user:p@c0ffee@host:9000/path",
        "http://user:p/c0ffee@host:9000/path",
        "http://user:p#c0ffee@host:9000/path",
        "http://c0ffee@host:9000/path",
        "s3://key:c0ffee@bucket",
        "s3://bucket@http://user:c0ffee@host:9000/path",
        "-----BEGIN PRIVATE KEY-----\nc0ffee\n-----END PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nc0ffee",
        '{"client_secret": "c0ffee", "token_uri": "https://host"}',
        "X-Amz-Security-Token: c0ffee",
        "S3Driver(secret_access_key='c0ffee', region='x')",
    ],
)
def test_secrets_are_recognized_by_the_name_before_them(text: str) -> None:
    hidden = redacted(text)
    assert "c0ffee" not in hidden
    assert "***" in hidden


def test_known_secrets_are_redacted_in_every_encoding() -> None:
    coded = base64.b64encode(SECRET.encode()).decode()
    text = f"{SECRET} {quote(SECRET, safe='')} {quote_plus(SECRET)} {coded} {SECRET!r}"
    assert redacted(text, [SECRET]) == "*** *** *** *** '***'"


def test_a_secret_that_is_not_valid_utf_8_is_redacted() -> None:
    """Arguments and variables may contain any bytes."""
    secret = os.fsdecode(b"key \xe9 secret")
    assert redacted(f"{secret} key%20%E9%20secret {secret!r}", [secret]) == "*** *** '***'"


def test_a_secret_that_contains_another_is_redacted_whole() -> None:
    assert redacted("before outer-secret-x", ["secret-x", "outer-secret-x"]) == "before ***"


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/assets/design:1.2 can't be read",
        "https://host:9000/path?part=1 took too long",
        "the signature isn't valid: check the key",
        "s3://bucket@http://host:9000 is unavailable",
        "s3://bucket@http://host:9000/assets and s3://bucket@aws-cn/assets",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/models@http://host:9000/assets",
        "s3://arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/models@aws-cn/assets",
        "az://bucket@https://account.blob.core.windows.net/assets",
        "https://host:9000/path@latest took too long",
        "s3://bucket/assets/design:1.2@latest can't be read",
        "user@host pushed team/model",
        "assign = resignature",
        "file:///home/user/a@b",
        "",
    ],
)
def test_ordinary_text_is_not_redacted(text: str) -> None:
    assert redacted(text, ["key", "x", ""]) == text


def test_secrets_are_read_from_options_and_variables() -> None:
    args = ["-o", "secret_access_key=one", "-os3.session_token=t=wo", "--storage-option=azure.account_key=three", "a=b"]
    environ = {
        "AWS_SECRET_ACCESS_KEY": "four",
        "AIOASSETS_AZURE_SAS_TOKEN": "?sv=1&sig=fi%2Fve",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=one;AccountKey=six==",
        "AIOASSETS_AZURE_ACCOUNT_URL": "https://one?sig=seven&sp=r",
        "AIOASSETS_BUCKET": "s3://models",
        "HTTPS_PROXY": "user:ei@g/ht@host:9",
        "http_proxy": "http://user:eig%23ht@host:9",
        "AIOASSETS_S3_ENDPOINT_URL": "https://user:t#en@host",
        "PS1": "user:eleven@host",
    }
    assert secrets_in(args, environ) == {
        "one",
        "t=wo",
        "three",
        "four",
        "?sv=1&sig=fi%2Fve",
        "fi/ve",
        "AccountName=one;AccountKey=six==",
        "six==",
        "seven",
        "user:ei@g/ht",
        "ei@g/ht",
        "user:eig%23ht",
        "user:eig#ht",
        "eig%23ht",
        "eig#ht",
        "user:t#en",
        "t#en",
    }
