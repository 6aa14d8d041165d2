"""Options of S3 clients."""

from __future__ import annotations

from dataclasses import dataclass

from aioassets.drivers.s3.values import given


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the clients of one bucket, as `S3Driver` documents them.

    Attributes:
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

    @property
    def encryption_params(self) -> dict[str, str]:
        """Return the SDK's parameters that ask for server-side encryption."""
        return given(ServerSideEncryption=self.sse, SSEKMSKeyId=self.sse_kms_key_id)

    @property
    def encryption_headers(self) -> dict[str, str]:
        """Return the headers that ask for server-side encryption."""
        header = "x-amz-server-side-encryption"
        return given(**{header: self.sse, f"{header}-aws-kms-key-id": self.sse_kms_key_id})
