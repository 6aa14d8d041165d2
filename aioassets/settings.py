"""Settings from arguments and environment variables.

Arguments take precedence over the environment, and variables of aioassets over those of modelkit.
No other module reads `os.environ`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from aioassets.drivers import parse_boolean
from aioassets.errors import InvalidSetting
from aioassets.runtime.budget import MAX_BYTES, MAX_REQUESTS, MIN_REQUESTS

T = TypeVar("T")

DEFAULT_PREFIX: Final = "assets"
MODELKIT_PREFIX: Final = "modelkit-assets"

_S3_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
_AZURE_ACCOUNT: Final = {
    "azure.account_url": ("AZURE_STORAGE_ACCOUNT_URL", "AZURE_STORAGE_SERVICE_ENDPOINT"),
    "azure.account_name": ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"),
    "azure.account_key": ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
    "azure.sas_token": ("AZURE_STORAGE_SAS_TOKEN",),
}
"""Variables that the az command and other tools read, by option."""
_SECRET: Final = re.compile(
    r"(?:-o|--storage-option=)?[\w.]*"
    r"(?:secret_access_key|session_token|account_key|storage_key|sas_token|connection_string|client_secret"
    r"|authorization_token)=(.+)",
    re.IGNORECASE | re.DOTALL,
)
"""Option or variable, of aioassets or of another tool, whose whole value is a secret."""
_SECRET_PART: Final = re.compile(r"[=;&?](?:AccountKey|SharedAccessSignature|sig)=([^;&]+)", re.IGNORECASE)
"""Secret within a connection string or a signed URL."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings of a manager.

    Attributes:
        bucket: a URL, a path or a bare name; `None` if not set.
        prefix: the common prefix of all keys, without outer slashes.
        storage_provider: the provider of a bare bucket name; `None` if the bucket is a URL or path.
        assets_dir: the directory for fetched assets.
        versioning: the name of the versioning scheme.
        max_requests: maximum number of requests in flight.
        min_requests: minimum to which throttling reduces that number.
        max_bytes: maximum number of bytes in flight.
        connect_timeout: seconds to wait for a connection.
        read_timeout: seconds to wait for the next bytes of a response.
        cleanup_timeout: seconds that a cancelled or failed push may take to clean up.
        offline: whether to use cached assets only, without the network.
        single_writer: whether the user declares that only one process pushes at a time.
        record_user: whether manifests name the user who pushed.
        record_host: whether manifests name the machine that pushed.
        storage_options: options of the driver, by name.
    """

    bucket: str | None = field(repr=False)  # an unchecked URL may contain secrets, as may storage_options
    prefix: str
    storage_provider: str | None
    assets_dir: Path
    versioning: str
    max_requests: int
    min_requests: int
    max_bytes: int
    connect_timeout: float
    read_timeout: float
    cleanup_timeout: float
    offline: bool
    single_writer: bool
    record_user: bool
    record_host: bool
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def resolve(
        cls,
        *,
        bucket: str | os.PathLike[str] | None = None,
        prefix: str | None = None,
        storage_provider: str | None = None,
        assets_dir: str | os.PathLike[str] | None = None,
        versioning: str | None = None,
        max_requests: int | None = None,
        min_requests: int | None = None,
        max_bytes: int | None = None,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        cleanup_timeout: float | None = None,
        offline: bool | None = None,
        single_writer: bool | None = None,
        record_user: bool | None = None,
        record_host: bool | None = None,
        storage_options: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Settings:
        """Return the settings, with missing arguments taken from the environment or the defaults.

        Raises:
            InvalidSetting: if an argument or variable is invalid.
        """
        env = _Environment(os.environ if environ is None else environ)
        bucket_text = os.fspath(bucket) if bucket is not None else env.text("BUCKET", "MODELKIT_STORAGE_BUCKET")
        of_modelkit = bucket is None and not env.has("BUCKET") and bucket_text is not None
        provider = storage_provider or env.text("STORAGE_PROVIDER", "MODELKIT_STORAGE_PROVIDER")
        if prefix is None:
            prefix = env.text("PREFIX", "MODELKIT_STORAGE_PREFIX")
        if prefix is None:
            prefix = MODELKIT_PREFIX if of_modelkit else DEFAULT_PREFIX
        options = {**env.storage_options(), **(storage_options or {})}
        directory = os.fspath(assets_dir) if assets_dir is not None else env.text("DIR")
        most = _positive("max_requests", env.pick(max_requests, "MAX_REQUESTS", int, MAX_REQUESTS))
        fewest = _positive("min_requests", env.pick(min_requests, "MIN_REQUESTS", int, min(MIN_REQUESTS, most)))
        if fewest > most:
            raise InvalidSetting(f"min_requests ({fewest}) must not be greater than max_requests ({most}).")
        return cls(
            bucket=bucket_text or None,
            prefix=_checked_prefix(prefix),
            storage_provider=provider,
            assets_dir=Path(directory).expanduser() if directory else _default_assets_dir(),
            versioning=versioning or env.text("VERSIONING", "MODELKIT_ASSETS_VERSIONING_SYSTEM") or "major_minor",
            max_requests=most,
            min_requests=fewest,
            max_bytes=_positive("max_bytes", env.pick(max_bytes, "MAX_BYTES", int, MAX_BYTES)),
            connect_timeout=_positive("connect_timeout", env.pick(connect_timeout, "CONNECT_TIMEOUT", float, 10.0)),
            read_timeout=_positive("read_timeout", env.pick(read_timeout, "READ_TIMEOUT", float, 60.0)),
            cleanup_timeout=_positive("cleanup_timeout", env.pick(cleanup_timeout, "CLEANUP_TIMEOUT", float, 5.0)),
            offline=env.pick(offline, "OFFLINE", parse_boolean, False),
            single_writer=env.pick(single_writer, "SINGLE_WRITER", parse_boolean, False),
            record_user=env.pick(record_user, "RECORD_USER", parse_boolean, True),
            record_host=env.pick(record_host, "RECORD_HOST", parse_boolean, True),
            storage_options={**env.azure_account(options), **options},
        )


def debug_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether `AIOASSETS_DEBUG` asks for tracebacks."""
    return _Environment(os.environ if environ is None else environ).pick(None, "DEBUG", parse_boolean, False)


