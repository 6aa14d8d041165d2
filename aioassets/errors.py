"""The exception hierarchy of aioassets.

::

    AioAssetsError
    ├── UsageError                 invalid call (also a ValueError)
    │   ├── InvalidName            invalid asset name
    │   ├── InvalidVersion         version that the versioning scheme doesn't allow
    │   ├── InvalidAlias           invalid alias
    │   ├── InvalidSpec            invalid asset spec
    │   └── InvalidSetting         invalid or missing argument, environment variable or extra
    ├── NotFound
    │   ├── AssetNotFound
    │   ├── VersionNotFound
    │   │   └── VersionDeleted     the version was deleted
    │   ├── AliasNotFound
    │   ├── PartNotFound
    │   └── SourceNotFound         the source to push or compare doesn't exist
    ├── Conflict
    │   ├── AssetExists
    │   ├── AliasMoved             the alias doesn't point at the expected version
    │   ├── VersionInUse           an alias points at the version to yank or delete
    │   ├── VersionYanked          the version to point an alias at is yanked
    │   ├── VersionDiffers         the version to copy exists with different content
    │   ├── VersionClaimed         another push holds the number of the version to copy
    │   ├── DestinationOccupied    what is at the path to put an asset at would be lost
    │   └── PushContended          lost the version number to concurrent pushes too many times
    ├── SourceError                the source can't be pushed or compared
    │   └── SourceChanged          the source changed in the meantime
    ├── IntegrityError             content doesn't match its manifest
    ├── AccessDenied               permission denied
    │   └── MissingCredentials
    ├── StoreError
    │   ├── BucketNotFound
    │   ├── CannotPresign          the store, or the credentials, can't sign URLs
    │   ├── StoreUnavailable       unreachable, throttling or failing; retry later
    │   ├── StoreUnsuitable        the store doesn't honour conditional writes
    │   └── StoreCorrupt           invalid object in the store
    │       └── DocumentTooLarge   document that exceeds the size limit
    ├── CacheError                 the local assets directory can't be used
    ├── DestinationError           an asset can't be put at a path
    ├── PublicationUncertain       uploaded, but possibly not listed in the index
    ├── BulkError                  a call for several assets failed for some of them
    │   ├── BulkUpdateError        `update_assets` failed for some assets
    │   └── BulkFetchError         `fetch_assets` or `sync_assets` failed for some specs
    ├── ManagerStateError          the manager is closed, or belongs to another event loop
    ├── OutOfThreads               the system refuses to start another thread
    └── ObjectError                raised by drivers for a single object
        ├── CannotCompose
        ├── NotSameStore
        ├── ObjectNotFound
        └── PreconditionFailed
"""

from __future__ import annotations

import copyreg
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = [
    "AccessDenied",
    "AioAssetsError",
    "AliasMoved",
    "AliasNotFound",
    "AssetExists",
    "AssetNotFound",
    "BucketNotFound",
    "BulkError",
    "BulkFetchError",
    "BulkUpdateError",
    "CacheError",
    "CannotCompose",
    "CannotPresign",
    "Conflict",
    "DestinationError",
    "DestinationOccupied",
    "DocumentTooLarge",
    "IntegrityError",
    "InvalidAlias",
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
    "VersionClaimed",
    "VersionContended",
    "VersionDeleted",
    "VersionDiffers",
    "VersionInUse",
    "VersionNotFound",
    "VersionYanked",
]


class AioAssetsError(Exception):
    """Base class for all exceptions that aioassets raises deliberately.

    Attributes:
        uncertain: whether the request may have taken effect even though it failed.
    """

    uncertain: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling and copying without calling the constructor, whose arguments may differ from `args`."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


def is_uncertain(error: BaseException) -> bool:
    """Return whether a failed request may have taken effect. Exceptions from other libraries count as uncertain."""
    return not isinstance(error, AioAssetsError) or error.uncertain


class UsageError(AioAssetsError, ValueError):
    """Raised when a call is invalid. No asset in the store was changed."""


