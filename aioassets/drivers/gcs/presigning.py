"""URLs of objects, signed with version 4 by a service account's key, or by Google's IAM service.

The signature covers the XML API's URL of the object:
https://cloud.google.com/storage/docs/authentication/canonical-requests
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from aioassets.drivers.gcs.errors import read_service_error, translate
from aioassets.drivers.gcs.session import Connection
from aioassets.drivers.service_errors import Kind, Request, ServiceErrorRaised, translating
from aioassets.errors import CannotPresign, MissingCredentials
from aioassets.runtime.threads import in_thread

SCOPE_OF_IAM: Final = "https://www.googleapis.com/auth/iam"
_ALGORITHM: Final = "GOOG4-RSA-SHA256"
_DENIED: Final = (401, 403, 404)
_PEM: Final = "private_key"
_EMAIL: Final = "client_email"
_OF_MACHINE: Final = "gce_metadata"
_GRANT: Final = "Grant it the role roles/iam.serviceAccountTokenCreator on itself, or use the file of a key."
_LOG_IN: Final = (
    "Use the file of a service account's key, or impersonate a service account: "
    "gcloud auth application-default login --impersonate-service-account=ACCOUNT."
)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """The URL of an object that has yet to be signed.

    Attributes:
        url: the URL without its query.
        account: the email address of the service account that signs it.
        seconds: the lifetime of the URL.
        time: when its lifetime begins, in UTC, as in `20240229T235959Z`.
    """

    url: str
    account: str
    seconds: int
    time: str

    @classmethod
    def of(cls, root: str, bucket: str, key: str, account: str, seconds: int, now: datetime) -> Unsigned:
        """Return the URL of an object.

        Args:
            root: the URL of the API.
            bucket: the bucket's name.
            key: the object's key.
            account: the email address of the service account that signs it.
            seconds: the lifetime of the URL.
            now: when its lifetime begins, in UTC.
        """
        return cls(f"{root}/{bucket}/{quote(key, safe='/~')}", account, seconds, f"{now:%Y%m%dT%H%M%SZ}")

    @property
    def _scope(self) -> str:
        return f"{self.time[:8]}/auto/storage/goog4_request"

    @property
    def _query(self) -> str:
        fields = {
            "X-Goog-Algorithm": _ALGORITHM,
            "X-Goog-Credential": f"{self.account}/{self._scope}",
            "X-Goog-Date": self.time,
            "X-Goog-Expires": f"{self.seconds}",
            "X-Goog-SignedHeaders": "host",
        }
        return urlencode(fields, safe="", quote_via=quote)

    @property
    def text(self) -> str:
        """The text to sign."""
        parts = urlsplit(self.url)
        request = f"GET\n{parts.path}\n{self._query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        return f"{_ALGORITHM}\n{self.time}\n{self._scope}\n{sha256(request.encode()).hexdigest()}"

    def signed(self, signature: bytes) -> str:
        """Return the URL with its signature."""
        return f"{self.url}?{self._query}&X-Goog-Signature={binascii.hexlify(signature).decode()}"


class Presigner:
    """Signs URLs of the objects in a bucket.

    Args:
        name: the bucket's name.
        root: the URL of the API.
        connection: the connection whose credentials to sign with.
    """

    def __init__(self, name: str, root: str, connection: Connection) -> None:
        self._name = name
        self._root = root
        self._url = f"gs://{name}"
        self._connection = connection
        self._iam: tuple[Any, Any, str] | None = None

    async def presign(self, key: str, seconds: int, now: datetime) -> str:
        """Return the URL of an object, signed for this many seconds from `now`.

        Raises:
            CannotPresign: the credentials are those of a user, who has no key.
            MissingCredentials: there are no credentials, or they are invalid.
            AccessDenied: the IAM service doesn't let the service account sign.
            StoreUnavailable: the IAM service or the metadata server can't be reached.
        """
        token = await self._connection.token()
        if token is None:
            raise MissingCredentials(self._url, "anonymous access can't sign URLs.")
        data = getattr(token, "service_data", None)
        if data is None:
            raise CannotPresign(self._url, f"tokens of the type {type(token).__name__} have no key. {_LOG_IN}")
        if data.get(_PEM) and data.get(_EMAIL):
            unsigned = Unsigned.of(self._root, self._name, key, data[_EMAIL], seconds, now)
            return unsigned.signed(await self._by_key(unsigned.text, data[_PEM]))
        iam, account = await self._signing_service(token)
        unsigned = Unsigned.of(self._root, self._name, key, account, seconds, now)
        return unsigned.signed(await self._by_service(unsigned.text, iam, account))

    async def _by_key(self, text: str, private_key: str) -> bytes:
        from gcloud.aio.storage import Blob  # noqa: PLC0415 - loaded by now

        try:
            signature: bytes = await in_thread(Blob.get_pem_signature, text, private_key)
        except ValueError:
            raise MissingCredentials(self._url, "the private key of the service account is invalid.") from None
        return signature

    async def _by_service(self, text: str, iam: Any, account: str) -> bytes:
        with self._asking(account):
            await self._connection.tokens_for(iam.token).current()
            answer = await iam.sign_blob(text, service_account_email=account)
            return base64.b64decode(answer["signedBlob"])

    async def _signing_service(self, token: Any) -> tuple[Any, str]:
        """Return a client for the IAM service, and the email address of the service account to sign for."""
        if self._iam is None or self._iam[0] is not token:
            is_of_machine = token.token_type.value == _OF_MACHINE
            if not (is_of_machine or token.impersonation_uri):
                raise CannotPresign(
                    self._url, f"credentials of the type {token.token_type.value} have no key. {_LOG_IN}"
                )
            from gcloud.aio.auth import IamClient  # noqa: PLC0415 - loaded by now

            of_iam = await self._connection.make_token(SCOPE_OF_IAM)
            iam = IamClient(token=of_iam, session=of_iam.session.session)
            account = iam.service_account_email or await self._account_of_machine(of_iam)
            self._iam = token, iam, account
        return self._iam[1:]

    async def _account_of_machine(self, token: Any) -> str:
        """Ask the metadata server for the email address of the machine's service account."""
        from gcloud.aio.auth.token import GCE_METADATA_BASE, GCE_METADATA_HEADERS  # noqa: PLC0415 - loaded by now

        where = f"{GCE_METADATA_BASE}/instance/service-accounts/default/email"
        with self._asking("the machine's service account"):
            answer = await token.session.get(where, headers=GCE_METADATA_HEADERS, timeout=10)
            return str(await answer.text()).strip()

    @contextlib.contextmanager
    def _asking(self, account: str) -> Iterator[None]:
        """Translate errors of the IAM service and of the metadata server."""
        import aiohttp  # noqa: PLC0415 - loaded by now

        with translating(translate, Request(self._url, "sign URLs")):
            try:
                yield
            except aiohttp.ClientResponseError as error:
                refusal = read_service_error(error.status, {}, error.message.partition(": ")[2].encode())
                if error.status in _DENIED:
                    refusal = replace(refusal, kind=Kind.DENIED, advice=f"{account} must be allowed to sign. {_GRANT}")
                raise ServiceErrorRaised(refusal) from error