def secrets_in(args: Iterable[str], environ: Mapping[str, str] | None = None) -> set[str]:
    """Return all secrets in a command line and the environment, to redact them from output."""
    environ = os.environ if environ is None else environ
    texts = [*args, *(f"{name}={value}" for name, value in environ.items())]
    found = {match[1] for text in texts if (match := _SECRET.fullmatch(text))}
    return found | {unquote(part) for text in texts for part in _SECRET_PART.findall(text)}


class _Environment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def has(self, name: str) -> bool:
        return bool(self._environ.get(f"AIOASSETS_{name}"))

    def text(self, name: str, *fallbacks: str) -> str | None:
        """Return a variable of aioassets, or else the first set fallback. An empty variable counts as unset."""
        return self._first((f"AIOASSETS_{name}", *fallbacks))

    def pick(self, argument: T | None, name: str, parse: Callable[[str], T], default: T) -> T:
        if argument is not None:
            return argument
        text = self.text(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            raise InvalidSetting(f"Invalid value AIOASSETS_{name}={text!r}: {error}.") from None

    def storage_options(self) -> dict[str, Any]:
        """Return driver options from the environment: `AIOASSETS_S3_REGION` sets `s3.region`, and so on."""
        # Other variables, like AIOASSETS_MAX_REQUESTS, become options of unknown providers, which are ignored.
        options: dict[str, Any] = {
            f"{provider.lower()}.{option.lower()}": value
            for key, value in self._environ.items()
            if key.startswith("AIOASSETS_") and value
            for provider, _, option in [key.removeprefix("AIOASSETS_").partition("_")]
            if option
        }
        if endpoint := self._first(_S3_ENDPOINTS):
            options.setdefault("s3.endpoint_url", endpoint)
        if emulator := self._environ.get("STORAGE_EMULATOR_HOST"):  # the name that Google's clients use
            options.setdefault("gcs.api_root", emulator)
        if kms_key := self._environ.get("AWS_KMS_KEY_ID"):  # modelkit's name
            options.setdefault("s3.sse", "aws:kms")
            options.setdefault("s3.sse_kms_key_id", kms_key)
        return options

    def azure_account(self, options: Mapping[str, Any]) -> dict[str, str]:
        """Return options of an Azure account from other tools' variables, unless `options` name an account.

        A connection string is complete and isn't combined with other options.
        """
        given = {name.removeprefix("azure.") for name in options}
        parts = {option: found for option, names in _AZURE_ACCOUNT.items() if (found := self._first(names))}
        whole = self._first(("AZURE_STORAGE_CONNECTION_STRING",))
        if not given.isdisjoint(("connection_string", "account_url", "account_name")):
            return {}
        return {"azure.connection_string": whole} if whole else parts

    def _first(self, names: Iterable[str]) -> str | None:
        return next((found for name in names if (found := self._environ.get(name))), None)


def _positive(name: str, value: T) -> T:
    if not value > 0:  # type: ignore[operator]
        raise InvalidSetting(f"{name} must be greater than zero, not {value}.")
    return value


def _checked_prefix(prefix: str) -> str:
    prefix = prefix.strip("/")
    if prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise InvalidSetting(f"Invalid prefix {prefix!r}: it must not contain empty, '.' or '..' segments.")
    return prefix


def _default_assets_dir() -> Path:
    from platformdirs import user_cache_path  # noqa: PLC0415 - imported only if needed, to start fast

    return user_cache_path("aioassets", appauthor=False)