class InvalidName(UsageError):
    """Raised when an asset name is invalid.

    Attributes:
        name: the name as given.
        reason: why it is invalid.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name!r} is not a valid asset name: {reason}.")


class InvalidVersion(UsageError):
    """Raised when the versioning scheme doesn't allow a version.

    Attributes:
        version: the version as given.
        reason: why it is invalid.
    """

    def __init__(self, version: str, reason: str) -> None:
        self.version = version
        self.reason = reason
        super().__init__(f"{version!r} is not a valid version: {reason}.")


class InvalidAlias(UsageError):
    """Raised when an alias is invalid.

    Attributes:
        alias: the alias as given.
    """

    def __init__(self, alias: str, reason: str) -> None:
        self.alias = alias
        super().__init__(f"{alias!r} is not a valid alias: {reason}.")


class InvalidSpec(UsageError):
    """Raised when an asset spec is invalid.

    Attributes:
        spec: the spec as given.
    """

    def __init__(self, spec: str, reason: str) -> None:
        self.spec = spec
        super().__init__(
            f"{spec!r} is not a valid asset spec: {reason}. "
            "Write name, name:1, name:1.2 or name@alias, optionally followed by [sub/part]."
        )


class InvalidSetting(UsageError):
    """Raised when an argument or environment variable is invalid or missing, or when an extra isn't installed."""


class NotFound(AioAssetsError):
    """Base class for errors about an asset, version, alias, part or source that doesn't exist.

    Attributes:
        suggestions: similar names, versions or aliases that exist, most similar first.
    """

    suggestions: tuple[str, ...] = ()

    def suggest(self, wanted: str, existing: Sequence[str], *, limit: int = 3, cutoff: float = 0.6) -> None:
        """Add the most similar names to the attributes and the message.

        Args:
            wanted: the name that doesn't exist. If it does, nothing is suggested.
            existing: the names that exist. Only the first 1,000 are considered.
            limit: the maximum number of suggestions.
            cutoff: the minimum similarity, from 0 to 1.
        """
        if wanted in existing:
            return
        self.suggestions = nearest(wanted, existing[:1000], limit, cutoff)
        if self.suggestions:
            *others, last = self.suggestions
            named = f"{', '.join(others)} or {last}" if others else last
            self.args = (f"{self.args[0]} Did you mean {named}?",)


def nearest(wanted: str, existing: Sequence[str], limit: int, cutoff: float = 0.6) -> tuple[str, ...]:
    """Return the names that are most similar to another one, regardless of case and of what is before a slash."""
    from difflib import get_close_matches  # noqa: PLC0415 - only needed for errors

    names = {name.rpartition("/")[2].casefold(): name for name in existing}
    return tuple(names[name] for name in get_close_matches(wanted.rpartition("/")[2].casefold(), names, limit, cutoff))


class AssetNotFound(NotFound):
    """Raised when an asset doesn't exist in the store (or in the cache, when offline).

    Attributes:
        name: the asset's name.
        where: the URL of the store, or the assets directory.
    """

    def __init__(self, name: str, where: str, advice: str = "") -> None:
        self.name = name
        self.where = where
        super().__init__(f"No asset {name!r} in {where}." + (f" {advice}" if advice else ""))


class VersionNotFound(NotFound):
    """Raised when an asset exists, but the requested version doesn't.

    Attributes:
        name: the asset's name.
        version: the requested version, which may be partial; empty for the latest version.
        available: the existing versions, latest first.
    """

    def __init__(
        self, name: str, version: str, where: str, available: tuple[str, ...] = (), *, problem: str = ""
    ) -> None:
        self.name = name
        self.version = version
        self.available = available
        listed = ", ".join(available[:10]) + (", …" if len(available) > 10 else "")
        super().__init__(
            f"Asset {name!r} has no {f'version {version}' if version else 'latest version'} in {where}"
            + (f": {problem}" if problem else ".")
            + (f" Available: {listed}." if listed else "")
        )
        self.suggest(version, available[:100], limit=1, cutoff=0.88)  # not merely a neighbour


