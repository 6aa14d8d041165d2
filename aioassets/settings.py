"""Settings from arguments, environment variables and defaults, in this order of precedence.

No other module reads `os.environ`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from aioassets.drivers import Location, local_folder, parse_boolean, parse_integer, parse_number
from aioassets.drivers.spelling import check_assets_dir, check_edges
from aioassets.errors import InvalidSetting
from aioassets.model.arguments import is_encodable
from aioassets.model.sizes import checked_size, parse_size
from aioassets.model.versioning import VersioningScheme, scheme_named
from aioassets.runtime.budget import MAX_BYTES, MAX_REQUESTS, MIN_REQUESTS
from aioassets.runtime.retry import RETRY_FOR

__all__ = ["Settings"]

T = TypeVar("T")

DEFAULT_PREFIX: Final = "assets"
MODELKIT_PREFIX: Final = "modelkit-assets"

_TEXTS: Final = {
    "bucket": ("BUCKET", "MODELKIT_STORAGE_BUCKET"),
    "prefix": ("PREFIX", "MODELKIT_STORAGE_PREFIX"),
    "storage_provider": ("STORAGE_PROVIDER", "MODELKIT_STORAGE_PROVIDER"),
    "assets_dir": ("DIR",),
    "versioning": ("VERSIONING", "MODELKIT_ASSETS_VERSIONING_SYSTEM"),
}
"""Environment variables for string settings: the name without its prefix `AIOASSETS_`, then names used by modelkit."""
_PARSED: Final[Mapping[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("max_requests", "min_requests", "max_bytes"), parse_integer),
    **dict.fromkeys(("connect_timeout", "read_timeout", "cleanup_timeout", "retry_for"), parse_number),
    "cache_limit": parse_size,
    **dict.fromkeys(("offline", "single_writer", "record_user", "record_host"), parse_boolean),
}
_POSITIVE: Final = (
    "max_requests",
    "min_requests",
    "max_bytes",
    "connect_timeout",
    "read_timeout",
    "cleanup_timeout",
)

_S3_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
_AZURE_ACCOUNT: Final = {
    "azure.account_url": ("AZURE_STORAGE_ACCOUNT_URL", "AZURE_STORAGE_SERVICE_ENDPOINT"),
    "azure.account_name": ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
    "azure.account_key": ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
    "azure.sas_token": ("AZURE_STORAGE_SAS_TOKEN",),
}
"""Environment variables of the Azure CLI and SDKs, by option."""
_SECRET: Final = re.compile(
    r"(?:-o|--storage-option=)?[\w.]*"
    r"(?:secret_access_key|session_token|account_key|storage_key|sas_token|connection_string|client_secret"
    r"|authorization_token)=(.+)",
    re.IGNORECASE | re.DOTALL,
)
"""Matches an option or environment variable whose value is a secret."""
_SECRET_PART: Final = re.compile(r"[=;&?](?:AccountKey|SharedAccessSignature|sig)=([^;&]+)", re.IGNORECASE)
"""Matches a secret in a connection string, or a signature in a URL."""
_SECRET_USER: Final = re.compile(
    r"(?:(?:.*=)?[a-z][a-z0-9+.-]*://|\w*_proxy=)([^:@/]*:(.+))@.*", re.IGNORECASE | re.DOTALL
)
"""Matches a user and password in a URL. A proxy URL may lack its scheme, and a password may contain any character."""


def _check_number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidSetting(f"{name} must be a number, not {type(value).__name__}.")
    return value


def _check_positive(name: str, value: Any) -> None:
    if not _check_number(name, value) > 0:
        raise InvalidSetting(f"{name} must be greater than zero, not {value}.")


def _checked_prefix(prefix: str) -> str:
    check_edges("The prefix", prefix)
    prefix = prefix.strip("/")
    if not is_encodable(prefix):
        raise InvalidSetting(f"The prefix {prefix!r} contains invalid characters. Pass text in UTF-8.")
    if prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise InvalidSetting(f"The prefix {prefix!r} must not contain empty, '.' or '..' segments.")
    return prefix


def _default_assets_dir() -> Path:
    from platformdirs import user_cache_path  # noqa: PLC0415 - only needed for the default

    try:
        return user_cache_path("aioassets", appauthor=False)
    except RuntimeError:  # there is no home directory, which is an error only if the path is used
        return Path("~/.cache/aioassets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a manager in a single value.

    A manager that is given settings reads no environment variables. `Settings.resolve` reads them.

    Attributes:
        bucket: a URL (`s3://name`, `file:///path`), a path such as `./store`, or a bare name together with
            `storage_provider`; `None` to use only the cache.
        prefix: the prefix of all keys, without leading or trailing slashes. The default is `assets`.
        storage_provider: the provider of a bucket given by its bare name: `local`, `s3`, `gcs` or `azure`.
        assets_dir: the folder for fetched assets. The default is in the user's cache directory.
        cache_limit: the maximum size of the cache in bytes, or as a text such as `20GB` or `500MiB`; `None` for no
            limit. Before a download that would exceed it, the least recently used versions are evicted.
        versioning: a versioning scheme, or the name of one: `major_minor` (default) or `simple_date`.
        max_requests: the maximum number of requests in flight.
        min_requests: the number of requests in flight that are always allowed, even if the store throttles
            them. If the default is greater than `max_requests`, `max_requests` takes precedence.
        max_bytes: the maximum number of bytes in flight.
        connect_timeout: how many seconds to wait for a connection.
        read_timeout: how many seconds a response may go without receiving data before the request fails.
        cleanup_timeout: how many seconds a cancelled push may take to clean up.
        retry_for: for how many seconds to keep retrying a request if the store fails; 0 disables retries.
        offline: whether to use only cached versions, without the network.
        single_writer: whether only one writer pushes at a time, so that the store needs no conditional writes.
        record_user: whether to record the user name in manifests and claims.
        record_host: whether to record the host name in manifests and claims.
        storage_options: options for the driver by name, such as `endpoint_url`. A name such as `s3.region`
            applies to only one provider.

    Raises:
        InvalidSetting: if a value is invalid.
    """

    bucket: str | os.PathLike[str] | None = field(default=None, repr=False)  # unchecked, and may contain a secret
    prefix: str = DEFAULT_PREFIX
    storage_provider: str | None = None
    assets_dir: str | os.PathLike[str] = field(default_factory=_default_assets_dir)
    cache_limit: int | str | None = None
    versioning: str | VersioningScheme = "major_minor"
    max_requests: int = MAX_REQUESTS
    min_requests: int = MIN_REQUESTS
    max_bytes: int = MAX_BYTES
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    cleanup_timeout: float = 5.0
    retry_for: float = RETRY_FOR
    offline: bool = False
    single_writer: bool = False
    record_user: bool = True
    record_host: bool = True
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            _check_positive(name, getattr(self, name))
        if not _check_number("retry_for", self.retry_for) >= 0:
            raise InvalidSetting(f"retry_for must not be negative, but it is {self.retry_for}.")
        if self.min_requests > self.max_requests and self.min_requests != MIN_REQUESTS:
            raise InvalidSetting(
                f"min_requests ({self.min_requests}) must not be greater than max_requests ({self.max_requests})."
            )
        object.__setattr__(self, "prefix", _checked_prefix(self.prefix))
        object.__setattr__(self, "cache_limit", checked_size("cache_limit", self.cache_limit))

    @classmethod
    def resolve(cls, *, environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Return the given settings, completed with environment variables and defaults.

        Args:
            environ: the environment variables; `None` for those of the current process.
            given: attributes of `Settings`. A value of `None` is treated as omitted.

        Raises:
            InvalidSetting: if an environment variable or argument is invalid.
        """
        env = _Environment(os.environ if environ is None else environ)
        given = {name: value for name, value in given.items() if value is not None}
        options = {**env.storage_options(), **given.pop("storage_options", {})}
        found = env.settings(bucket_given="bucket" in given, given=given)
        return cls(**{**found, **given}, storage_options={**env.azure_account(options), **options})

    def override(self, **given: Any) -> Settings:
        """Return a copy with some values replaced.

        Args:
            given: attributes of `Settings`. A value of `None` is treated as omitted. Storage options are merged by
                name.

        Raises:
            InvalidSetting: if a value is invalid.
        """
        given = {name: value for name, value in given.items() if value is not None}
        if "storage_options" in given:
            given["storage_options"] = {**self.storage_options, **given["storage_options"]}
        return replace(self, **given)

    @property
    def cache_folder(self) -> Path:
        """The folder for fetched assets, as an absolute path with `~` expanded.

        Raises:
            InvalidSetting: if the path is invalid, or depends on a home or working directory that doesn't exist.
        """
        folder = os.fspath(self.assets_dir)
        if not isinstance(folder, str):
            raise InvalidSetting("The assets directory must be a str or a path-like object, not bytes.")
        check_assets_dir(folder)
        return Path(local_folder("assets directory", folder, "assets_dir, --assets-dir, AIOASSETS_DIR"))

    @property
    def cache_limit_bytes(self) -> int | None:
        """The maximum size of the cache in bytes; `None` for no limit."""
        return checked_size("cache_limit", self.cache_limit)

    @property
    def fewest_requests(self) -> int:
        """The smaller of `min_requests` and `max_requests`."""
        return min(self.min_requests, self.max_requests)

    @property
    def scheme(self) -> VersioningScheme:
        """The versioning scheme.

        Raises:
            InvalidSetting: if there is no scheme with this name.
        """
        return scheme_named(self.versioning) if isinstance(self.versioning, str) else self.versioning

    @property
    def location(self) -> Location | None:
        """The bucket and its provider; `None` if there is no bucket.

        Raises:
            InvalidSetting: if the bucket or the provider is invalid.
        """
        return Location.parse(self.bucket, self.storage_provider) if self.bucket else None


def debug_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether `AIOASSETS_DEBUG` is set to true. Raise `InvalidSetting` if its value is invalid."""
    return _Environment(os.environ if environ is None else environ).parsed("DEBUG", parse_boolean) or False


def secrets_in(args: Iterable[str], environ: Mapping[str, str] | None = None) -> set[str]:
    """Return all secrets in command-line arguments and environment variables, including secrets in parts of a value.

    A password in a URL is returned both with and without the user name.
    """
    environ = os.environ if environ is None else environ
    texts = [*args, *(f"{name}={value}" for name, value in environ.items())]
    found = {match[1] for text in texts if (match := _SECRET.fullmatch(text))}
    users = {form for text in texts for match in [_SECRET_USER.fullmatch(text)] if match for form in match.groups()}
    return found | users | {unquote(part) for text in texts for part in (*_SECRET_PART.findall(text), *users)}


class _Environment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def has(self, name: str) -> bool:
        return bool(self._environ.get(f"AIOASSETS_{name}"))

    def text(self, name: str, *fallbacks: str) -> str | None:
        """Return the value of `AIOASSETS_{name}` or, if that is unset or empty, of the first fallback that isn't."""
        return self._first((f"AIOASSETS_{name}", *fallbacks))

    def settings(self, *, bucket_given: bool, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings from environment variables, except for driver options."""
        texts = {name: self.text(*names) for name, names in _TEXTS.items()}
        of_modelkit = not bucket_given and not self.has("BUCKET") and texts["bucket"] is not None
        if of_modelkit and texts["prefix"] is None:
            texts["prefix"] = MODELKIT_PREFIX
        values = {name: self.parsed(name.upper(), parse) for name, parse in _PARSED.items() if name not in given}
        return {name: value for name, value in {**texts, **values}.items() if value is not None}

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise InvalidSetting(f"Invalid value AIOASSETS_{name}={text!r}: {error}.") from None

    def storage_options(self) -> dict[str, Any]:
        """Return the driver options from environment variables. For example, `AIOASSETS_S3_REGION` sets `s3.region`."""
        # Other variables, such as AIOASSETS_MAX_REQUESTS, become options of nonexistent providers, which are ignored.
        options: dict[str, Any] = {
            f"{provider.lower()}.{option.lower()}": value
            for key, value in self._environ.items()
            if key.startswith("AIOASSETS_") and value
            for provider, _, option in [key.removeprefix("AIOASSETS_").partition("_")]
            if option
        }
        if endpoint := self._first(_S3_ENDPOINTS):
            options.setdefault("s3.endpoint_url", endpoint)
        if emulator := self._environ.get("STORAGE_EMULATOR_HOST"):  # as in Google's clients
            options.setdefault("gcs.api_root", emulator)
        if kms_key := self._environ.get("AWS_KMS_KEY_ID"):  # as in modelkit
            options.setdefault("s3.sse", "aws:kms")
            options.setdefault("s3.sse_kms_key_id", kms_key)
        return options

    def azure_account(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Return the Azure account from the Azure tools' environment variables, unless the options specify an account.

        A connection string is complete in itself, so it isn't combined with other variables.
        """
        named = {name.removeprefix("azure.") for name in options}
        parts = {option: found for option, names in _AZURE_ACCOUNT.items() if (found := self._first(names))}
        whole = self._first(("AZURE_STORAGE_CONNECTION_STRING",))  # as in modelkit and the SDK
        if not named.isdisjoint(("connection_string", "account_url", "account_name")):
            return {}
        return {"azure.connection_string": whole} if whole else parts

    def _first(self, names: Iterable[str]) -> str | None:
        return next((found for name in names if (found := self._environ.get(name))), None)
