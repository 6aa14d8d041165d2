"""Refusals by stores, proxies and services for credentials, and unusable settings: one line, a code, no retries."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from tools.servers import free_ports

Invoke = Callable[..., Any]

PASSWORD = "s3cr3t"
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


class Refusing(ThreadingHTTPServer):
    """Server that refuses every request.

    Attributes:
        received: the methods and paths of requests.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.received: list[str] = []
        self.refusal: tuple[int, dict[str, str], str] = (500, {}, "")

    @property
    def url(self) -> str:
        """Return the URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def refuse(self, kind: str, status: int, code: str, message: str, detail: str = "") -> None:
        """Set the response, in the form of one store or service."""
        error = f"<Code>{code}</Code><Message>{message}</Message>"
        match kind:
            case "s3":
                self.refusal = status, {}, f"<Error>{error}</Error>"
            case "sts":
                self.refusal = status, {}, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
            case "azure":
                detail = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"
                self.refusal = status, {"x-ms-error-code": code}, f"<Error>{error}{detail}</Error>"
            case "gcs":
                row = {"reason": code, "message": message}
                self.refusal = status, {}, json.dumps({"error": {"message": message, "errors": [row]}})


class _Refusal(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def refuse(self) -> None:
        """Send the response."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        server = cast("Refusing", self.server)
        server.received.append(f"{self.command} {self.path}")
        status, headers, body = server.refusal
        self.send_response(status)
        for name, value in {**headers, "content-length": f"{len(body)}"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Print nothing."""


for verb in ("CONNECT", "GET", "POST", "PUT"):
    setattr(_Refusal, f"do_{verb}", _Refusal.refuse)


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    """Run a server that refuses every request."""
    with Refusing() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Set credentials and a region, and return an empty configuration file of the AWS SDK."""
    config = tmp_path / "aws-config"
    config.touch()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example-key")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return config


def at(kind: str, url: str) -> list[str]:
    """Return the arguments that choose a store of a kind at a URL."""
    match kind:
        case "s3":
            return ["--bucket", "s3://models", "-o", f"endpoint_url={url}"]
        case "gcs":
            return ["--bucket", "gs://models", "-o", f"api_root={url}", "-o", "anonymous=true"]
    options = [f"account_url={url}/one", "account_name=one", "account_key=c2VjcmV0a2V5"]
    return ["--bucket", "az://models", *(f"-o{option}" for option in options)]


@pytest.mark.parametrize(
    ("kind", "status", "code", "detail", "exit_code", "advice"),
    [
        ("s3", 403, "AccessDenied", "", 6, "Check that the credentials allow s3:GetObject and s3:ListBucket."),
        ("s3", 403, "InvalidAccessKeyId", "", 6, "Check the credentials and their permissions."),
        ("s3", 403, "InvalidObjectState", "", 7, "Restore it"),
        ("s3", 403, "RequestTimeTooSkewed", "", 7, "This machine's clock is wrong."),
        ("azure", 403, "AuthorizationPermissionMismatch", "", 6, "Check the credentials and their permissions."),
        ("azure", 403, "AuthenticationFailed", "Signature did not match: date header", 6, "Check the credentials"),
        ("azure", 403, "AuthenticationFailed", "Signature not valid in the specified time frame: Start", 6, "(SAS)"),
        ("azure", 403, "AuthenticationFailed", "Request date header too old: 'Fri'", 7, "This machine's clock"),
        ("azure", 409, "BlobArchived", "", 7, "set-tier"),
        ("azure", 409, "BlobBeingRehydrated", "", 7, "is being restored from the archive"),
        ("azure", 412, "LeaseIdMissing", "", 6, "Break the lease"),
        ("azure", 409, "BlobImmutableDueToLegalHold", "", 6, "A retention policy or a hold"),
        ("gcs", 403, "forbidden", "", 6, "Check the credentials and their permissions."),
        ("gcs", 403, "retentionPolicyNotMet", "", 6, "A retention policy or a hold"),
        ("gcs", 403, "accountDisabled", "", 7, "Check the billing account"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_each_refusal_has_its_own_advice_and_exit_code(
    invoke: Invoke, refusing: Refusing, kind: str, status: int, code: str, detail: str, exit_code: int, advice: str
) -> None:
    refusing.refuse(kind, status, code, "It is refused.", detail)
    ran = invoke("versions", "name", *at(kind, refusing.url))
    assert (ran.code, ran.out, ran.err.count("\n")) == (exit_code, "", 1)
    assert f"{code}: It is refused. " in ran.err
    assert advice in ran.err
    assert len(set(refusing.received)) == len(refusing.received)


@pytest.mark.parametrize(
    ("status", "code", "message", "advice"),
    [
        (403, "AccessDenied", "Not authorized.", "Check the role"),
        (403, "SignatureDoesNotMatch", "Signature expired: it is now later.", "This machine's clock is wrong."),
        (400, "InvalidIdentityToken", "No provider.", "Check the role"),
        (400, "ExpiredTokenException", "Too old.", "sign in again"),
    ],
)
def test_a_refusal_by_sts_is_missing_credentials(
    invoke: Invoke,
    refusing: Refusing,
    aws: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    status: int,
    code: str,
    message: str,
    advice: str,
) -> None:
    (tmp_path / "token").write_text("token")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", refusing.url)
    refusing.refuse("sts", status, code, message)
    ran = invoke("versions", "name", "--bucket", "s3://models")
    assert (ran.code, ran.err.count("\n"), len(refusing.received)) == (6, 1, 1)
    assert ran.err.startswith("Error: Found no usable credentials for s3://models: ")
    assert f"{code}: {message.rstrip('.')}" in ran.err
    assert advice in ran.err


def test_a_missing_sign_in_of_sso_is_missing_credentials(
    invoke: Invoke, aws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.write_text(
        "[profile one]\nsso_start_url = https://one.example/start\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = reader\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "one")
    ran = invoke("versions", "name", "--bucket", "s3://models")
    assert (ran.code, ran.err.count("\n")) == (6, 1)
    assert "Error loading SSO Token: Token for https://one.example/start does not exist." in ran.err


@pytest.mark.parametrize(
    ("name", "value", "exit_code", "words"),
    [
        ("AWS_DEFAULT_REGION", "", 2, "The region is empty. Set AWS_DEFAULT_REGION"),
        ("AWS_DEFAULT_REGION", "us-east-1\n", 2, "The region contains a line break"),
        ("AWS_PROFILE", "", 2, "The profile is empty. Set AWS_PROFILE"),
        ("AWS_CA_BUNDLE", "/not/there.pem", 2, "'/not/there.pem': No such file or directory."),
        ("AWS_CA_BUNDLE", "/dev/null", 2, "'/dev/null': it contains no certificates."),
        ("AIOASSETS_S3_CA_BUNDLE", "/not/there.pem", 2, "'/not/there.pem': No such file or directory."),
        ("AIOASSETS_S3_ENDPOINT_URL", "http://minio_server:9000", 2, "endpoint_url contains an underscore"),
        ("AIOASSETS_S3_ADDRESSING_STYLE", "bent", 2, "S3 addressing style bent is invalid."),
        ("AWS_DEFAULTS_MODE", "none", 2, "invalid defaults mode: none."),
        ("AIOASSETS_S3_SECRET_ACCESS_KEY", "line\nbreak", 2, "The option secret_access_key contains a line break"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE\n", 6, "the access key ID contains a line break"),
        ("AWS_SECRET_ACCESS_KEY", "example\rkey", 6, "the secret access key contains a line break"),
        ("AWS_SESSION_TOKEN", " token", 6, "or begins or ends with whitespace"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_unusable_setting_of_s3_is_named_before_any_request(
    invoke: Invoke,
    refusing: Refusing,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    exit_code: int,
    words: str,
) -> None:
    monkeypatch.setenv("AIOASSETS_S3_ENDPOINT_URL", refusing.url)
    monkeypatch.setenv(name, value)
    ran = invoke("versions", "name", "--bucket", "s3://models")
    assert (ran.code, ran.out, ran.err.count("\n")) == (exit_code, "", 1)
    assert words in ran.err
    assert not refusing.received


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:{PASSWORD}#more@host:9",
        f"http://user:12/{PASSWORD}@host:9",
        f"user:{PASSWORD}?more@host:9",
        f"http://user:{PASSWORD}@host:port",
        f"socks5://user:{PASSWORD}@host:9",
        f"http://user:{PASSWORD}\n@host:9",
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_unusable_proxy_is_a_usage_error_without_its_password(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, kind: str, proxy: str
) -> None:
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    monkeypatch.setenv("no_proxy", "")
    for name in PROXIES:
        monkeypatch.setenv(name, proxy)
    ran = invoke("versions", "name", *at(kind, "https://host:9"))
    assert ran.code == 2
    assert "\nError: The proxy URL is invalid." in ran.err
    assert PASSWORD not in ran.err


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
@pytest.mark.parametrize("scheme", ["http://", ""])
@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.usefixtures("aws")
def test_a_failing_proxy_is_reported_without_its_password(
    invoke: Invoke, refusing: Refusing, monkeypatch: pytest.MonkeyPatch, kind: str, scheme: str, reachable: bool
) -> None:
    port = refusing.server_port if reachable else free_ports(1)[0]
    refusing.refusal = 407, {}, ""
    monkeypatch.setenv("AIOASSETS_DEBUG", "1")
    monkeypatch.setenv("AIOASSETS_RETRY_FOR", "0")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "elsewhere.example")
    for name in PROXIES:
        monkeypatch.setenv(name, f"{scheme}user:{PASSWORD}@127.0.0.1:{port}")
    ran = invoke("versions", "name", *at(kind, "https://host:9"))
    if scheme or kind == "s3":
        assert ran.code == 7
        assert f"the proxy 127.0.0.1:{port} refuse" in ran.err
    else:
        assert ran.code == 2
        assert "The proxy URL has no scheme." in ran.err
    assert PASSWORD not in ran.err