class VersionDeleted(VersionNotFound):
    """Raised when the requested version was deleted.

    Attributes:
        date: when the version was deleted, by the clock of the process that deleted it.
        reason: why the version was deleted; `None` if no reason was given.
    """

    def __init__(self, name: str, version: str, where: str, date: datetime, by: object, reason: str | None) -> None:
        super().__init__(name, version, where)
        self.date = date
        self.reason = reason
        because = f": {reason.rstrip('.')}" if reason else ""
        self.args = (f"{name}:{version} was deleted from {where} on {date:%Y-%m-%d %H:%M %Z} by {by}{because}.",)


class AliasNotFound(NotFound):
    """Raised when an asset has no such alias, or the alias has no previous version to go back to.

    Attributes:
        name: the asset's name.
        alias: the alias.
        available: the existing aliases, sorted.
    """

    def __init__(
        self, name: str, alias: str, where: str, available: tuple[str, ...] = (), *, problem: str | None = None
    ) -> None:
        self.name = name
        self.alias = alias
        self.available = available
        listed = ", ".join(available[:10]) + (", …" if len(available) > 10 else "")
        text = f"Asset {name!r} has no alias {alias!r} in {where}." + (f" Its aliases: {listed}." if listed else "")
        super().__init__(text if problem is None else f"The alias {name}@{alias} in {where} {problem}.")
        self.suggest(alias, available)


class PartNotFound(NotFound):
    """Raised when a part matches no file or folder in the version.

    Attributes:
        name: the asset's name.
        version: the resolved version.
        part: the requested part.
    """

    def __init__(self, name: str, version: str, part: str) -> None:
        self.name = name
        self.version = version
        self.part = part
        super().__init__(f"{name}:{version} has no file or folder {part!r}. A part must match whole path segments.")


class SourceNotFound(NotFound):
    """Raised when the source to push, or the local path to compare, doesn't exist.

    Attributes:
        path: the path or URL as given.
    """

    def __init__(self, path: str, *, doing: str = "push", key: str | None = None, is_text: bool = False) -> None:
        self.path = path
        what = repr(path) if key is None else f"{path!r} as {key!r}"
        advice = " To push text, encode it." if is_text else ""
        super().__init__(f"Cannot {doing} {what}: no such file or directory.{advice}")


class Conflict(AioAssetsError):
    """Base class for conflicts with an earlier or concurrent push."""


class AssetExists(Conflict):
    """Raised when an asset can't be created because it already exists, or another push is creating it.

    Attributes:
        name: the asset's name.
    """

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        super().__init__(f"Cannot create asset {name!r}: {detail}")


class AliasMoved(Conflict):
    """Raised when an alias doesn't point at the expected version, for example because another process moved it.

    Attributes:
        name: the asset's name.
        alias: the alias.
        expected: the expected version; `None` if the alias was expected not to exist.
        found: the version that the alias points at; `None` if the alias doesn't exist.
    """

    def __init__(self, name: str, alias: str, expected: str | None, found: str | None) -> None:
        self.name = name
        self.alias = alias
        self.expected = expected
        self.found = found
        state = "doesn't exist" if found is None else f"points at {found}"
        wanted = "not to exist" if expected is None else f"to point at {expected}"
        super().__init__(f"The alias {name}@{alias} {state}, but was expected {wanted}. Nothing was changed.")


class VersionInUse(Conflict):
    """Raised when a version can't be yanked or deleted because an alias points at it.

    Attributes:
        name: the asset's name.
        version: the version.
        aliases: the aliases that point at the version.
    """

    def __init__(self, name: str, version: str, aliases: tuple[str, ...], action: str) -> None:
        self.name = name
        self.version = version
        self.aliases = aliases
        named = ", ".join(f"{name}@{alias}" for alias in aliases)
        super().__init__(
            f"Cannot {action} {name}:{version} while aliases point at it: {named}. Move or remove them first."
        )


