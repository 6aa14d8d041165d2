"""Options of S3 clients."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from aioassets.drivers.s3.values import given
from aioassets.errors import InvalidSetting


def problem_of(text: str | None) -> str:
    """Return what is wrong with a credential or a name, without showing it; empty if nothing is."""
    text = text or ""
    if text.isprintable() and text == text.strip():
        return ""
    return "contains a line break or another control character, or begins or ends with a blank"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the clients of one bucket, as `S3Driver` documents them.

    Attributes:
        anonymous: whether requests are not signed.
        requester_pays: whether the caller pays for requests and transfers.
        verify: the file of certificate authorities, `False` for no verification, or `None` for the SDK's default.
    """

    bucket: str
    endpoint_url: str | None
    region: str | None
    profile: str | None
    access_key_id: str | None
    secret_access_key: str | None
    session_token: str | None
    addressing_style: str | None
    sse: str | None
    sse_kms_key_id: str | None
    request_checksum_calculation: str
    verify: str | bool | None
    connect_timeout: float
    read_timeout: float
    anonymous: bool = False
    requester_pays: bool = False

    def __post_init__(self) -> None:
        """Check the credentials and the endpoint. No error shows them.

        Raises:
            InvalidSetting: one of them is invalid.
        """
        for name in ("access_key_id", "secret_access_key", "session_token"):
            if problem := problem_of(getattr(self, name)):
                raise InvalidSetting(f"The option {name} {problem}.")
        if "_" in (urlsplit(self.endpoint_url or "").hostname or ""):
            raise InvalidSetting(
                "The host in the option endpoint_url has an underscore, which the AWS SDK does not accept. "
                "Use another name of the host, or its IP address."
            )

    @property
    def needs_credentials(self) -> bool:
        """Return whether the SDK has to find credentials."""
        return self.access_key_id is None and not self.anonymous

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of all requests."""
        return {"x-amz-request-payer": "requester"} if self.requester_pays else {}

    @property
    def encryption_params(self) -> dict[str, str]:
        """Return the SDK's parameters that ask for server-side encryption."""
        return given(ServerSideEncryption=self.sse, SSEKMSKeyId=self.sse_kms_key_id)

    @property
    def encryption_headers(self) -> dict[str, str]:
        """Return the headers that ask for server-side encryption."""
        header = "x-amz-server-side-encryption"
        return given(**{header: self.sse, f"{header}-aws-kms-key-id": self.sse_kms_key_id})
