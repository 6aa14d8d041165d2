"""Drivers for the supported object stores, and the function that finds the driver for a URL.

A driver deals with keys, bytes and its SDK. It knows nothing about assets.

The names in `__all__` are the public API for driver authors: see `docs/drivers.md`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import unquote, urlsplit

from aioassets.drivers.protocol import (
    MAX_DOCUMENT,
    SMALL_DOCUMENT,
    CommonPrefix,
    Data,
    Document,
    Driver,
    Expect,
    NoComposition,
    NoLocalFiles,
    NoObjectVersions,
    NoOpenUploads,
    NoPresigning,
    ObjectInfo,
    OpenUpload,
    Revision,
    Run,
    Source,
    Stream,
    StreamedDocument,
    Uploaded,
)
from aioassets.drivers.spelling import SCHEME, check_location, is_like_a_path, renamed, which
from aioassets.drivers.spooling import NoStreams
from aioassets.errors import (
    AccessDenied,
    AioAssetsError,
    BucketNotFound,
    CannotCompose,
    CannotPresign,
    DocumentTooLarge,
    InvalidSetting,
    MissingCredentials,
    NotSameStore,
    ObjectNotFound,
    PreconditionFailed,
    SourceChanged,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from aioassets.runtime.budget import Budget
from aioassets.runtime.dispatch import Dispatcher
from aioassets.runtime.effects import Effects
from aioassets.runtime.retry import RetryPolicy
from aioassets.runtime.threads import in_thread

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

__all__ = [
    "MAX_DOCUMENT",
    "SMALL_DOCUMENT",
    "AccessDenied",
    "AioAssetsError",
    "BucketNotFound",
    "Budget",
    "CannotCompose",
    "CannotPresign",
    "CommonPrefix",
    "Data",
    "Dispatcher",
    "Document",
    "DocumentTooLarge",
    "Driver",
    "Effects",
    "Expect",
    "InvalidSetting",
    "MissingCredentials",
    "NoComposition",
    "NoLocalFiles",
    "NoObjectVersions",
    "NoOpenUploads",
    "NoPresigning",
    "NoStreams",
    "NotSameStore",
    "ObjectInfo",
    "ObjectNotFound",
    "OpenUpload",
    "PreconditionFailed",
    "RetryPolicy",
    "Revision",
    "Run",
    "Source",
    "SourceChanged",
    "StoreCorrupt",
    "StoreError",
    "StoreUnavailable",
    "Stream",
    "StreamedDocument",
    "Uploaded",
    "in_thread",
]

T = TypeVar("T")

PLUGINS: Final = "aioassets.drivers"
"""The entry-point group in which other packages register drivers by URL scheme."""


@dataclass(frozen=True, slots=True)
class _Provider:
    module: str
    factory: str
    scheme: str


_PROVIDERS: Final = {
    "local": _Provider("aioassets.drivers.local", "LocalDriver", "file"),
    "s3": _Provider("aioassets.drivers.s3.driver", "S3Driver", "s3"),
    "gcs": _Provider("aioassets.drivers.gcs.driver", "GCSDriver", "gs"),
    "memory": _Provider("aioassets.drivers.memory", "MemoryDriver", "memory"),
    "azure": _Provider("aioassets.drivers.azure.driver", "AzureDriver", "az"),
}
_ALIASES: Final = {"az": "azure"}
"""modelkit's names for providers, mapped to aioassets' own."""
_BY_SCHEME: Final = {provider.scheme: name for name, provider in _PROVIDERS.items()}

_ARN: Final = re.compile(
    r"(?P<bucket>arn:[\w-]+:s3[\w-]*:[\w-]*:\d*:(?:outpost[/:][\w-]+[/:])?accesspoint[/:][\w.-]+)(?:/(?P<key>.*))?",
    re.DOTALL,
)
"""The ARN of an S3 access point, which itself contains a slash, optionally followed by a key."""
_ADVICE: Final = "Write ./store, file:///path, s3://name, gs://name or az://container."


@dataclass(frozen=True, slots=True)
class Location:
    """A provider and a bucket.

    Attributes:
        provider: `local`, `s3`, `gcs`, `azure`, `memory`, or the scheme of a plug-in.
        bucket: the bucket name, or the path of the folder.
    """

    provider: str
    bucket: str

    @classmethod
    def parse(cls, bucket: str | os.PathLike[str], storage_provider: str | None = None) -> Location:
        """Parse a URL, a path or a bare name.

        Args:
            bucket: `s3://name`, `file:///path`, a path, or a bare name.
            storage_provider: the provider to use for a bare name. If `None`, a bare name must be the name of an
                existing folder.

        Raises:
            InvalidSetting: the URL is malformed or misspelt, the name is ambiguous, or the provider is unknown.
        """
        storage_provider = _ALIASES.get(storage_provider or "", storage_provider)
        if storage_provider is not None and not _is_provider(storage_provider):
            raise InvalidSetting(
                f"Unknown storage provider {storage_provider!r}. Choose one of {', '.join(sorted(_PROVIDERS))}."
            )
        text = os.fspath(bucket)
        if not isinstance(text, str):
            raise InvalidSetting("The bucket must be a string or a path, not bytes.")
        if not (storage_provider == "s3" and text.startswith("arn:")):
            check_location(text)
        if SCHEME.match(text):
            return cls._from_url(text)
        if is_like_a_path(text) or (storage_provider is None and _is_folder(bucket)):
            return cls("local", text)
        if storage_provider is None:
            raise which(text.rstrip("/"))
        return cls(storage_provider, text)

    @classmethod
    def _from_url(cls, url: str) -> Location:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise InvalidSetting(f"The bucket's URL is malformed. {_ADVICE}") from None
        # A password that contains a slash looks like a path, so the messages never include the URL.
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise InvalidSetting(f"The bucket's URL must not contain credentials, a query or a fragment. {_ADVICE}")
        scheme = parts.scheme.lower()
        provider = _BY_SCHEME.get(scheme, scheme)
        if not _is_provider(provider):
            advice = f"Did you mean {ours}://?" if (ours := renamed(scheme)) else _ADVICE
            raise InvalidSetting(f"No driver is installed for {scheme}:// URLs. {advice}")
        if provider == "local":
            if parts.netloc not in ("", "localhost") or not parts.path:
                raise InvalidSetting(f"{url!r} does not refer to a folder on this machine. Use file:///path.")
            return cls(provider, unquote(parts.path))
        if provider == "s3" and (arn := _ARN.fullmatch(url.partition("://")[2].rstrip("/"))) and not arn["key"]:
            return cls(provider, arn["bucket"])
        if not parts.netloc or parts.path.strip("/"):
            raise InvalidSetting(
                f"The bucket's URL must have the form {scheme}://name. Specify a path inside the bucket as the prefix."
            )
        return cls(provider, parts.netloc)


def make_driver(
    location: Location,
    *,
    dispatcher: Dispatcher,
    options: Mapping[str, Any] | None = None,
    timeouts: Mapping[str, float] | None = None,
) -> Driver:
    """Create the driver for a location. The driver connects when it sends its first request.

    Args:
        location: the provider and the bucket.
        dispatcher: the dispatcher that limits and retries requests.
        options: keyword arguments for the driver. An option named `provider.option` is passed to that
            provider's driver only.
        timeouts: `connect_timeout` and `read_timeout` in seconds, for drivers that have these options.

    Raises:
        InvalidSetting: the driver has no such option, or its extra is not installed.
    """
    factory = _factory(location.provider)
    parameters = inspect.signature(factory).parameters
    known = set(parameters) - {"dispatcher", "client"}
    chosen = {key: value for key, value in (timeouts or {}).items() if key in known}
    for key, value in (options or {}).items():
        owner, _, option = key.rpartition(".")
        if owner not in ("", location.provider):
            continue
        if option not in known:
            raise InvalidSetting(f"The {location.provider} driver has no option {option!r}.")
        chosen[option] = _parsed(option, value, str(parameters[option].annotation))
    if location.provider != "local":
        return cast("Driver", factory(location.bucket, dispatcher=dispatcher, **chosen))
    folder = local_folder("bucket", location.bucket)
    return cast("Driver", factory(folder, dispatcher=dispatcher, **chosen))


def local_folder(what: str, path: str, option: str = "") -> str:
    """Return the absolute path of a folder, with `~` expanded.

    Args:
        what: what the folder is for, as named in error messages.
        path: the path that the user specified.
        option: how the user can specify a different path, as named in error messages.

    Raises:
        InvalidSetting: the home directory is unknown, or the working directory has been removed.
    """
    advice = "an absolute path" + (f" ({option})" if option else "")
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise InvalidSetting(
            f"Cannot use the {what} {path!r}: the home directory is unknown. Set HOME, or specify {advice}."
        )
    try:
        return str(Path(expanded).absolute())
    except FileNotFoundError:
        raise InvalidSetting(
            f"Cannot use the {what} {path!r}: it is relative, and the working directory has been removed. "
            f"Specify {advice}."
        ) from None


def split_url(url: str) -> tuple[Location, str] | None:
    """Split an object's URL into its bucket and its key, or return `None` for a local path.

    The key is not decoded.

    Raises:
        InvalidSetting: the URL has an unknown scheme, or doesn't contain a bucket name.
    """
    if not SCHEME.match(url) or url.lower().startswith("file:"):
        return None
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "s3" and (arn := _ARN.fullmatch(rest)):
        return Location("s3", arn["bucket"]), arn["key"] or ""
    bucket, _, key = rest.partition("/")
    return Location.parse(f"{scheme}://{bucket}"), key


def _is_folder(bucket: str | os.PathLike[str]) -> bool:
    """Return whether a name refers to a folder, although it could also be a bucket name."""
    text = os.fspath(bucket)
    return not isinstance(bucket, str) or "/" in text.rstrip("/") or text.startswith(".") or os.path.isdir(text)


def _is_provider(name: str) -> bool:
    return name in _PROVIDERS or bool(_plugins(name))


def _plugins(provider: str) -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and few users have plug-ins

    return entry_points(group=PLUGINS, name=provider)


def _factory(provider: str) -> Callable[..., Any]:
    """Return the class or function that creates drivers for a provider. Don't import any other driver."""
    if (built_in := _PROVIDERS.get(provider)) is not None:
        return cast("Callable[..., Any]", getattr(importlib.import_module(built_in.module), built_in.factory))
    (plugin, *_) = _plugins(provider)
    try:
        return cast("Callable[..., Any]", plugin.load())
    except Exception as error:
        raise InvalidSetting(f"Failed to load the driver for {provider}:// URLs ({plugin.value}): {error}") from error


def _parsed(option: str, value: Any, annotation: str) -> Any:
    """Convert an option from the environment or the command line to its annotated type."""
    if not isinstance(value, str):
        return value
    for kind, parse in (("bool", parse_boolean), ("int", parse_integer), ("float", parse_number)):
        if kind in annotation:
            try:
                return parse(value)
            except ValueError as error:
                raise InvalidSetting(f"Invalid value {value!r} for the option {option}: {error}.") from None
    return value


def parse_integer(text: str) -> int:
    """Parse an integer.

    Raises:
        ValueError: the text isn't one.
    """
    return _converted(int, text, "an integer")


def parse_number(text: str) -> float:
    """Parse a number.

    Raises:
        ValueError: the text isn't one.
    """
    return _converted(float, text, "a number")


def _converted(convert: Callable[[str], T], text: str, kind: str) -> T:
    try:
        return convert(text)
    except ValueError:
        raise ValueError(f"it must be {kind}") from None


def parse_boolean(text: str) -> bool:
    """Parse a Boolean: `true`, `1`, `yes` or `on`, or `false`, `0`, `no` or `off`.

    Raises:
        ValueError: the text is none of these.
    """
    if (word := text.strip().lower()) in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("write true or false")