class VersionYanked(Conflict):
    """Raised when an alias can't point at a version, or an index can't list it, because it is yanked.

    Attributes:
        name: the asset's name.
        version: the version.
        reason: why the version was yanked; `None` if no reason was given.
    """

    def __init__(
        self,
        name: str,
        version: str,
        reason: str | None,
        consequence: str = "no alias can point at it. Choose a different version, or unyank this one.",
    ) -> None:
        self.name = name
        self.version = version
        self.reason = reason
        because = f" ({reason.rstrip('.')})" if reason else ""
        super().__init__(f"{name}:{version} has been yanked{because}, so {consequence}")


class VersionDiffers(Conflict):
    """Raised when a version can't be copied because it exists in the target with different content.

    Attributes:
        name: the asset's name in the target.
        version: the version.
    """

    def __init__(self, name: str, version: str, where: str) -> None:
        self.name = name
        self.version = version
        super().__init__(
            f"{name}:{version} exists in {where} with different content. "
            "Copy it under the next free number with renumber=True (--renumber)."
        )


class VersionClaimed(Conflict):
    """Raised when a version can't be copied because another push to the target holds or has used up its number.

    Attributes:
        name: the asset's name in the target.
        version: the version.
        holder: the user and host that are pushing it; `None` if their push was interrupted.
    """

    def __init__(self, name: str, version: str, where: str, holder: object) -> None:
        self.name = name
        self.version = version
        self.holder = holder
        cause, advice = "an interrupted push used its number", "Copy it"
        if holder is not None:
            cause, advice = f"{holder} is pushing it at the moment", "Copy it again after that, or"
        super().__init__(
            f"Cannot copy {name}:{version} to {where}: {cause}. "
            f"{advice} under the next free number with renumber=True (--renumber)."
        )


class DestinationOccupied(Conflict):
    """Raised when an asset can't be put at a path because a file or folder is there that would be lost.

    Attributes:
        path: the path.
        delivered: the spec that aioassets put there before it was changed; `None` if it put nothing there.
    """

    def __init__(self, path: str, delivered: str | None) -> None:
        self.path = path
        self.delivered = delivered
        if delivered is None:
            why = "aioassets did not put what is there. Remove it, or use another path."
        else:
            why = (
                f"it was changed since aioassets put {delivered} there. Save the changes and remove it, or discard "
                "them with discard_changes=True (--discard-changes)."
            )
        super().__init__(f"Cannot put an asset at {path!r}: {why}")


class DestinationError(AioAssetsError):
    """Raised when an asset can't be put at a path, for example because the disk is full.

    Attributes:
        path: the path.
    """

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        super().__init__(f"Cannot put an asset at {path!r}: {detail}.")


class SourceError(AioAssetsError):
    """Raised when a source, or a file in it, can't be pushed or compared.

    Attributes:
        path: the path or URL that can't be pushed or compared.
        reason: why not.
    """

    def __init__(self, path: str, reason: str, *, doing: str = "push") -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"Cannot {doing} {path!r}: {reason}.")


class SourceChanged(SourceError):
    """Raised when a file or object changed during the push or comparison. Nothing was published."""

    def __init__(self, path: str, *, doing: str = "push") -> None:
        again = "during the push; push again" if doing == "push" else "in the meantime; try again"
        super().__init__(path, f"it changed {again} once nothing is writing to it", doing=doing)


class IntegrityError(AioAssetsError):
    """Raised when the size, digest or revision of a file, or the digest of a version, isn't the recorded one.

    Attributes:
        what: the asset, version and file, such as `model:1.0[weights/w.bin]`.
        expected: the digest, size or revision that was expected.
        found: the digest, size or revision that was found.
    """

    def __init__(self, what: str, expected: str, found: str, *, reference: str = "what was pushed") -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(f"{what} differs from {reference}: expected {expected}, found {found}.")


class AccessDenied(AioAssetsError):
    """Raised when a store or the file system denies permission.

    Attributes:
        where: the URL of the store, or the path of the folder.
    """

    def __init__(
        self, where: str, doing: str, detail: str, advice: str = "Check the credentials and their permissions."
    ) -> None:
        self.where = where
        self._why = f"{detail} {advice}"
        place = "" if where in doing else f" in {where}"
        super().__init__(f"Cannot {doing}{place}: {self._why}")

    def instead(self, doing: str, where: str, note: str) -> AccessDenied:
        """Return the error with another description of what was denied, and a note at the end."""
        return AccessDenied(where, doing, self._why, note)


