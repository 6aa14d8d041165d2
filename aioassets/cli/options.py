"""Options shared by commands, and the values parsed from them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import asyncclick as click
from asyncclick.shell_completion import CompletionItem

if TYPE_CHECKING:
    from aioassets.manager import AssetsManager
    from aioassets.model.names import AssetSpec
    from aioassets.settings import Settings


F = TypeVar("F", bound=Callable[..., Any])
Work = Callable[[], Awaitable[int | None]]
"""A coroutine function that runs a command and returns its exit code. `None` means success."""


class DefinitionOrder(click.Group):
    """A command group that lists its commands in the order in which they are defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order in which the commands are defined."""
        return list(self.commands)


class KeyValue(click.ParamType["tuple[str, str]"]):
    """A parameter type for `KEY=VALUE`, which is converted to a pair."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Convert a value from the command line."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not (key and equals):
            self.fail("The format is KEY=VALUE.", param, ctx)  # the value isn't shown because it may be a secret
        return key, text


class Duration(click.ParamType[timedelta]):
    """A parameter type for durations such as `90s`, `2w` or `1d12h`, which are converted to `timedelta`."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Convert a value from the command line."""
        from aioassets.errors import UsageError  # noqa: PLC0415 - not needed for `--help`
        from aioassets.model.durations import parse_duration  # noqa: PLC0415 - as above

        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Options that select a store. `None` means to use the environment variable or the default."""

    bucket: str | None = field(repr=False)
    assetsmanager_prefix: str | None
    storage_provider: str | None
    versioning: str | None
    storage_option: tuple[tuple[str, str], ...] = field(repr=False)
    retry_for: timedelta | None = None
    assets_dir: str | None = None
    single_writer: bool | None = None

    def manager(self) -> AssetsManager:
        """Return a manager for the store."""
        from aioassets.manager import AssetsManager  # noqa: PLC0415 - slow to import, and not needed for `--help`

        return AssetsManager(settings=self.settings())

    def settings(self) -> Settings:
        """Return the settings of the manager."""
        from aioassets.settings import Settings  # noqa: PLC0415 - as above

        return Settings.resolve(
            bucket=self.bucket,
            prefix=self.assetsmanager_prefix,
            storage_provider=self.storage_provider,
            assets_dir=self.assets_dir,
            versioning=self.versioning,
            storage_options=dict(self.storage_option),
            retry_for=None if self.retry_for is None else self.retry_for.total_seconds(),
            single_writer=self.single_writer,
        )


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Options for a push."""

    message: str | None
    label: tuple[tuple[str, str], ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    allow_empty: bool
    base: str | None
    yes: bool
    dry_run: bool
    as_json: bool
    no_base: bool = False

    def __post_init__(self) -> None:
        if self.base is not None and self.no_base:
            raise click.UsageError("Give either --base or --no-base, not both.", click.get_current_context())

    def details(self) -> dict[str, Any]:
        """Return the keyword arguments common to `plan_create` and `plan_update`."""
        return {
            "message": self.message,
            "labels": dict(self.label),
            "include": self.include,
            "exclude": self.exclude,
            "allow_empty": self.allow_empty,
            **({"base": self.base} if self.base is not None or self.no_base else {}),
        }


@dataclass(frozen=True, slots=True)
class WatchActions:
    """Options that say what to do with each version. `None` means to do nothing."""

    command: str | None
    to: str | None
    link: bool
    discard_changes: bool


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """Options for the target of a copy. `None` means the same as in the source."""

    to: str | None = field(repr=False)
    to_prefix: str | None
    name: str | None
    renumber: bool
    alias: str | None

    def manager(self, source: Settings) -> AssetsManager:
        """Return a manager for the target.

        Options of the source's driver apply only if the target has the same provider.
        """
        from aioassets.drivers import Location  # noqa: PLC0415 - slow to import, and not needed for `--help`
        from aioassets.manager import AssetsManager  # noqa: PLC0415 - as above

        bucket, options = source.bucket, source.storage_options
        if self.to is not None:
            bucket, location = self.to, Location.parse(self.to, source.storage_provider)
            if source.location is None or source.location.provider != location.provider:
                options = {name: value for name, value in options.items() if "." in name}
        prefix = source.prefix if self.to_prefix is None else self.to_prefix
        return AssetsManager(settings=replace(source, bucket=bucket, prefix=prefix, storage_options=options))

    def details(self) -> dict[str, Any]:
        """Return the keyword arguments of `copy_version`."""
        return {"name": self.name, "renumber": self.renumber, "alias": self.alias}


def _completion(*values: str, kind: str = "plain") -> Callable[..., list[CompletionItem[str]]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        return [CompletionItem(value, type=kind) for value in values if value.startswith(incomplete) or not value]

    return complete


_DIRECTORY = _completion("", kind="dir")

FILES = _completion("", kind="file")
PATH = click.argument("path", shell_complete=FILES)

STORE = (
    click.option(
        "--bucket",
        metavar="BUCKET",
        shell_complete=_DIRECTORY,
        help="Bucket or folder that holds the assets: ./path, file:///path or s3://name. [AIOASSETS_BUCKET]",
    ),
    click.option(
        "--assetsmanager-prefix",
        metavar="PREFIX",
        help="Prefix of all keys in the bucket (default: assets). [AIOASSETS_PREFIX]",
    ),
    click.option(
        "--storage-provider",
        metavar="PROVIDER",
        shell_complete=_completion("local", "s3", "gcs", "azure"),
        help="Provider to use for a bare bucket name: local, s3, gcs or azure. [AIOASSETS_STORAGE_PROVIDER]",
    ),
    click.option(
        "--versioning",
        metavar="SCHEME",
        shell_complete=_completion("major_minor", "simple_date"),
        help="Versioning scheme: major_minor (default) or simple_date. [AIOASSETS_VERSIONING]",
    ),
    click.option(
        "--storage-option",
        "-o",
        type=KeyValue(),
        multiple=True,
        help="Option for the store, such as endpoint_url=http://localhost:9000. May be repeated. "
        "[AIOASSETS_S3_ENDPOINT_URL etc.]",
    ),
    click.option(
        "--retry-for",
        type=Duration(),
        help="How long to keep retrying a failed request (default: 60s). [AIOASSETS_RETRY_FOR, in seconds]",
    ),
)
ASSETS_DIR = click.option(
    "--assets-dir",
    metavar="DIR",
    shell_complete=_DIRECTORY,
    help="Directory for fetched assets (default: the user's cache directory). [AIOASSETS_DIR]",
)
SINGLE_WRITER = click.option(
    "--single-writer",
    is_flag=True,
    default=None,
    help="Declare that no other push is running, for a store without conditional writes. [AIOASSETS_SINGLE_WRITER]",
)
YES = click.option("--yes", "-y", is_flag=True, help="Don't ask for confirmation.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, without changing anything.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
PUSH = (
    click.option("--message", "-m", metavar="TEXT", help="Message to record with the version."),
    click.option("--label", type=KeyValue(), multiple=True, help="Label to record with the version. May be repeated."),
    click.option(
        "--include",
        metavar="PATTERN",
        multiple=True,
        help="Push only matching files (.gitignore syntax). May be repeated.",
    ),
    click.option(
        "--exclude", metavar="PATTERN", multiple=True, help="Skip matching files (.gitignore syntax). May be repeated."
    ),
    click.option("--allow-empty", is_flag=True, help="Push even if there are no files."),
    click.option(
        "--base",
        metavar="SPEC",
        help="Version whose files the store copies, where equal, instead of receiving them (default: the version that "
        "the push follows).",
    ),
    YES,
    DRY_RUN,
    JSON,
)


def on_exact_version(
    text: str, store: StoreOptions, run: Callable[[str, str], Awaitable[int | None]], *, yanked: bool = False
) -> Work:
    """Return a command that runs on `NAME:VERSION`. If the version isn't exact, the command names one that exists.

    A decimal number is a partial version in the schemes that a command can use.

    Args:
        text: the argument of the command.
        store: the store to look for a version in.
        run: a coroutine function that takes the name and the version.
        yanked: whether the command is about yanked versions.
    """
    from aioassets.model.names import AssetSpec  # noqa: PLC0415 - not needed for `--help`

    parsed = AssetSpec.parse(text)
    version = parsed.version or ""
    if version and not version.isdecimal() and parsed.part is None:
        return functools.partial(run, parsed.name, version)
    from aioassets.cli import exactness  # noqa: PLC0415 - only needed for errors

    return functools.partial(exactness.refuse, parsed, store, yanked=yanked)


def parse_plain_name(text: str) -> str:
    """Parse `NAME`, which must have neither a version nor an alias nor a part."""
    from aioassets.model.names import AssetSpec  # noqa: PLC0415 - not needed for `--help`

    if not {":", "@", "["}.isdisjoint(text):
        parsed = AssetSpec.parse(text)
        raise click.UsageError(
            f"The command is about the whole asset: write {parsed.name}, without {_addition(parsed)}, "
            f"instead of {text}.",
            click.get_current_context(),
        )
    return text


def _addition(spec: AssetSpec) -> str:
    return "a version" if spec.version is not None else "an alias" if spec.alias is not None else "a part"


def grouped(kind: type, parameter: str, *options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that adds options to a command and passes it their values as a single `kind` object."""
    names = [each.name for each in fields(kind)]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapper(**values: Any) -> Any:
            given = {name: values.pop(name) for name in names if name in values}
            return command(**values, **{parameter: kind(**given)})

        for option in reversed(options):
            option(wrapper)
        return wrapper  # type: ignore[return-value]

    return decorate
