"""A small test server of Google Cloud Storage's JSON API, with the conditions that emulators lack.

Usage: gcs_server.py PORT. It keeps everything in memory.

It implements, with the pages of https://cloud.google.com/storage/docs/:

- `POST /storage/v1/b` and `GET /storage/v1/b/B`: json_api/v1/buckets
- `POST /upload/storage/v1/b/B/o` with `uploadType=multipart`, `media` and `resumable`, the digests of the
  metadata verified: json_api/v1/objects/insert, uploading-objects
- resumable sessions (chunks in multiples of 256 KiB, `Content-Range`, 308 with `Range`, `bytes */SIZE` to query the
  received size, repeated bytes ignored, the condition checked after the last chunk, `X-Goog-Hash` with the last
  chunk, 499 for a cancelled session, 404 for an unknown one): performing-resumable-uploads
- `GET …/o/O`, also with `alt=media`, `Range` and 416; without `Last-Modified`, as in the real API:
  json_api/v1/objects/get
- `DELETE …/o/O`: json_api/v1/objects/delete
- `GET …/o` with `prefix`, `delimiter`, `maxResults` and `pageToken`, in the order of UTF-8: json_api/v1/objects/list
- `POST …/rewriteTo/…` with `rewriteToken`: json_api/v1/objects/rewrite
- `ifGenerationMatch` on all of them, `ifSourceGenerationMatch` and `sourceGeneration` on rewriting:
  request-preconditions
- errors as JSON with `reason` and `message`: json_api/v1/status-codes
- an optional rate limit of writes to each name, with 429 above it (Google's is one per second): quotas
- the XML API's `PUT` and `GET` of an object, and `GET /B?list-type=2` with `prefix`, in one page, for the clients that
  benchmarks compare with: xml-api/overview

Requests that control it:

- `PUT /_settings/B`: `seconds_per_write`, `tokens` (a bearer token's rights, `rw` or `r`; none for a public
  bucket), `page`, `rewrite_step`, `omit_zero` (omit the size of empty objects, as protobuf's JSON allows)
- `POST /_faults/B`: a list of faults. Each affects an `operation` (`insert`, `begin`, `chunk`, `status`, `cancel`,
  `get`, `media`, `list`, `delete`, `rewrite`), after `after` requests, for `times` requests. `do` is one of
  `refuse` (with `status`, `reason`, `message`, `headers`; without effect), `lose` (with effect, but the connection is
  closed without a response), `part` (the connection is closed after `keep` bytes of a chunk or of content), `damage`
  (one byte of the stored content changes), `forget` (the session is discarded; with `status`), `name_session`
  (refused, with the session's URL in the message)
- `GET /_log/B`: the requests, with the bytes received
- `POST /token`: an OAuth token endpoint that accepts any assertion
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape
from typing import Any

import google_crc32c
from aiohttp import web

UNIT = 256 * 1024


class Refused(Exception):
    """An error response."""

    def __init__(self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = headers or {}

    def answer(self) -> web.Response:
        detail = {"domain": "global", "reason": self.reason, "message": self.message}
        body = {"error": {"code": self.status, "message": self.message, "errors": [detail]}}
        return web.json_response(body, status=self.status, headers=self.headers)


@dataclass(frozen=True)
class Object:
    """One generation of an object."""

    data: bytes
    generation: int
    created: str
    crc32c: str
    md5: str
    metadata: Mapping[str, str]

    def resource(self, bucket: str, name: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{self.generation}",
            "bucket": bucket,
            "name": name,
            "size": str(len(self.data)),
            "generation": str(self.generation),
            "metageneration": "1",
            "timeCreated": self.created,
            "updated": self.created,
            "storageClass": "STANDARD",
            "crc32c": self.crc32c,
            "md5Hash": self.md5,
            "etag": base64.b64encode(str(self.generation).encode()).decode(),
            **self.metadata,
        }


@dataclass
class Session:
    """A resumable upload, perhaps completed."""

    name: str
    size: int | None
    metadata: dict[str, str]
    condition: str | None
    data: bytearray = field(default_factory=bytearray)
    made: Object | None = None


@dataclass
class Bucket:
    """A bucket: its objects, settings and faults."""

    name: str
    objects: dict[str, Object] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    rewrites: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    def fault(self, operation: str, *kinds: str) -> dict[str, Any] | None:
        """Take the next fault of an operation that is of one of these kinds."""
        for found in self.faults:
            if found["operation"] == operation and found["do"] in kinds and found.setdefault("times", 1) > 0:
                if found.setdefault("after", 0) > 0:
                    found["after"] -= 1
                    continue
                found["times"] -= 1
                return found
        return None

    def resource(self, name: str, found: Object) -> dict[str, Any]:
        """Return the JSON of an object."""
        resource = found.resource(self.name, name)
        if self.settings.get("omit_zero") and not found.data:
            del resource["size"]
        return resource

    def get(self, name: str, condition: str | None = None) -> Object:
        found = self.objects.get(name)
        if condition is not None:
            self.require(name, condition)
        if found is None:
            raise Refused(404, "notFound", f"No such object: {self.name}/{name}")
        return found

    def require(self, name: str, condition: str | None) -> None:
        found = self.objects.get(name)
        if condition is not None and condition != str(found.generation if found else 0):
            raise Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")

    def check_rate(self, name: str) -> None:
        """Apply the rate limit, from the last write that took effect."""
        pause = self.settings.get("seconds_per_write", 0)
        if name in self.written and time.monotonic() - self.written[name] < pause:
            raise Refused(
                429,
                "rateLimitExceeded",
                f"The object {self.name}/{name} exceeded the rate limit for object mutation operations"
                " (create, update, and delete). Please reduce your request rate.",
            )

    def put(self, name: str, made: Object, condition: str | None) -> None:
        self.check_rate(name)
        self.require(name, condition)
        self.objects[name] = made
        self.written[name] = time.monotonic()


class Server:
    """The operations of the API."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.generation = 0

    # Authorisation and buckets

    def bucket(self, request: web.Request, operation: str, *, writing: bool, size: int = 0) -> Bucket:
        """Log a request, check its token, and return its bucket."""
        name = request.match_info["bucket"]
        if name not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        bucket = self.buckets[name]
        bucket.log.append(
            {
                "operation": operation,
                "name": request.match_info.get("name", ""),
                "bytes": size,
                "range": request.headers.get("Content-Range") or request.headers.get("Range"),
            }
        )
        if "upload_id" not in request.query:  # the session's URL is a credential
            self.check_rights(bucket, request.headers.get("Authorization"), writing=writing)
        if fault := bucket.fault(operation, "refuse"):
            raise Refused(
                fault.get("status", 503),
                fault.get("reason", ""),
                fault.get("message", "Said by the test."),
                fault.get("headers"),
            )
        return bucket

    def check_rights(self, bucket: Bucket, authorization: str | None, *, writing: bool) -> None:
        tokens = bucket.settings.get("tokens")
        if tokens is None:
            return
        if authorization is None:
            raise Refused(401, "required", "Anonymous caller does not have access to the Google Cloud Storage object.")
        rights = tokens.get(authorization.removeprefix("Bearer "))
        if rights is None:
            raise Refused(401, "authError", "Invalid Credentials")
        if writing and "w" not in rights:
            raise Refused(403, "forbidden", "reader@example.com does not have storage.objects.create access.")

    # Objects

    async def make(self, bucket: Bucket, operation: str, data: bytes, metadata: dict[str, str]) -> Object:
        """Create a generation, and verify the digests in the metadata."""
        crc32c, md5 = await asyncio.to_thread(digests, data)
        for name, ours in (("crc32c", crc32c), ("md5Hash", md5)):
            theirs = metadata.pop(name, ours)
            if theirs != ours:
                raise Refused(400, "invalid", f'Provided {name} "{theirs}" doesn\'t match calculated {name} "{ours}".')
        if bucket.fault(operation, "damage"):
            data = data[:-1] + bytes([data[-1] ^ 1])
            crc32c, md5 = digests(data)
        self.generation = max(self.generation + 1, time.time_ns() // 1000)
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Object(data, self.generation, moment, crc32c, md5, metadata)

    async def insert(self, request: web.Request) -> web.StreamResponse:
        kind = request.query.get("uploadType")
        body = await request.read()
        operation = "begin" if kind == "resumable" else "insert"
        bucket = self.bucket(request, operation, writing=True, size=len(body))
        condition = request.query.get("ifGenerationMatch")
        if kind == "resumable":
            return self.begin(request, bucket, json.loads(body or b"{}"), condition)
        metadata, data = parts_of(request, body) if kind == "multipart" else ({}, body)
        name = request.query.get("name") or metadata["name"]
        metadata.pop("name", None)
        bucket.check_rate(name)
        bucket.require(name, condition)
        made = await self.make(bucket, "insert", data, metadata)
        bucket.put(name, made, condition)
        return self.done(request, bucket, "insert", web.json_response(bucket.resource(name, made)))

    def begin(
        self, request: web.Request, bucket: Bucket, metadata: dict[str, str], condition: str | None
    ) -> web.StreamResponse:
        name = request.query.get("name") or metadata["name"]
        metadata.pop("name", None)
        size = request.headers.get("X-Upload-Content-Length")
        key = uuid.uuid4().hex
        bucket.sessions[key] = Session(name, int(size) if size else None, metadata, condition)
        location = f"{request.url.origin()}{request.path}?uploadType=resumable&upload_id={key}"
        return self.done(request, bucket, "begin", web.Response(headers={"Location": location}))

    async def chunk(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+|\*)", request.headers["Content-Range"])
        if found is None:
            raise Refused(400, "invalid", "Failed to parse Content-Range header.")
        operation = "status" if found[1] is None else "chunk"
        bucket = self.bucket(request, operation, writing=True, size=len(body))
        session = self.session(request, bucket, operation)
        if session.size is None and found[3] != "*":  # the last chunk of an upload of unknown size tells it
            session.size = int(found[3])
        if session.made is None and found[1] is not None:
            self.receive(request, bucket, session, body, int(found[1]))
        total = None if found[3] == "*" else int(found[3])
        if session.made is None and total is not None and len(session.data) == total:
            await self.complete(request, bucket, session)
        if session.made is not None:
            answer = web.json_response(bucket.resource(session.name, session.made))
        else:
            held = len(session.data)
            answer = web.Response(status=308, headers={"Range": f"bytes=0-{held - 1}"} if held else {})
        return self.done(request, bucket, operation, answer)

    def session(self, request: web.Request, bucket: Bucket, operation: str) -> Session:
        key = request.query.get("upload_id", "")
        if bucket.fault(operation, "name_session"):
            raise Refused(400, "invalid", f"Can't use {request.url}, that is {key}.")
        if fault := bucket.fault(operation, "forget"):
            bucket.sessions.pop(key, None)
            raise Refused(fault.get("status", 410), "gone", f"Upload {key} is gone.")
        if key not in bucket.sessions:
            raise Refused(404, "notFound", f"Upload ID {key} not found.")
        return bucket.sessions[key]

    def receive(self, request: web.Request, bucket: Bucket, session: Session, body: bytes, start: int) -> None:
        held = len(session.data)
        last = session.size is not None and start + len(body) == session.size
        if start > held or (len(body) % UNIT and not last):
            raise Refused(400, "invalid", f"Invalid chunk at {start}: {held} bytes are here.")
        body = body[held - start :]  # ignore repeated bytes
        if fault := bucket.fault("chunk", "part"):
            session.data += body[: fault["keep"]]
            raise Lost(request)
        session.data += body

    async def complete(self, request: web.Request, bucket: Bucket, session: Session) -> None:
        for name, value in re.findall(r"(crc32c|md5)=([^,]+)", request.headers.get("X-Goog-Hash", "")):
            session.metadata[{"crc32c": "crc32c", "md5": "md5Hash"}[name]] = value
        made = await self.make(bucket, "chunk", bytes(session.data), session.metadata)
        bucket.put(session.name, made, session.condition)
        session.made, session.data = made, bytearray()

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        bucket = self.bucket(request, "cancel", writing=True)
        if bucket.sessions.pop(request.query.get("upload_id", ""), None) is None:
            raise Refused(404, "notFound", "No such upload.")
        return web.Response(status=499)

    async def get(self, request: web.Request) -> web.StreamResponse:
        media = request.query.get("alt") == "media"
        operation = "media" if media else "get"
        bucket = self.bucket(request, operation, writing=False)
        name = request.match_info["name"]
        found = bucket.get(name, request.query.get("ifGenerationMatch"))
        if request.query.get("generation", str(found.generation)) != str(found.generation):
            raise Refused(404, "notFound", f"No such object: {bucket.name}/{name}")
        if media:
            return await self.media(request, bucket, found)
        return self.done(request, bucket, operation, web.json_response(bucket.resource(name, found)))

    async def media(self, request: web.Request, bucket: Bucket, found: Object) -> web.StreamResponse:
        data, status, size = memoryview(found.data), 200, len(found.data)
        headers = {
            "X-Goog-Generation": str(found.generation),
            "X-Goog-Metageneration": "1",
            "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
            "X-Goog-Stored-Content-Length": str(size),
            "Content-Type": found.metadata.get("contentType", "application/octet-stream"),
        }
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
            start, stop = int(wanted[1]), min(size, int(wanted[2] or size) + 1)
            if start >= size:
                raise Refused(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
            data, status = data[start:stop], 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(data)
        await response.prepare(request)
        if fault := bucket.fault("media", "part"):
            await response.write(data[: fault["keep"]])
            raise Lost(request)
        await response.write(data)
        return response

    async def delete(self, request: web.Request) -> web.StreamResponse:
        bucket = self.bucket(request, "delete", writing=True)
        name = request.match_info["name"]
        bucket.get(name, request.query.get("ifGenerationMatch"))
        bucket.check_rate(name)
        del bucket.objects[name]
        bucket.written[name] = time.monotonic()
        return self.done(request, bucket, "delete", web.Response(status=204))

    async def list(self, request: web.Request) -> web.StreamResponse:
        bucket = self.bucket(request, "list", writing=False)
        query = request.query
        limit = min(int(query.get("maxResults", 1000)), bucket.settings.get("page", 1000))
        after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        rows = rows_of(sorted(bucket.objects, key=str.encode), query.get("prefix", ""), query.get("delimiter", ""))
        rest = [row for row in rows if row.encode() > after.encode()]
        page: dict[str, Any] = {"kind": "storage#objects"}
        for row in rest[:limit]:
            if rows[row]:
                page.setdefault("prefixes", []).append(row)
            else:
                page.setdefault("items", []).append(bucket.resource(row, bucket.objects[row]))
        if len(rest) > limit:
            page["nextPageToken"] = base64.urlsafe_b64encode(rest[limit - 1].encode()).decode()
        return self.done(request, bucket, "list", web.json_response(page))

    async def rewrite(self, request: web.Request) -> web.StreamResponse:
        source = self.bucket(request, "rewrite", writing=False)
        if request.match_info["to"] not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        bucket = self.buckets[request.match_info["to"]]
        self.check_rights(bucket, request.headers.get("Authorization"), writing=True)
        query, name = request.query, request.match_info["new"]
        found = source.get(request.match_info["name"], query.get("ifSourceGenerationMatch"))
        if query.get("sourceGeneration", str(found.generation)) != str(found.generation):
            raise Refused(404, "notFound", f"No such object: {source.name}/{request.match_info['name']}")
        bucket.require(name, query.get("ifGenerationMatch"))
        token, size = query.get("rewriteToken"), len(found.data)
        if token is not None and token not in bucket.rewrites:
            raise Refused(410, "gone", "The rewrite token has expired.")
        copied = min(size, (bucket.rewrites.pop(token) if token else 0) + bucket.settings.get("rewrite_step", size))
        step = {"kind": "storage#rewriteResponse", "totalBytesRewritten": str(copied), "objectSize": str(size)}
        if copied < size:
            token = uuid.uuid4().hex
            bucket.rewrites[token] = copied
            answer = {**step, "done": False, "rewriteToken": token}
            return self.done(request, source, "rewrite", web.json_response(answer))
        made = await self.make(bucket, "rewrite", found.data, dict(found.metadata))
        bucket.put(name, made, query.get("ifGenerationMatch"))
        answer = {**step, "done": True, "resource": bucket.resource(name, made)}
        return self.done(request, source, "rewrite", web.json_response(answer))

    # The XML API

    async def put_by_xml(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        bucket, name = self.bucket(request, "insert", writing=True, size=len(data)), request.match_info["name"]
        made = await self.make(bucket, "insert", data, {})
        bucket.put(name, made, request.headers.get("x-goog-if-generation-match"))
        return web.Response(headers=xml_headers(made))

    async def get_by_xml(self, request: web.Request) -> web.StreamResponse:
        found = self.bucket(request, "media", writing=False).get(request.match_info["name"])
        return web.Response(body=found.data, headers=xml_headers(found))

    async def list_by_xml(self, request: web.Request) -> web.StreamResponse:
        bucket, prefix = self.bucket(request, "list", writing=False), request.query.get("prefix", "")
        rows = [
            f"<Contents><Key>{escape(name)}</Key><Size>{len(found.data)}</Size><ETag>{found.md5}</ETag>"
            f"<LastModified>{found.created}</LastModified></Contents>"
            for name, found in sorted(bucket.objects.items())
            if name.startswith(prefix)
        ]
        text = f"<ListBucketResult>{''.join(rows)}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    def done(
        self, request: web.Request, bucket: Bucket, operation: str, answer: web.StreamResponse
    ) -> web.StreamResponse:
        """Return the response, unless it is to be lost."""
        if bucket.fault(operation, "lose"):
            raise Lost(request)
        return answer

    # Creating buckets, and requests that control the server

    async def make_bucket(self, request: web.Request) -> web.StreamResponse:
        name = (await request.json())["name"]
        if name in self.buckets:
            raise Refused(409, "conflict", "You already own this bucket. Please select another name.")
        self.buckets[name] = Bucket(name)
        return web.json_response({"kind": "storage#bucket", "name": name})

    async def get_bucket(self, request: web.Request) -> web.StreamResponse:
        bucket = self.bucket(request, "bucket", writing=False)
        return web.json_response({"kind": "storage#bucket", "name": bucket.name})

    async def set(self, request: web.Request) -> web.StreamResponse:
        self.buckets[request.match_info["bucket"]].settings = await request.json()
        return web.json_response({})

    async def add_faults(self, request: web.Request) -> web.StreamResponse:
        self.buckets[request.match_info["bucket"]].faults += await request.json()
        return web.json_response({})

    async def log(self, request: web.Request) -> web.StreamResponse:
        bucket = self.buckets[request.match_info["bucket"]]
        return web.json_response({"requests": bucket.log, "sessions": len(unfinished(bucket))})

    async def token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if not form.get("assertion"):
            return web.json_response({"error": "invalid_grant", "error_description": "No assertion."}, status=400)
        return web.json_response({"access_token": "from-service-account", "expires_in": 3600, "token_type": "Bearer"})


class Lost(Exception):
    """Raised to close the connection without a response."""

    def __init__(self, request: web.Request) -> None:
        super().__init__("lost")
        if request.transport is not None:
            request.transport.close()


def unfinished(bucket: Bucket) -> dict[str, Session]:
    return {key: session for key, session in bucket.sessions.items() if session.made is None}


def digests(data: bytes) -> tuple[str, str]:
    """Return the CRC32C and MD5 in base64."""
    crc32c = google_crc32c.value(data).to_bytes(4)
    return base64.b64encode(crc32c).decode(), base64.b64encode(hashlib.md5(data).digest()).decode()


def xml_headers(made: Object) -> dict[str, str]:
    """Return the headers of an object in the XML API."""
    moment = datetime.fromisoformat(made.created)
    headers = {"ETag": f'"{made.md5}"', "Last-Modified": format_datetime(moment, usegmt=True)}
    return {**headers, "x-goog-generation": str(made.generation)}


def parts_of(request: web.Request, body: bytes) -> tuple[dict[str, str], bytes]:
    """Return the metadata and content of a `multipart/related` body."""
    found = re.search(r'boundary="?([^";]+)', request.headers["Content-Type"])
    assert found is not None
    delimiter = b"--" + found[1].encode()
    _, metadata, content = body.split(delimiter, 2)
    content = content[: content.rindex(b"\r\n" + delimiter + b"--")]
    return json.loads(metadata.partition(b"\r\n\r\n")[2]), content.partition(b"\r\n\r\n")[2]


def rows_of(names: list[str], prefix: str, delimiter: str) -> dict[str, bool]:
    """Return names and folded prefixes in order; the value is whether a row is a prefix."""
    rows: dict[str, bool] = {}
    for name in names:
        if name.startswith(prefix):
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            rows[prefix + head + found if found else name] = bool(found)
    return rows


@web.middleware
async def answering(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return refused.answer()
    except Lost:
        return web.Response()


def application() -> web.Application:
    server = Server()
    app = web.Application(middlewares=[answering], client_max_size=2**40)
    bucket, name = "/storage/v1/b/{bucket}", "/o/{name:[^/]+}"  # a name is one segment, with `%2F` in it
    app.add_routes(
        [
            web.get("/", lambda _: _alive()),
            web.post("/token", server.token),
            web.put("/_settings/{bucket}", server.set),
            web.post("/_faults/{bucket}", server.add_faults),
            web.get("/_log/{bucket}", server.log),
            web.post("/storage/v1/b", server.make_bucket),
            web.get(bucket, server.get_bucket),
            web.post("/upload/storage/v1/b/{bucket}/o", server.insert),
            web.put("/upload/storage/v1/b/{bucket}/o", server.chunk),
            web.delete("/upload/storage/v1/b/{bucket}/o", server.cancel),
            web.get(bucket + "/o", server.list),
            web.post(bucket + "/o/{name:[^/]+}/rewriteTo/b/{to}/o/{new:[^/]+}", server.rewrite),
            web.get(bucket + name, server.get),
            web.delete(bucket + name, server.delete),
            web.get("/{bucket}", server.list_by_xml),
            web.put("/{bucket}/{name:.+}", server.put_by_xml),
            web.get("/{bucket}/{name:.+}", server.get_by_xml),
        ]
    )
    return app


async def _alive() -> web.Response:
    return web.Response(text="alive")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
