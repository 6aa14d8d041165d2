"""What can go wrong, as one hierarchy.

::

    AioAssetsError
    ├── UsageError                 the request itself is wrong (also a ValueError)
    │   ├── InvalidName            an asset name that can't be used
    │   ├── InvalidVersion         a version that the versioning scheme doesn't know
    │   ├── InvalidSpec            a spec that doesn't parse
    │   └── InvalidSetting         an argument, environment variable or extra is wrong or missing
    ├── NotFound                   what was named isn't there
    │   ├── AssetNotFound
    │   ├── VersionNotFound
    │   ├── PartNotFound
    │   └── SourceNotFound         the local path to push
    ├── Conflict
    │   └── AssetExists
    ├── SourceError                the local tree can't be pushed as it is
    │   └── SourceChanged          it changed while it was being pushed
    ├── IntegrityError             bytes are not the ones that were pushed
    ├── AccessDenied               permission or credentials
    │   └── MissingCredentials
    ├── StoreError                 the store can't do its part
    │   ├── BucketNotFound
    │   ├── StoreUnavailable       unreachable, throttling or failing: trying later may help
    │   ├── StoreUnsuitable        it doesn't honour conditional writes
    │   └── StoreCorrupt           an object in the store isn't what it should be
    │       └── DocumentTooLarge
    ├── CacheError                 the local assets directory can't be used
    ├── PublicationUncertain       sealed, but whether it was listed isn't known
    ├── PushContended              the version number was lost to others too often
    ├── BulkUpdateError            some assets of an `update_assets` failed
    ├── ManagerStateError          a manager that is closed, or used from another event loop
    ├── OutOfThreads               this process may start no more threads
    └── ObjectError                between drivers and their callers
        ├── NotSameStore
        ├── ObjectNotFound
        └── PreconditionFailed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "AccessDenied",
    "AioAssetsError",
    "AssetExists",
    "AssetNotFound",
    "BucketNotFound",
    "BulkUpdateError",
    "CacheError",
    "Conflict",
    "DocumentTooLarge",
    "IntegrityError",
    "InvalidName",
    "InvalidSetting",
    "InvalidSpec",
    "InvalidVersion",
    "ManagerStateError",
    "MissingCredentials",
    "NotFound",
    "NotSameStore",
    "ObjectError",
    "ObjectNotFound",
    "OutOfThreads",
    "PartNotFound",
    "PreconditionFailed",
    "PublicationUncertain",
    "PushContended",
    "SourceChanged",
    "SourceError",
    "SourceNotFound",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "StoreUnsuitable",
    "UsageError",
    "VersionNotFound",
]


class AioAssetsError(Exception):
    """Base of everything that aioassets raises on purpose.

    Attributes:
        uncertain: whether a request may have taken effect all the same.
    """

    uncertain: bool = False


def is_uncertain(error: BaseException) -> bool:
    """Return whether a request that ended so may have taken effect: also where nobody expected such an error."""
    return not isinstance(error, AioAssetsError) or error.uncertain


class UsageError(AioAssetsError, ValueError):
    """The request itself is wrong; nothing was tried."""


class InvalidName(UsageError):
    """An asset name that can't be used.

    Attributes:
        name: the name as given.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name!r} can't be an asset name: {reason}.")


class InvalidVersion(UsageError):
    """A version that the versioning scheme doesn't know.

    Attributes:
        version: the version as given.
    """

    def __init__(self, version: str, reason: str) -> None:
        self.version = version
        super().__init__(f"{version!r} is not a valid version: {reason}.")


class InvalidSpec(UsageError):
    """A spec that doesn't parse.

    Attributes:
        spec: the spec as given.
    """

    def __init__(self, spec: str, reason: str) -> None:
        self.spec = spec
        super().__init__(
            f"{spec!r} is not an asset spec: {reason}. Write name, name:1, name:1.2 or name:1.2[sub/part]."
        )


class InvalidSetting(UsageError):
    """An argument, an environment variable or an installed extra is wrong or missing."""


class NotFound(AioAssetsError):
    """What was named isn't there."""


