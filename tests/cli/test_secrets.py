"""The command line shows no secrets, not even in tracebacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from tools.servers import free_ports

from aioassets import AssetsManager, StoreError

Invoke = Callable[..., Any]

SECRET = "s3cr3t/+key"


@pytest.mark.parametrize(
    "args",
    [
        ["-o", "region=x", "-o", f"secret_access_key={SECRET}", "-o", "access_key_id=AKIDEXAMPLE"],
        ["-o", f"secret_access_key={SECRET}"],
        ["-o", f"session_token={SECRET}", "-o", "colour=red"],
        ["-o", f"endpoint_url=https://user:{SECRET}@host"],
        ["-o", f"endpoint_url=https://user:{quote(SECRET, safe='')}@host"],
        ["-o", f"secret_access_key:{SECRET}"],
        ["--bucket", f"https://user:{SECRET}@host/bucket"],
        ["--bucket", f"az://bucket?sig={SECRET}"],
        ["--bucket", "az://bucket", "-o", f"connection_string=AccountKey={SECRET}"],
    ],
)
def test_errors_and_tracebacks_show_no_secret(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    monkeypatch.setenv("AIOASSETS_BUCKET", "s3://bucket")
    monkeypatch.setenv("AIOASSETS_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AIOASSETS_RETRY_FOR", "0")
    ran = invoke("versions", "name", *args)
    assert ran.code in (2, 6, 7)
    assert "Error: " in ran.err
    for form in (SECRET, quote(SECRET, safe="")):
        assert form not in ran.out + ran.err


def test_known_secrets_are_redacted_anywhere(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object, **options: object) -> list[str]:
        raise StoreError(f"It says: {SECRET}.") from RuntimeError(f"sent {quote(SECRET, safe='')} in vain")

    monkeypatch.setattr(AssetsManager, "list_versions", fail)
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    ran = invoke("versions", "name")
    assert ran.err.endswith("Error: It says: ***.\n")
    assert "RuntimeError: sent *** in vain" in ran.err
