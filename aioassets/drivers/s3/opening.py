"""Opening S3 clients. Import this module only in a worker thread, because it imports the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader, create_loader

from aioassets.drivers.http.proxies import check_authorities, check_proxies
from aioassets.drivers.s3.address import PROBE, Address
from aioassets.drivers.s3.by_sdk import SDKRequests, guard
from aioassets.drivers.s3.credentials import Credentials
from aioassets.drivers.s3.direct import AGENT, DirectRequests
from aioassets.drivers.s3.errors import region_in
from aioassets.drivers.s3.hot import HotRequests
from aioassets.drivers.s3.options import Options, problem_of
from aioassets.drivers.s3.presigning import presigned
from aioassets.drivers.s3.transport import Transport
from aioassets.errors import InvalidSetting

_SIGNED_OTHERWISE: Final = ("--x-s3", "--xa-s3")
"""Name endings of S3 Express buckets and their access points, which use a different kind of signature."""

_LOADERS: Final[WeakValueDictionary[str | None, Loader]] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Client:
    """An open client for a single bucket.

    Attributes:
        sdk: the SDK client.
        hot: the object that sends the hot requests.
        region: the region that requests are signed for; empty if unknown.
        resources: the resources to close with the client.
    """

    sdk: Any
    hot: HotRequests
    region: str
    resources: AsyncExitStack

    async def aclose(self) -> None:
        """Close the resources that were opened for this client."""
        await self.resources.aclose()

    async def bucket_region(self, bucket: str) -> str:
        """Ask S3 for a bucket's region. Return an empty string if the response doesn't name it."""
        try:
            answer = await self.sdk.head_bucket(Bucket=bucket)
        except ClientError as error:
            answer = error.response
        return region_in(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


async def open_client(options: Options, credentials: Credentials | None, region: str | None) -> Client:
    """Open a client. This function partly blocks, so run it in a worker thread.

    The client may be used on a different event loop from the one that opened it.

    Args:
        options: the options configured by the user.
        credentials: credentials that are renewed automatically. `None` uses those in the options, if any.
        region: the bucket's region. `None` uses the configured one.
    """
    check_proxies()
    session = _session(options, region)
    if credentials is not None:
        session.register_component("credential_provider", _Provider(credentials, options))
    elif options.anonymous:
        session.register_component("credential_provider", _NoProvider())
    else:
        session.set_credentials(options.access_key_id, options.secret_access_key, options.session_token)
    transports: list[Transport] = []

    def transport(**given: Any) -> Transport:
        transports.append(Transport(**given))
        return transports[-1]

    async with AsyncExitStack() as opened:
        sdk = await opened.enter_async_context(
            session.create_client(
                "s3",
                config=_config(options, transport),
                region_name=region or options.region,
                endpoint_url=options.endpoint_url,
                verify=options.verify,
            )
        )
        guard(sdk)
        _add_headers(sdk, options.headers)
        address = await _address(sdk, options.bucket)
        hot = await _hot(options, session, sdk, transports[0], address)
        return Client(sdk, hot, address.region if address else sdk.meta.region_name or "", opened.pop_all())


def adopt(sdk: Any, options: Options) -> Client:
    """Return a client that sends all requests through the caller's SDK client and never closes it."""
    guard(sdk)
    _add_headers(sdk, options.headers)
    encryption = options.encryption_params
    hot = SDKRequests(sdk, options.bucket, patience=options.read_timeout, encryption=encryption)
    return Client(sdk, hot, "", AsyncExitStack())


def _add_headers(sdk: Any, headers: Mapping[str, str]) -> None:
    """Make an SDK client send headers with each request."""

    def add(params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(headers)

    if headers:
        sdk.meta.events.register_first("before-call.s3", add, unique_id="aioassets-add-headers")


def _session(options: Options, region: str | None = None) -> AioSession:
    """Create a session. Blocking, because it reads files.

    Raises:
        InvalidSetting: the profile or region is empty or malformed, or the certificate authorities cannot be read.
            The SDK's own errors would not name them.
    """
    session = AioSession(profile=options.profile)
    _check("profile", session.profile, "AWS_PROFILE or AWS_DEFAULT_PROFILE")
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    if region or options.region:  # credential services may need it
        session.set_config_variable("region", region or options.region)
    _check("region", session.get_config_variable("region"), "AWS_DEFAULT_REGION")
    if authorities := session.get_config_variable("ca_bundle") if options.verify is None else options.verify:
        check_authorities(f"{authorities}")  # requests for credentials use them as well
    return session


def _check(option: str, value: str | None, variables: str) -> None:
    if problem := "is empty" if value == "" else problem_of(value):
        raise InvalidSetting(
            f"The {option} {problem}. Set {variables} (or the option {option}) to a valid name, or unset them."
        )


def _loader(data_path: str | None) -> Loader:
    """Return the loader for the SDK's models. All clients share it for as long as any of them exists."""
    found = _LOADERS.get(data_path)
    if found is None:
        found = _LOADERS[data_path] = create_loader(data_path)
    return found


def _config(options: Options, transport: Any) -> AioConfig:
    style = {} if options.addressing_style is None else {"addressing_style": options.addressing_style}
    return AioConfig(
        http_session_cls=transport,
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation=options.request_checksum_calculation,
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, **style},  # otherwise, payloads would be hashed on the event loop
        user_agent_extra=AGENT,
        **({"signature_version": UNSIGNED} if options.anonymous else {}),
    )


async def _hot(
    options: Options, session: AioSession, sdk: Any, transport: Transport, address: Address | None
) -> HotRequests:
    if address is None:
        return SDKRequests(sdk, options.bucket, patience=None, encryption=options.encryption_params)
    provider = await session.get_credentials()
    return DirectRequests(
        address,
        transport.connections(address.scheme),
        provider.get_frozen_credentials,
        patience=options.read_timeout,
        encryption=options.encryption_headers,
        headers=options.headers,
        adds_checksums=options.request_checksum_calculation == "when_supported",
    )


async def _address(sdk: Any, bucket: str) -> Address | None:
    """Read the bucket's address from a URL presigned by the SDK. Presigning doesn't send a request.

    Returns:
        The address, or `None` if only the SDK can sign requests to the bucket, or if even the SDK can't.
    """
    if bucket.endswith(_SIGNED_OTHERWISE):
        return None
    try:
        url = await presigned(sdk, bucket, PROBE)
    except BotoCoreError:  # every later request fails in the same way and reports the error to the caller
        return None
    return Address.parse(url)


class _NoProvider:
    """The credential provider for a session without credentials."""

    async def load_credentials(self) -> None:
        """Return `None`, so that the SDK doesn't query any credential service."""


class _Provider:
    """The credential provider for a session. It replaces the SDK's provider chain, from which it gets credentials."""

    def __init__(self, credentials: Credentials, options: Options) -> None:
        self._credentials = credentials
        self._options = options

    async def load_credentials(self) -> AioCredentials | None:
        """Return credentials that are renewed automatically, or `None` if there are none."""
        current = await self._credentials.load(lambda: _session(self._options).get_credentials())
        return None if current is None else _RenewedCredentials(self._credentials)


class _RenewedCredentials(AioCredentials):  # type: ignore[misc]  # the SDK has no types
    """Credentials that are renewed in a worker thread."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials.current.access_key, credentials.current.secret_key, credentials.current.token)
        self._renewed = credentials

    async def get_frozen_credentials(self) -> Any:
        return await self._renewed.frozen()