class AssetNotFound(NotFound):
    """No such asset in the store (or, offline, in the cache).

    Attributes:
        name: the asset's name.
        where: the store or folder that was asked.
    """

    def __init__(self, name: str, where: str, advice: str = "") -> None:
        self.name = name
        self.where = where
        super().__init__(f"There is no asset {name!r} in {where}." + (f" {advice}" if advice else ""))


class VersionNotFound(NotFound):
    """The asset exists, this version of it doesn't.

    Attributes:
        name: the asset's name.
        version: the version (perhaps partial) that was asked for.
        available: the versions that are there, latest first.
    """

    def __init__(self, name: str, version: str, where: str, available: tuple[str, ...] = ()) -> None:
        self.name = name
        self.version = version
        self.available = available
        there = f" It has {', '.join(available[:10])}{', …' if len(available) > 10 else ''}." if available else ""
        super().__init__(f"Asset {name!r} has no version {version} in {where}.{there}")


class PartNotFound(NotFound):
    """The version exists, but nothing in it matches the sub-part.

    Attributes:
        name: the asset's name.
        version: the resolved version.
        part: the sub-part that matched nothing.
    """

    def __init__(self, name: str, version: str, part: str) -> None:
        self.name = name
        self.version = version
        self.part = part
        super().__init__(f"{name}:{version} holds nothing at {part!r}: whole path segments are matched.")


class SourceNotFound(NotFound):
    """The local path to push doesn't exist.

    Attributes:
        path: the path as given.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"There is nothing at {path!r} to push.")


class Conflict(AioAssetsError):
    """Somebody else was there first."""


class AssetExists(Conflict):
    """`create_asset` on an asset that exists, or is being created.

    Attributes:
        name: the asset's name.
    """

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        super().__init__(f"Asset {name!r} can't be created: {detail}")


class SourceError(AioAssetsError):
    """The local tree can't be pushed as it is.

    Attributes:
        path: the offending path.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(f"{path!r} can't be pushed: {reason}.")


class SourceChanged(SourceError):
    """A local file changed while it was being pushed; nothing was published."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "it changed while it was being pushed; push again when it is at rest")


class IntegrityError(AioAssetsError):
    """Bytes are not the ones that were pushed.

    Attributes:
        what: the asset, version and part.
        expected: the digest or size that the manifest records.
        found: what was found instead.
    """

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(f"{what} is not what was pushed: expected {expected}, found {found}.")


class AccessDenied(AioAssetsError):
    """The store or a folder refuses this principal, or there are no usable credentials.

    Attributes:
        where: the store's URL, or the folder.
    """

    def __init__(
        self, where: str, doing: str, detail: str, advice: str = "Check the credentials and their permissions."
    ) -> None:
        self.where = where
        super().__init__(f"{where} doesn't allow to {doing}: {detail} {advice}")


class MissingCredentials(AccessDenied):
    """There are no usable credentials, so the store wasn't even asked."""

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        AioAssetsError.__init__(self, f"There are no usable credentials for {where}: {detail}")


class StoreError(AioAssetsError):
    """The store can't do its part."""


class BucketNotFound(StoreError):
    """The bucket, container or folder doesn't exist.

    Attributes:
        where: the store's URL.
        creatable: whether the first write would make it, as for a local folder.
    """

    def __init__(self, where: str, *, creatable: bool = False) -> None:
        self.where = where
        self.creatable = creatable
        advice = "Check the path, or let `new` create it." if creatable else "Check its name, or create it first."
        super().__init__(f"{where} doesn't exist. {advice}")


class StoreUnavailable(StoreError):
    """The store can't be reached, throttles or fails; trying again later may help.

    Attributes:
        where: the store's URL.
        uncertain: whether the request may have taken effect all the same.
        retry_after: seconds that the store asked to wait, or `None`.
        throttled: whether the store says that it is asked too much, and so takes fewer requests at once.
    """

    def __init__(
        self,
        where: str,
        detail: str,
        *,
        uncertain: bool = True,
        retry_after: float | None = None,
        throttled: bool = False,
    ) -> None:
        self.where = where
        self.uncertain = uncertain
        self.retry_after = retry_after
        self.throttled = throttled
        super().__init__(f"{where} can't be used right now: {detail}")


