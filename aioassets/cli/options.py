"""The options of the command line, and the values that commands get of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncclick as click
from asyncclick.shell_completion import CompletionItem

if TYPE_CHECKING:
    from aioassets.manager import AssetsManager


F = TypeVar("F", bound=Callable[..., Any])


class KeyValue(click.ParamType["tuple[str, str]"]):
    """`KEY=VALUE`, as a pair."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """See `click.ParamType.convert`."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not (key and equals):
            self.fail("It is not of the form KEY=VALUE.", param, ctx)  # without showing what may be a secret
        return key, text


class Duration(click.ParamType[timedelta]):
    """`90s`, `15m`, `24h`, `7d`, also one behind the other, as a `timedelta`."""

    name = "DURATION"
    _UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """See `click.ParamType.convert`."""
        if isinstance(value, timedelta):
            return value
        text = str(value).strip()
        if not re.fullmatch(r"(?:[0-9]{1,6}[smhd])+", text):
            self.fail(f"{value!r} is not a duration: write it like 0s, 15m, 24h or 7d.", param, ctx)
        parts = re.findall(r"([0-9]+)([smhd])", text)
        return sum((timedelta(**{self._UNITS[unit]: int(number)}) for number, unit in parts), timedelta())


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Which store, as far as the command line says; `None` is for the environment to say."""

    bucket: str | None = field(repr=False)
    assetsmanager_prefix: str | None
    storage_provider: str | None
    versioning: str | None
    storage_option: tuple[tuple[str, str], ...] = field(repr=False)
    assets_dir: str | None = None
    single_writer: bool | None = None

    def manager(self) -> AssetsManager:
        """A manager of that store."""
        from aioassets.manager import AssetsManager  # noqa: PLC0415 - what `--help` needn't wait for

        return AssetsManager(
            self.bucket,
            assetsmanager_prefix=self.assetsmanager_prefix,
            storage_provider=self.storage_provider,
            assets_dir=self.assets_dir,
            versioning=self.versioning,
            storage_options=dict(self.storage_option),
            single_writer=self.single_writer,
        )


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How to push."""

    message: str | None
    label: tuple[tuple[str, str], ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    yes: bool
    dry_run: bool
    as_json: bool

    def details(self) -> dict[str, Any]:
        """The keyword arguments that `plan_create` and `plan_update` have in common."""
        return {
            "message": self.message,
            "labels": dict(self.label),
            "include": self.include,
            "exclude": self.exclude,
        }


def _completion(*values: str, kind: str = "plain") -> Callable[..., list[CompletionItem[str]]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        return [CompletionItem(value, type=kind) for value in values if value.startswith(incomplete) or not value]

    return complete


_DIRECTORY = _completion("", kind="dir")

PATH = click.argument("path", shell_complete=_completion("", kind="file"))

STORE = (
    click.option(
        "--bucket",
        metavar="BUCKET",
        shell_complete=_DIRECTORY,
        help="Where assets are kept: a folder, file:///path or s3://name. [AIOASSETS_BUCKET]",
    ),
    click.option(
        "--assetsmanager-prefix",
        metavar="PREFIX",
        help="What keys in the bucket begin with (default: assets). [AIOASSETS_PREFIX]",
    ),
    click.option(
        "--storage-provider",
        metavar="PROVIDER",
        shell_complete=_completion("local", "s3", "gcs", "azure"),
        help="What a bare bucket name stands for: local, s3, gcs or azure. [AIOASSETS_STORAGE_PROVIDER]",
    ),
    click.option(
        "--versioning",
        metavar="SCHEME",
        shell_complete=_completion("major_minor", "simple_date"),
        help="How versions are numbered: major_minor (default) or simple_date. [AIOASSETS_VERSIONING]",
    ),
    click.option(
        "--storage-option",
        "-o",
        type=KeyValue(),
        multiple=True,
        help="An option of the store, such as endpoint_url=http://localhost:9000; may be repeated. "
        "[AIOASSETS_S3_ENDPOINT_URL and so on]",
    ),
)
ASSETS_DIR = click.option(
    "--assets-dir",
    metavar="DIR",
    shell_complete=_DIRECTORY,
    help="Where fetched assets are kept (default: the user's cache folder). [AIOASSETS_DIR]",
)
SINGLE_WRITER = click.option(
    "--single-writer",
    is_flag=True,
    default=None,
    help="Declare that nobody else pushes now, for a store without conditional writes. [AIOASSETS_SINGLE_WRITER]",
)
YES = click.option("--yes", "-y", is_flag=True, help="Don't ask.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and stop.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
PUSH = (
    click.option("--message", "-m", metavar="TEXT", help="Free text to keep with the version."),
    click.option("--label", type=KeyValue(), multiple=True, help="A label to keep with the version; may be repeated."),
    click.option(
        "--include", metavar="PATTERN", multiple=True, help="Push only what fits (as in .gitignore); may be repeated."
    ),
    click.option(
        "--exclude", metavar="PATTERN", multiple=True, help="Leave out what fits (as in .gitignore); may be repeated."
    ),
    YES,
    DRY_RUN,
    JSON,
)


def grouped(kind: type, parameter: str, *options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Give a command options, and hand their values to it as one value."""
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
