"""Tables of planned pushes, leftovers and assets."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from aioassets.cli.descriptions import LIST_TITLES, list_row
from aioassets.cli.escaping import escaped
from aioassets.cli.output import echo_listed, is_terminal
from aioassets.cli.units import human_bytes, human_duration, human_files
from aioassets.model.withdrawals import withdrawn_text

if TYPE_CHECKING:
    from aioassets.manager import AssetVersions
    from aioassets.model.leftovers import CleaningPlan, Leftover
    from aioassets.push.copy import CopyResult
    from aioassets.push.plan import PushPlan

NARROWEST: Final = 12
"""Width in characters to which a column of a table may shrink. A time then takes two lines."""
GAP: Final = 2
"""Number of spaces between the columns of a table."""
VERSIONS_SHOWN: Final = 6
"""Maximum number of versions to show for each major version."""


def forecast_lines(plan: PushPlan, source: str, store: str) -> list[str]:
    """Return the plan of a push as aligned lines."""
    return [
        f"Asset     {plan.name}",
        f"Store     {store}" + (" (a new folder)" if plan.new_store else ""),
        *aligned("Existing", _existing_versions(plan.versions)),
        f"Version   {plan.version} (expected)",
        f"Upload    {_upload_text(plan, source)}",
        *([f"Base      {plan.base}"] if plan.copied else []),
    ]


def _upload_text(plan: PushPlan, source: str) -> str:
    """Return the size of the upload, and how much the store copies instead."""
    if plan.streams:  # only the command line's own, which is the only file
        return f"{plan.files:,} file of unknown size, from {source}"
    if not plan.copied:
        return f"{human_files(plan.files, plan.size)}, from {source}"
    total = f"{human_bytes(plan.size)} in {plan.files:,} file{'' if plan.files == 1 else 's'}"
    return f"{human_bytes(plan.uploaded)} of {total}, from {source}; {human_bytes(plan.copied)} copied by the store"


def copy_lines(forecast: CopyResult, store: str, target: str) -> list[str]:
    """Return the expected result of a copy as aligned lines."""
    alias = [f"Alias     {forecast.name}@{forecast.alias}"] if forecast.alias is not None else []
    return [
        f"Asset     {forecast.source}, from {store}",
        f"Target    {target}",
        f"Version   {forecast.name}:{forecast.version}" + (" (there already)" if forecast.unchanged else " (expected)"),
        *([] if forecast.unchanged else [f"Copy      {human_files(forecast.files, forecast.size)}"]),
        *alias,
    ]


def leftover_lines(plan: CleaningPlan) -> Iterator[str]:
    """Yield a line for each leftover, with removable leftovers first."""
    for title, removable in (("Remove", True), ("Keep", False)):
        rows = [leftover_text(leftover) for leftover in plan.leftovers if leftover.removable is removable]
        yield from aligned(title, rows) if rows else ()
    if not plan.leftovers:
        yield "No leftovers found."
    elif not plan.removable:
        yield "None of these can be removed at the moment."


def leftover_label(leftover: Leftover) -> str:
    """Return the name and version of a leftover if it is a version in the store, otherwise its location."""
    return f"{leftover.name}:{leftover.version}" if leftover.version and not leftover.is_cached else leftover.where


def leftover_text(leftover: Leftover) -> str:
    """Return a description of a leftover: its name or location, kind, holder, age, files and advice."""
    what = leftover.kind.value.replace("_", " ")
    details = [
        f"by {leftover.holder}" if leftover.holder else "",
        f"{human_duration(leftover.age)} old" if leftover.age is not None else "",
        human_files(leftover.files, leftover.size) if leftover.files else "",
        f"{leftover.uploads} open upload{'' if leftover.uploads == 1 else 's'}" if leftover.uploads else "",
    ]
    text = ", ".join([what, *filter(None, details)])
    advice = leftover.advice if leftover.error is None else ""  # errors are printed as such
    return f"{leftover_label(leftover)}: {text}" + (f" ({advice})" if advice else "")


def aligned(title: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield one line per text. The title is before the first one."""
    for heading, text in itertools.zip_longest([title], texts, fillvalue=""):
        yield f"{heading:<10}{text}"


def _existing_versions(versions: Sequence[str]) -> list[str]:
    """Return lines that list the existing versions, latest first, with one line for each major version."""
    if not versions:
        return ["none"]
    if not all("." in version for version in versions):
        return [_version_list(versions)]
    return [
        f"major {major}: {_version_list(list(group))}"
        for major, group in itertools.groupby(versions, lambda version: version.partition(".")[0])
    ]


def _version_list(versions: Sequence[str]) -> str:
    rest = len(versions) - VERSIONS_SHOWN
    return ", ".join(versions[:VERSIONS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def print_assets(assets: Iterable[AssetVersions], *, long_format: bool) -> None:
    """Print assets with their versions, or in the long format, with details of the described version."""
    for_people = is_terminal(sys.stdout)
    if long_format:
        print_rows(LIST_TITLES, (list_row(asset, for_people=for_people) for asset in assets))
        return
    separator = ", " if for_people else ","
    print_rows(("Asset", "Versions"), ([asset.name, separator.join(asset.versions)] for asset in assets))


def no_versions_text(name: str, yanked: Sequence[str]) -> str:
    """Return a note about an asset whose versions are all yanked or deleted."""
    return f"{name} has no listed versions: {withdrawn_text(yanked)}"


def print_rows(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as a table on a terminal, otherwise as tab-separated lines without titles."""
    if is_terminal(sys.stdout):
        print_table(titles, rows)
        return
    for row in rows:
        echo_listed(*row)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> None:
    """Print rows as a table on a terminal. If the terminal is too narrow, print one line per field instead.

    Args:
        titles: the titles of the columns.
        rows: the rows.
        right: the titles of the columns to align at the right.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - slow to import, and only needed on a terminal
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    cells = [list(map(escaped, row)) for row in rows]
    needed = [min(NARROWEST, max(map(cell_len, column))) for column in zip(titles, *cells, strict=True)]
    console = Console(markup=False, highlight=False, emoji=False)
    if sum(needed) + GAP * (len(titles) - 1) > console.width:
        _print_fields(titles, cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for title, width in zip(titles, needed, strict=True):
        table.add_column(title, overflow="fold", min_width=width, justify="right" if title in right else "left")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _print_fields(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the first field of each row, and the others below it with their titles."""
    for number, (first, *rest) in enumerate(rows):
        if number:
            echo_listed()
        echo_listed(first)
        for title, text in zip(titles[1:], rest, strict=True):
            if text:
                echo_listed(f"  {title}: {text}" if title else f"  {text}")