class MissingCredentials(AccessDenied):
    """Raised when credentials are missing or unusable. No request was sent to the store."""

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        AioAssetsError.__init__(self, f"Found no usable credentials for {where}: {detail}")

    def instead(self, doing: str, where: str, note: str) -> AccessDenied:
        """Return the error itself, because it concerns all requests."""
        return self


class StoreError(AioAssetsError):
    """Raised when a store fails. Base class for more specific store errors.

    Attributes:
        uncertain: whether the request may have taken effect even though it failed.
    """

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        self.uncertain = uncertain
        super().__init__(message)


class BucketNotFound(StoreError):
    """Raised when a bucket, container or folder doesn't exist, or the folder is a file.

    Attributes:
        where: the store's URL.
        creatable: whether the first write would create it, as with a local folder.
    """

    def __init__(self, where: str, *, creatable: bool = False, problem: str = "") -> None:
        self.where = where
        self.creatable = creatable
        if problem:
            super().__init__(f"{where} {problem}")
            return
        advice = (
            "Check the path, or create the store by pushing an asset with `new`."
            if creatable
            else "Check the name, or create it first."
        )
        super().__init__(f"{where} doesn't exist. {advice}")


class CannotPresign(StoreError):
    """Raised when a store has no signed URLs, or when its credentials can't sign them.

    Attributes:
        where: the URL of the store.
    """

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        super().__init__(f"Cannot sign URLs for {where}: {detail}")


