"""Requests to a single bucket, each sent once, with their errors translated."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from aioassets.drivers.bodies import Part, PastEnd
from aioassets.drivers.http.parsing import printable
from aioassets.drivers.protocol import Expect, Revision
from aioassets.drivers.s3.credentials import REFUSED, Credentials
from aioassets.drivers.s3.errors import OPEN, code_of, service_error_of, translate
from aioassets.drivers.s3.hot import BucketMoved, Content, Payload
from aioassets.drivers.s3.options import Options
from aioassets.drivers.s3.place import configured_endpoint, place_of
from aioassets.drivers.s3.values import check_answer
from aioassets.drivers.service_errors import Kind, Request, ServiceErrorRaised, translating
from aioassets.errors import AioAssetsError, InvalidSetting, MissingCredentials, StoreError, StoreUnavailable
from aioassets.runtime.threads import in_thread, run_async

if TYPE_CHECKING:
    from aioassets.drivers.s3.opening import Client

T = TypeVar("T")

_VERBS: Final = {
    "head_object": "read",
    "list_objects_v2": "list",
    "get_bucket_versioning": "read the object versioning of",
    "delete_object": "delete",
    "delete_objects": "delete",
    "list_multipart_uploads": "list open uploads",
    "list_parts": "list the parts of",
    "create_multipart_upload": "begin an upload of",
    "upload_part_copy": "copy a part of",
    "abort_multipart_upload": "abort an upload of",
}

_log = logging.getLogger(__name__)


class Bucket:
    """An S3 bucket.

    The first request opens the client in a worker thread, because importing the SDK and creating a
    client take most of a second.

    Args:
        options: the options for the client.
        sdk: an SDK client to use instead of creating one from the options. The bucket never closes it.
    """

    def __init__(self, options: Options, sdk: Any = None) -> None:
        self.name = options.bucket
        self.url = f"s3://{options.bucket}"
        self.credentials = Credentials(self.url) if sdk is None and options.needs_credentials else None
        self._options = options
        self._sdk = sdk
        self._place: str | None = None
        self._client: Client | None = None
        self._left: list[Client] = []
        self._opening = anyio.Lock()

    def place(self) -> str:
        """Return the scope within which the bucket's name is unique (see `place_of`). The first call may block."""
        if self._place is None:
            with self._opened():
                self._place = place_of(configured_endpoint(self._options, self._sdk))
        return self._place

    async def request(
        self, send: Callable[[Client], Awaitable[T]], verb: str, key: str, *, conditional: bool = False
    ) -> T:
        """Send a request once, or a second time if the bucket turns out to be in another region.

        Args:
            send: a function that sends the request through a client.
            verb: the verb that describes the request in error messages.
            key: the object's key; empty if the request concerns several objects.
            conditional: whether the request has a condition.
        """
        client = self._client or await self.client()
        credentials = self.credentials
        used = None if credentials is None else credentials.current
        try:
            with self.translating(verb, key, conditional=conditional):
                try:
                    result = await send(client)
                except BucketMoved as moved:
                    result = await send(await self._move(client, moved))
        except AioAssetsError as error:
            if credentials is not None and code_of(error) in REFUSED and await credentials.replaced(used):
                detail = f"it rejected credentials that have since been replaced: {error}"
                raise StoreUnavailable(self.url, detail, uncertain=False) from error
            raise
        if credentials is not None:
            credentials.accept(used)
        return result

    async def call(self, operation: str, key: str = "", **params: Any) -> Any:
        """Call an operation of the SDK client, check the response and return it."""
        target = {"Bucket": self.name, "Key": key} if key else {"Bucket": self.name}

        async def send(client: Client) -> Any:
            answer = await getattr(client.sdk, operation)(**target, **params)
            check_answer(operation, answer)
            return answer

        conditional = "IfMatch" in params or "IfNoneMatch" in params
        return await self.request(send, _VERBS.get(operation, "write"), key, conditional=conditional)

    @contextlib.asynccontextmanager
    async def get(
        self, key: str, *, span: tuple[int, int] | None = None, revision: Revision | None = None
    ) -> AsyncIterator[Content]:
        """Read an object. See `HotRequests.get`."""
        content = await self.request(
            lambda client: client.hot.get(key, span=span, revision=revision),
            "read",
            key,
            conditional=revision is not None,
        )
        with contextlib.closing(content.body), self.translating("read", key):
            yield content

    @contextlib.asynccontextmanager
    async def open_range(self, key: str, start: int, stop: int, revision: Revision | None) -> AsyncIterator[Part]:
        """Read a range of an object.

        Raises:
            PastEnd: the object ends before the range begins.
        """
        try:
            async with (
                self.get(key, span=(start, stop), revision=revision) as content,
                contextlib.aclosing(content.pieces()) as pieces,
            ):
                yield Part(pieces, content.revision, content.ranged, content.length)
        except StoreError as error:
            if code_of(error) in ("InvalidRange", "416"):
                raise PastEnd from error
            raise

    def put(
        self, key: str, body: Payload, expected: Revision | Expect, sha256: str | None, *, is_document: bool = False
    ) -> Awaitable[Revision]:
        """Write an object. See `HotRequests.put`."""
        return self.request(
            lambda client: client.hot.put(key, body, expected=expected, sha256=sha256, is_document=is_document),
            "write",
            key,
            conditional=expected is not Expect.ANYTHING,
        )

    async def delete(self, key: str) -> None:
        """Delete an object. S3 doesn't report whether it existed."""
        await self.call("delete_object", key)

    async def delete_batch(self, keys: Iterable[str]) -> None:
        """Delete up to 1,000 objects. Missing objects are ignored."""
        objects = [{"Key": key} for key in keys]
        answer = await self.call("delete_objects", Delete={"Objects": objects, "Quiet": True})
        for row in answer.get("Errors", ()):
            refusal = service_error_of(row.get("Code", ""), row.get("Message", ""))
            if refusal.kind is not Kind.MISSING:
                raise refusal.translate(Request(self.url, "delete", printable(row.get("Key", ""))))

    async def presign(self, key: str, seconds: int) -> str:
        """Return the URL of an object, signed for this many seconds.

        Raises:
            MissingCredentials: there are no credentials to sign it with.
        """
        from aioassets.drivers.s3.presigning import presigned  # noqa: PLC0415 - few users need it

        params = {"RequestPayer": "requester"} if self._options.requester_pays else {}
        client = await self.client()
        with self.translating("sign a URL of", key):
            url = await presigned(client.sdk, self.name, key, seconds, **params)
        if "Signature=" not in url:
            raise MissingCredentials(self.url, "anonymous access can't sign URLs.")
        return url

    async def client(self) -> Client:
        """Return the client, opening it first if necessary."""
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await in_thread(self._open_client)
        return self._client

    async def aclose(self) -> None:
        """Close the clients. A later request opens a new one."""
        async with self._opening:
            clients = [*self._left, *([] if self._client is None else [self._client])]
            self._client = None
            self._left.clear()
            if self.credentials is not None:
                await self.credentials.aclose()
            for client in clients:
                await client.aclose()

    def translating(
        self, verb: str, key: str = "", *, conditional: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that translates errors from S3 and the SDK into aioassets' own exceptions."""
        client = self._client
        server = self._options.endpoint_url or (client.sdk.meta.endpoint_url if client is not None else "")
        return translating(translate, Request(self.url, verb, key, conditional, server=server))

    async def _move(self, client: Client, moved: BucketMoved) -> Client:
        """Open a client for the region that the bucket is in.

        Raises:
            ServiceErrorRaised: there is no other region to try.
        """
        async with self._opening:
            if self._client is client:
                region = moved.region or await client.bucket_region(self.name)
                if self._left or region in ("", client.region):
                    raise ServiceErrorRaised(moved.refusal)
                _log.info("%s is in the region %s, not in %s", self.url, region, client.region)
                self._client = await in_thread(self._open_client, region)
                self._left.append(client)
        return await self.client()

    def _open_client(self, region: str | None = None) -> Client:
        """Import the SDK and open a client. This method blocks, so call it in a worker thread.

        The credentials are awaited on a separate event loop. The client can be used on any loop, since
        its connections and locks are bound to a loop only when they are first used.
        """
        with self._opened():
            from aioassets.drivers.s3.opening import adopt, open_client  # noqa: PLC0415 - imports the SDK

            # The SDK logs the errors that it raises. Without a handler, Python would print them to standard error.
            logging.getLogger("aiobotocore").addHandler(_QUIET)
            if self._sdk is not None:
                return adopt(self._sdk, self._options)
            return run_async(lambda: open_client(self._options, self.credentials, region))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        """Translate errors that occur while the SDK is imported and a client is created."""
        with self.translating(OPEN):
            try:
                yield
            except AioAssetsError:
                raise
            except ImportError as error:
                raise InvalidSetting("S3 requires the aiobotocore package: pip install 'aioassets[s3]'.") from error
            except ValueError as error:  # raised for an invalid endpoint, which may contain a password
                if _is_of_sdk(error):
                    raise
                raise InvalidSetting(
                    f"Cannot open {self.url}: the endpoint in the SDK's configuration is not an HTTP URL, or its "
                    f"host name contains an underscore. Check AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL and "
                    f"endpoint_url in the AWS configuration files."
                ) from None


def _is_of_sdk(error: Exception) -> bool:
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - optional, and slow
    except ImportError:
        return False
    return isinstance(error, BotoCoreError)


_QUIET: Final = logging.NullHandler()
