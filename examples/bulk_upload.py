"""Bulk upload: push many assets in parallel, and continue when some of them fail.

Run it with `python examples/bulk_upload.py [BUCKET]`. The bucket is a folder or a URL such as
`s3://models`. Without it, the example uses a temporary folder.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from aioassets import AssetsManager, BulkUpdateError, PushResult

COUNT = 200


def write_tables(folder: Path) -> dict[str, Path]:
    """Write one lookup table per shop.

    Returns:
        The path of each table, by asset name.
    """
    tables = {f"shops/{number:04d}/prices": folder / f"{number:04d}.csv" for number in range(COUNT)}
    for path in tables.values():
        path.write_text("article,price\n" + "".join(f"{article},{article % 97}\n" for article in range(500)))
    return tables


async def push_all(bucket: str, assets: dict[str, Path]) -> dict[str, PushResult]:
    """Push a new version of each asset. Create the assets that don't exist yet."""
    async with AssetsManager(bucket) as manager:
        try:
            return await manager.update_assets(assets, create_missing=True)
        except BulkUpdateError as error:
            for name, reason in error.failed.items():
                print(f"failed    {name}: {reason}")
            return error.published


def report(results: dict[str, PushResult], seconds: float) -> None:
    """Print a summary of the published versions."""
    size = sum(result.size for result in results.values())
    versions = sorted({result.version for result in results.values()})
    print(f"pushed    {len(results)} assets, {size / 1e6:.1f} MB in {seconds:.1f} s, versions {', '.join(versions)}")


def run(bucket: str, folder: Path) -> None:
    """Push all tables, then again after deleting one of them."""
    tables = write_tables(folder)
    report(*timed(bucket, tables))
    next(iter(tables.values())).unlink()
    report(*timed(bucket, tables))


def timed(bucket: str, assets: dict[str, Path]) -> tuple[dict[str, PushResult], float]:
    """Push all assets, and return the results and the seconds taken."""
    started = time.monotonic()
    return asyncio.run(push_all(bucket, assets)), time.monotonic() - started


def main() -> None:
    """Push to the bucket named on the command line, or to a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = folder / "tables"
        source.mkdir()
        run(sys.argv[1] if len(sys.argv) > 1 else str(folder / "store"), source)


if __name__ == "__main__":
    main()