class StoreUnsuitable(StoreError):
    """The store doesn't honour conditional writes, so versions could be lost.

    Attributes:
        where: the store's URL.
        observed: what the store did.
    """

    def __init__(self, where: str, observed: str) -> None:
        self.where = where
        self.observed = observed
        super().__init__(
            f"{where} can't keep concurrent pushes apart: {observed}. "
            "Use another store, or declare that only one writer pushes at a time "
            "(single_writer=True, --single-writer, AIOASSETS_SINGLE_WRITER=1)."
        )


class StoreCorrupt(StoreError):
    """An object in the store isn't what it should be.

    Attributes:
        where: the object's URL.
    """

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        super().__init__(f"{where} can't be used: {detail}.")


class DocumentTooLarge(StoreCorrupt):
    """A document has more bytes than are read.

    Attributes:
        size: its bytes; `None` where the store doesn't tell.
        limit: the most that it may have.
    """

    def __init__(self, where: str, size: int | None, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(where, f"it is larger than the {limit:,} bytes that a document may have")


class CacheError(AioAssetsError):
    """The local assets directory can't be used.

    Attributes:
        path: the path concerned.
    """

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        super().__init__(f"The assets directory can't be used at {path!r}: {detail}.")


class PublicationUncertain(AioAssetsError):
    """The version is complete, but whether it was listed isn't known.

    Its content is safe: `fetch` of this exact version works once its manifest
    is there. The next update of this manager lists it if that is still missing, and so does
    `clean --publish`.

    Attributes:
        name: the asset's name.
        version: the version in question.
    """

    def __init__(self, name: str, version: str, detail: str) -> None:
        self.name = name
        self.version = version
        super().__init__(
            f"{name}:{version} was uploaded, but whether it was published isn't known: {detail} "
            f"Look with `aioassets versions {name}` before pushing again."
        )


class PushContended(Conflict):
    """The version number was lost to others too often in a row.

    Attributes:
        name: the asset's name.
    """

    def __init__(self, name: str, attempts: int) -> None:
        self.name = name
        super().__init__(f"{name!r} was not pushed: its version number was taken away {attempts} times. Push again.")


class BulkUpdateError(AioAssetsError):
    """Some assets of an `update_assets` were not published.

    Attributes:
        published: what was published, by asset name.
        failed: why the others failed, by asset name.
    """

    def __init__(self, published: Mapping[str, Any], failed: Mapping[str, Exception]) -> None:
        self.published = dict(published)
        self.failed = dict(failed)
        first = next(iter(self.failed.items()))
        more = f" and {len(self.failed) - 1} more" if len(self.failed) > 1 else ""
        super().__init__(
            f"{len(self.failed)} of {len(self.failed) + len(self.published)} assets were not published: "
            f"{first[0]} ({first[1]}){more}."
        )


class ManagerStateError(AioAssetsError, RuntimeError):
    """A manager that is closed, or used from a second event loop."""


class OutOfThreads(AioAssetsError):
    """This process needs a thread and can't start one."""

    uncertain = True  # a request may consist of several steps, and this one needn't be the first

    def __init__(self) -> None:
        super().__init__(
            "This process can't start a thread: it has reached a limit of the system. Raise the limit of processes and "
            "threads (`ulimit -u`, TasksMax of a systemd unit, the pids limit of a container), or run fewer at once."
        )


class ObjectError(AioAssetsError):
    """Between a driver and its caller: the state of one object.

    Attributes:
        url: the object's URL.
    """

    problem = "is not in the expected state"

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"{url} {self.problem}.")


class ObjectNotFound(ObjectError):
    """There is no object with this key."""

    problem = "doesn't exist"


class PreconditionFailed(ObjectError):
    """The object exists already, or is not at the expected revision."""

    problem = "was changed by somebody else"


class NotSameStore(ObjectError):
    """The store can't copy this object by itself: its bytes have to be streamed."""

    problem = "can't be copied by the store itself"
