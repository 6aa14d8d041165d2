"""The SDK's session and token, and single requests on them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio

from aioassets.drivers.gcs.errors import read_service_error, translate
from aioassets.drivers.gcs.values import Checksum
from aioassets.drivers.http.connections import MAX_ANSWER, MAX_ERROR, Watch, received, send_once, trouble, unredirected
from aioassets.drivers.protocol import Data
from aioassets.drivers.service_errors import REDIRECTS, ForeignAnswer, Request, ServiceErrorRaised, translating
from aioassets.errors import InvalidSetting, MissingCredentials, OutOfThreads, StoreUnavailable
from aioassets.runtime.cancellation import cleanup_scope
from aioassets.runtime.threads import in_thread, is_out_of_threads

SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
PIECE: Final = 64 * 1024
"""Bytes handed to the socket at once; smaller bodies go there in one piece."""
RESUME_INCOMPLETE: Final = 308
UNAUTHORIZED: Final = 401
ADVICE: Final = (
    "Name a service account's file (GOOGLE_APPLICATION_CREDENTIALS), log in with "
    "`gcloud auth application-default login`, or ask for anonymous access."
)


class Body:
    """A request's body, handed to the socket piece by piece and only once.

    It is an iterator, so that the HTTP client neither copies it nor sends it a second time by itself.

    Args:
        pieces: what it consists of.
    """

    def __init__(self, *pieces: Data) -> None:
        self.size = sum(len(piece) for piece in pieces)
        whole = (b"".join(pieces),) if self.size <= PIECE else pieces
        self._left = [memoryview(piece) for piece in reversed(whole) if piece]
        self._begun = self._dropped = False
        self.watch = Watch()

    def __aiter__(self) -> Body:
        if self._begun:
            raise ConnectionError("the connection broke before the request was sent.")
        self._begun = True
        return self

    async def __anext__(self) -> memoryview:
        if self._dropped:
            raise ConnectionResetError("the answer came before all was sent.")  # so the connection isn't used again
        self.watch.taken(last=not self._left)
        if not self._left:
            raise StopAsyncIteration
        first = self._left.pop()
        if len(first) > PIECE:
            self._left.append(first[PIECE:])
        return first[:PIECE]

    def close(self) -> None:
        """Let the memory go: the client's objects live on in cycles until the next collection."""
        self._dropped = bool(self._left)
        self._left.clear()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read whole.

    Attributes:
        status: of HTTP.
        headers: by name, in any case.
        body: the content.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """What a driver sends its requests on.

    It is opened at the first request, the blocking parts of that in a worker thread.

    Args:
        url: the bucket's URL, for errors.
        root: where the API is.
        service_file: a file of credentials; `None` for the environment's (application-default credentials).
        anonymous: send no credentials.
        connect_timeout: seconds.
        read_timeout: seconds without a byte before a connection is given up.
        max_connections: how many may be open.
        client: a `gcloud.aio.storage.Storage` whose session and token to use; it isn't closed.
    """

    def __init__(
        self,
        url: str,
        root: str,
        *,
        service_file: str | os.PathLike[str] | None,
        anonymous: bool,
        connect_timeout: float,
        read_timeout: float,
        max_connections: int,
        client: Any = None,
    ) -> None:
        self._url = url
        self._root = root
        self._service_file = service_file
        self._anonymous = anonymous
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_connections = max_connections
        self._opening = anyio.Lock()
        self._owned = client is None
        self._client = client
        self._timeout: Any = None
        self._proven: str | None = None
        """The last token that the store took."""

    async def open(self) -> None:
        """Import the SDK and look for credentials, unless that was done."""
        if self._timeout is None:
            async with self._opening:
                if self._timeout is None:
                    await self._open()

    async def aclose(self) -> None:
        """Close the session, if it is ours; the next request would open another one."""
        with cleanup_scope():
            async with self._opening:
                self._timeout = None
                if self._owned and self._client is not None:
                    client, self._client = self._client, None
                    if (renewal := getattr(client.token, "acquiring", None)) is not None:
                        renewal.cancel()  # the SDK renews in the background, on this session
                    await client.session.session.close()

    async def call(
        self,
        request: Request,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        secret: bool = False,
    ) -> Answer:
        """Send one request, once.

        Args:
            secret: whether the URL is a credential: it is then sent no other, and no error shows it.

        Raises:
            AioAssetsError: what the store answered, or that it couldn't be reached.
        """
        async with self.exchange(request, method, url, headers=headers, body=body, secret=secret) as response:
            failed = response.status >= 400
            content = await self._whole(response, MAX_ERROR if failed else MAX_ANSWER)
            answer = Answer(response.status, response.headers, content)
            if failed:
                raise ServiceErrorRaised(
                    read_service_error(answer.status, answer.headers, answer.body, secret=url if secret else None)
                )
            return answer

    async def ask(self, request: Request, method: str, url: str, *, body: Body | None = None, **headers: str) -> Any:
        """Send one request, once, and read the JSON of its answer."""
        answer = await self.call(request, method, url, headers=headers, body=body)
        return self.parsed(request, answer)

    def parsed(self, request: Request, answer: Answer) -> Any:
        """The JSON of an answer."""
        with translating(translate, request):
            found = json.loads(answer.body)
            if not isinstance(found, dict):
                raise ForeignAnswer
        return found

    async def refusal(self, response: Any) -> ServiceErrorRaised:
        """Read what an answer refuses."""
        body = await self._whole(response, MAX_ERROR)
        return ServiceErrorRaised(read_service_error(response.status, response.headers, body))

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        request: Request,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        secret: bool = False,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """One request, with its answer still to be read; its errors are translated as long as the block runs."""
        await self.open()
        from yarl import URL  # noqa: PLC0415 - loaded with the SDK

        body = body or Body()
        token = None if secret else await self._token()
        sent = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        if method != "GET":
            sent["Content-Length"] = str(body.size)
            options["data"] = body
        request = replace(request, server=self._root)
        with translating(translate, request, secret=secret), contextlib.closing(body):
            with body.watch.patient_for(self._read_timeout):
                response = await self._client.session.request(
                    method,
                    URL(url, encoded=True),
                    sent,
                    auto_raise_for_status=False,
                    allow_redirects=False,  # 308 has a meaning of its own here
                    timeout=self._timeout,
                    **options,
                )
            async with response:
                if token is not None:
                    self._judge(token, response.status)
                if response.status in REDIRECTS and not (secret and response.status == RESUME_INCOMPLETE):
                    raise await self.refusal(response)
                if not 200 <= response.status <= 206 and response.status not in (*range(400, 600), RESUME_INCOMPLETE):
                    raise ForeignAnswer
                yield response

    async def _whole(self, response: Any, limit: int) -> bytes:
        return await received(response.content.iter_any(), limit, self._read_timeout if limit == MAX_ERROR else None)

    async def _open(self) -> None:
        aiohttp = await in_thread(self._import)
        # Never a total: a large chunk may take its time, as long as bytes flow.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=self._read_timeout)
        if self._client is None:
            connector = aiohttp.TCPConnector(limit=self._max_connections, resolver=aiohttp.ThreadedResolver())
            session = aiohttp.ClientSession(connector=connector, timeout=timeout, trace_configs=[unredirected()])
            send_once(session)
            try:
                self._client = await in_thread(self._make_client, session)
            except BaseException:
                await session.close()
                raise
        self._timeout = timeout

    def _import(self) -> Any:
        try:
            import aiohttp  # noqa: PLC0415 - optional, and slow
            import gcloud.aio.storage  # noqa: F401, PLC0415
        except ImportError as error:
            raise InvalidSetting(
                "Google Cloud Storage needs the package gcloud-aio-storage: pip install 'aioassets[gcs]'."
            ) from error
        Checksum()  # imports what it needs
        return aiohttp

    def _make_client(self, session: Any) -> Any:
        """Read the credentials, which blocks: to be run in a worker thread."""
        from gcloud.aio.storage import Storage  # noqa: PLC0415

        token: Any = object() if self._anonymous else self._make_token(session)
        return Storage(session=session, token=token, api_root=self._root)

    def _make_token(self, session: Any) -> Any:
        from gcloud.aio.auth import Token  # noqa: PLC0415

        try:
            token: Any = Token(service_file=self._credentials(), session=session, scopes=[SCOPE])
        except OSError as error:
            if "{" in f"{error.filename}":  # the credentials themselves, which nobody may see
                raise MissingCredentials(
                    self._url, f"what was given is their content, not a file's path. {ADVICE}"
                ) from None
            raise MissingCredentials(
                self._url, f"the file {error.filename!r} can't be read ({error.strerror}). {ADVICE}"
            ) from error
        except Exception as error:  # the SDK has no class for what it can't use
            raise MissingCredentials(
                self._url, f"the file of credentials is of no known kind ({type(error).__name__}: {error}). {ADVICE}"
            ) from error
        # The dispatcher retries, and knows for how long; the SDK's own retries would come on top.
        acquire = inspect.unwrap(type(token).acquire_access_token)

        async def acquire_once() -> None:
            if (task := asyncio.current_task()) is not None:
                task.add_done_callback(_retrieved)
            await acquire(token)

        token.acquire_access_token = acquire_once
        return token

    def _credentials(self) -> io.StringIO | None:
        """The content of the file that was named; one that isn't JSON is otherwise passed over in silence."""
        if self._service_file is None:
            return None
        text = Path(self._service_file).expanduser().read_text(encoding="utf-8")
        json.loads(text)["type"]
        return io.StringIO(text)

    async def _token(self) -> str | None:
        if self._anonymous:
            return None
        try:
            # Others may wait for the same token: who is cancelled must not cancel its acquisition.
            token: str = await asyncio.shield(asyncio.ensure_future(self._client.token.get()))
        except Exception as error:
            raise self._without_token(error) from error
        return token

    def _judge(self, token: str, status: int) -> None:
        """Note what the store thinks of a token; one that worked and is refused is replaced, once.

        Raises:
            StoreUnavailable: it is, so the request is worth another try.
        """
        if status != UNAUTHORIZED:
            self._proven = token
            return
        holder = self._client.token
        if token == self._proven == getattr(holder, "access_token", None):
            self._proven = holder.access_token = None  # so that the SDK asks for another one
        if getattr(holder, "access_token", token) != token:
            raise StoreUnavailable(self._url, "it refuses a token that it took before.", uncertain=False)

    def _without_token(self, error: Exception) -> Exception:
        import aiohttp  # noqa: PLC0415

        if is_out_of_threads(error):
            return OutOfThreads()
        if isinstance(error, aiohttp.ClientResponseError) and error.status < 500 and error.status != 429:
            stated = read_service_error(error.status, {}, error.message.partition(": ")[2].encode()).sentence
            return MissingCredentials(self._url, f"they are refused ({stated.rstrip('.')}). {ADVICE}")
        if not isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            return MissingCredentials(self._url, f"they can't be used ({type(error).__name__}: {error}). {ADVICE}")
        if "metadata" in str(getattr(self._client.token, "token_type", "")).lower():
            return MissingCredentials(self._url, f"none are set up, and this is no machine of Google's. {ADVICE}")
        detail = f"its token service can't be reached: {trouble(error)}."
        return StoreUnavailable(self._url, detail, uncertain=False)


def _retrieved(task: asyncio.Task[None]) -> None:
    """Take the error of a renewal in the background, which nobody else does; the next request renews again."""
    if not task.cancelled():
        task.exception()
