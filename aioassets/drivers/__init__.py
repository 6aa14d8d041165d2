"""Drivers: one bucket, container or folder each, and the way from its URL to its driver.

A driver knows keys, bytes and its SDK. It knows nothing of assets.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

from aioassets.drivers.protocol import Driver
from aioassets.errors import InvalidSetting
from aioassets.runtime.dispatch import Dispatcher

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LIKE_A_PATH: Final = ("/", "./", "../", "~")

PLUGINS: Final = "aioassets.drivers"
"""The entry-point group that maps a URL scheme to a driver of somebody else's."""


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
"""What modelkit calls a provider."""
_BY_SCHEME: Final = {provider.scheme: name for name, provider in _PROVIDERS.items()}

_ADVICE: Final = "Name one like ./store, file:///path, s3://name, gs://name or az://container."


@dataclass(frozen=True, slots=True)
class Location:
    """Which bucket of which provider.

    Attributes:
        provider: `local`, `s3`, `gcs`, `azure` or `memory`.
        bucket: its name, or the folder's path.
    """

    provider: str
    bucket: str

    @classmethod
    def parse(cls, bucket: str, storage_provider: str | None = None) -> Location:
        """Tell URLs, paths and bare names apart.

        Args:
            bucket: `s3://name`, `file:///path`, a path, or a bare name.
            storage_provider: what a bare name stands for; `None` for a folder.

        Raises:
            InvalidSetting: the URL or the provider isn't one that is known.
        """
        storage_provider = _ALIASES.get(storage_provider or "", storage_provider)
        if storage_provider is not None and not _is_provider(storage_provider):
            raise InvalidSetting(
                f"There is no storage provider {storage_provider!r}: choose one of {', '.join(sorted(_PROVIDERS))}."
            )
        if _SCHEME.match(bucket):
            return cls._from_url(bucket)
        if bucket.startswith(_LIKE_A_PATH) or bucket in (".", ".."):
            return cls("local", bucket)
        return cls(storage_provider or "local", bucket)

    @classmethod
    def _from_url(cls, url: str) -> Location:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise InvalidSetting(f"A bucket's URL can't be read. {_ADVICE}") from None
        # A password with a slash in it looks like a path, so no message shows the URL.
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise InvalidSetting(f"A bucket's URL takes no credentials, query or fragment. {_ADVICE}")
        scheme = parts.scheme.lower()
        provider = _BY_SCHEME.get(scheme, scheme)
        if not _is_provider(provider):
            raise InvalidSetting(f"{scheme}:// is an unknown kind of store. {_ADVICE}")
        if provider == "local":
            if parts.netloc not in ("", "localhost") or not parts.path:
                raise InvalidSetting(f"{url!r} names no folder on this machine: write file:///path.")
            return cls(provider, unquote(parts.path))
        if not parts.netloc or parts.path.strip("/"):
            raise InvalidSetting(
                f"A bucket's URL is {scheme}://name and no more: give the path inside it as the prefix."
            )
        return cls(provider, parts.netloc)


def make_driver(
    location: Location,
    *,
    dispatcher: Dispatcher,
    options: Mapping[str, Any] | None = None,
    timeouts: Mapping[str, float] | None = None,
) -> Driver:
    """Make the driver for a location; it connects at its first request.

    Args:
        dispatcher: the budget and retries that it shares.
        options: keyword arguments of the driver. Those written `provider.option` are for that
            provider alone, and left out for the others.
        timeouts: `connect_timeout` and `read_timeout`, in seconds, for drivers that have them.

    Raises:
        InvalidSetting: the driver has no such option, or its extra isn't installed.
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
            raise InvalidSetting(f"The {location.provider} store has no option {option!r}.")
        chosen[option] = _parsed(option, value, str(parameters[option].annotation))
    target = os.path.expanduser(location.bucket) if location.provider == "local" else location.bucket
    return cast("Driver", factory(target, dispatcher=dispatcher, **chosen))


def split_url(url: str) -> tuple[Location, str] | None:
    """The bucket and the key that an object's URL names; `None` for a path on this machine.

    A key is taken as it is written, without decoding anything.

    Raises:
        InvalidSetting: the URL is of an unknown kind of store, or names no bucket.
    """
    if not _SCHEME.match(url) or url.lower().startswith("file:"):
        return None
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    return Location.parse(f"{scheme}://{bucket}"), key


def _is_provider(name: str) -> bool:
    return name in _PROVIDERS or bool(_plugins(name))


def _plugins(provider: str) -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and few have any

    return entry_points(group=PLUGINS, name=provider)


def _factory(provider: str) -> Callable[..., Any]:
    """The class or function that makes a provider's drivers; only the one that is asked for is loaded."""
    if (built_in := _PROVIDERS.get(provider)) is not None:
        return cast("Callable[..., Any]", getattr(importlib.import_module(built_in.module), built_in.factory))
    (plugin, *_) = _plugins(provider)
    try:
        return cast("Callable[..., Any]", plugin.load())
    except Exception as error:
        raise InvalidSetting(f"The driver for {provider}:// ({plugin.value}) can't be loaded: {error}") from error


def _parsed(option: str, value: Any, annotation: str) -> Any:
    """Options of the environment and the command line are texts; give them the type that the driver wants."""
    if not isinstance(value, str):
        return value
    for kind, parse in (("bool", parse_boolean), ("int", int), ("float", float)):
        if kind in annotation:
            try:
                return parse(value)
            except ValueError as error:
                raise InvalidSetting(f"The option {option}={value!r} can't be used: {error}.") from None
    return value


def parse_boolean(text: str) -> bool:
    """Read `true`, `1`, `yes`, `on` and their opposites; raises `ValueError`."""
    if (word := text.strip().lower()) in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("write true or false")
