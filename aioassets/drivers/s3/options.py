"""Options for S3 clients."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from aioassets.drivers.s3.values import given
from aioassets.errors import InvalidSetting


def problem_of(text: str | None) -> str:
    """Return what is wrong with a credential or name, without quoting it, or an empty string if it is valid."""
    text = text or ""
    if text.isprintable() and text == text.strip():
        return ""
    return "contains a line break or another control character, or begins or ends with whitespace"


@dataclass(frozen=True, slots=True)
class Options:
    """Options for the clients of a bucket, as documented by `S3Driver`.

    Attributes:
        anonymous: whether to send unsigned requests.
        requester_pays: whether the caller pays for requests and transfers.
        verify: the path of a file of certificate authorities; `False` disables verification, and `None` uses the SDK's
            default.
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
        """Check the credentials and the endpoint. Error messages never contain them.

        Raises:
            InvalidSetting: one of them is invalid.
        """
        for name in ("access_key_id", "secret_access_key", "session_token"):
            if problem := problem_of(getattr(self, name)):
                raise InvalidSetting(f"The option {name} {problem}.")
        if "_" in (urlsplit(self.endpoint_url or "").hostname or ""):
            raise InvalidSetting(
                "The host name in the option endpoint_url contains an underscore, which the AWS SDK does not accept. "
                "Use a different name for the host, or its IP address."
            )

    @property
    def needs_credentials(self) -> bool:
        """Whether the SDK has to find credentials."""
        return self.access_key_id is None and not self.anonymous

    @property
    def headers(self) -> dict[str, str]:
        """Headers to send with every request."""
        return {"x-amz-request-payer": "requester"} if self.requester_pays else {}

    @property
    def encryption_params(self) -> dict[str, str]:
        """SDK parameters that request server-side encryption."""
        return given(ServerSideEncryption=self.sse, SSEKMSKeyId=self.sse_kms_key_id)

    @property
    def encryption_headers(self) -> dict[str, str]:
        """Headers that request server-side encryption."""
        header = "x-amz-server-side-encryption"
        return given(**{header: self.sse, f"{header}-aws-kms-key-id": self.sse_kms_key_id})