class StoreUnavailable(StoreError):
    """Raised when a store is unreachable, throttling or failing. Retrying later may succeed.

    Attributes:
        where: the store's URL.
        uncertain: whether the request may have taken effect even though it failed.
        retry_after: the number of seconds that the store asked clients to wait, or `None` if it didn't. Infinite if
            retrying is pointless, for example because a certificate isn't trusted.
        throttled: whether the store rejected the request because of its rate limit.
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
        self.retry_after = retry_after
        self.throttled = throttled
        super().__init__(f"{where} is unavailable: {detail}", uncertain=uncertain)


class StoreUnsuitable(StoreError):
    """Raised when a store doesn't honour conditional writes, so that concurrent pushes could lose versions.

    Attributes:
        where: the store's URL.
        observed: what the store did wrong.
    """

    def __init__(self, where: str, observed: str) -> None:
        self.where = where
        self.observed = observed
        super().__init__(
            f"{where} is not safe for concurrent pushes: {observed}. "
            "Use another store or, if only one process pushes at a time, declare a single writer "
            "(single_writer=True, --single-writer, AIOASSETS_SINGLE_WRITER=1)."
        )


class StoreCorrupt(StoreError):
    """Raised when an object in the store is invalid.

    Attributes:
        where: the object's URL.
    """

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        super().__init__(f"{where} is invalid: {detail}.")


class DocumentTooLarge(StoreCorrupt):
    """Raised when a document exceeds the size limit.

    Attributes:
        size: the size of the document in bytes, or `None` if the store didn't report it.
        limit: the maximum size in bytes.
    """

    def __init__(self, where: str, size: int | None, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(where, f"it is larger than the {limit:,} bytes allowed for a document")


class CacheError(AioAssetsError):
    """Raised when the local assets directory can't be used.

    Attributes:
        path: the path of the directory, or a path inside it.
    """

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        super().__init__(f"Cannot use {path!r} in the assets directory: {detail}.")


class PublicationUncertain(AioAssetsError):
    """Raised when a version was uploaded completely, but may not have been published.

    If its manifest was written, the version can be fetched by its exact number. If it isn't in the index, the
    next push of the asset by the same manager adds it. So does `clean --publish`.

    Attributes:
        name: the asset's name.
        version: the uploaded version.
    """

    def __init__(self, name: str, version: str, detail: str) -> None:
        self.name = name
        self.version = version
        super().__init__(
            f"{name}:{version} was uploaded, but may not have been published: {detail} "
            f"Check with `aioassets versions {name}` before pushing again."
        )


class PushContended(Conflict):
    """Raised when a push loses its version number to concurrent pushes too many times.

    Attributes:
        name: the asset's name.
    """

    def __init__(self, name: str, attempts: int) -> None:
        self.name = name
        times = "once, and streams can't be read again" if attempts == 1 else f"{attempts} times"
        super().__init__(f"Cannot push {name!r}: lost the version number to concurrent pushes {times}. Push again.")


class VersionContended(Conflict):
    """Raised when a version can't be changed because other processes keep changing it.

    Attributes:
        name: the asset's name.
        version: the version.
    """

    def __init__(self, name: str, version: str, action: str) -> None:
        self.name = name
        self.version = version
        super().__init__(f"Cannot {action} {name}:{version}: other processes keep changing it. Try again.")


class BulkError(AioAssetsError):
    """Base class for failures of calls for several assets. One failure doesn't stop the others.

    Attributes:
        failed: the errors, by asset name or spec.
    """

    def __init__(self, succeeded: int, failed: Mapping[Any, Exception], problem: str) -> None:
        self.failed = dict(failed)
        self._outcome = f"{len(self.failed)} of {len(self.failed) + succeeded} assets were not {problem}"
        super().__init__()
        self.restate()

    def restate(self) -> None:
        """Update the message after a change to the message of an error in `failed`."""
        first = next(iter(self.failed.items()))
        more = f" and {len(self.failed) - 1} more" if len(self.failed) > 1 else ""
        self.args = (f"{self._outcome}: {first[0]} ({first[1]}){more}.",)


class BulkUpdateError(BulkError):
    """Raised when `update_assets` fails for at least one asset.

    Attributes:
        published: the results for the assets that were published, by name.
        failed: the errors for the other assets, by name.
    """

    failed: dict[str, Exception]

    def __init__(self, published: Mapping[str, Any], failed: Mapping[str, Exception]) -> None:
        self.published = dict(published)
        super().__init__(len(self.published), failed, "published")


class BulkFetchError(BulkError):
    """Raised when `fetch_assets` or `sync_assets` fails for at least one spec.

    Attributes:
        fetched: the results for the specs that were fetched, by spec.
        failed: the errors for the other specs, by spec.
    """

    def __init__(self, fetched: Mapping[Any, Any], failed: Mapping[Any, Exception]) -> None:
        self.fetched = dict(fetched)
        super().__init__(len(self.fetched), failed, "fetched")


class ManagerStateError(AioAssetsError, RuntimeError):
    """Raised when a manager is used after it was closed, or outside of its event loop."""


class OutOfThreads(AioAssetsError):
    """Raised when a thread can't be started because of a system limit."""

    uncertain = True  # earlier steps of the same request may have taken effect

    def __init__(self) -> None:
        super().__init__(
            "Cannot start a thread: the system limit was reached. Raise the limit on processes and threads "
            "(`ulimit -u`, TasksMax of a systemd unit, the pids limit of a container), or run fewer processes at once."
        )


class ObjectError(AioAssetsError):
    """Base class for errors that drivers raise for a single object.

    Attributes:
        url: the object's URL.
    """

    problem = "is not in the expected state"

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"{url} {self.problem}.")


class ObjectNotFound(ObjectError):
    """Raised when an object doesn't exist."""

    problem = "doesn't exist"


class PreconditionFailed(ObjectError):
    """Raised when a conditional write fails: the object already exists, or its revision isn't the expected one."""

    problem = "was changed by another writer"


class CannotCompose(ObjectError):
    """Raised when a store can't compose an object of ranges of others, so its whole content has to be uploaded.

    The URL is that of the object, or of an original that can't be copied from.
    """

    problem = "can't be composed or copied from on the server side"


class NotSameStore(ObjectError):
    """Raised when a store can't copy an object on the server side, so its content has to be streamed instead."""

    problem = "can't be copied on the server side"
