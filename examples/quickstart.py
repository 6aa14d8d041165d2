"""Quickstart: create, update, list and fetch a small asset in a local folder.

Run it with `python examples/quickstart.py [FOLDER]`. The folder must be new. Without it, the example
uses a temporary folder.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from aioassets import AssetExists, AssetsManager


def write_model(folder: Path, weights: bytes) -> None:
    """Write a directory tree that stands for a trained model."""
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "weights" / "w.bin").write_bytes(weights)
    (folder / "vocabulary.txt").write_text("red\ngreen\nblue\n")


async def tour(folder: Path) -> None:
    """Show the main operations of an assets manager."""
    model = folder / "model"
    async with AssetsManager(folder / "store", assets_dir=folder / "cache") as manager:
        print(f"The store is {manager.url}")

        write_model(model, weights=b"first")
        created = await manager.create_asset(model, "team/model", message="trained on Monday")
        print(f"created   {created.name}:{created.version} ({created.files} files, {created.size} bytes)")

        write_model(model, weights=b"second")
        updated = await manager.update_asset(model, "team/model")
        print(f"updated   {updated.name}:{updated.version}")

        write_model(model, weights=b"third, of another shape")
        bumped = await manager.update_asset(model, "team/model", bump_major=True)
        print(f"bumped    {bumped.name}:{bumped.version}")

        async for asset in manager.list_assets():
            print(f"listed    {asset.name} has {', '.join(asset.versions)}")

        latest = await manager.fetch_asset("team/model")
        print(f"fetched   {latest.name}:{latest.version} to {latest.path}")
        print(f"          w.bin holds {(latest.path / 'weights' / 'w.bin').read_bytes()!r}")

        part = await manager.fetch_asset("team/model:0[weights]")
        print(
            f"fetched   only {part.part} of {part.name}:{part.version}: {sorted(p.name for p in part.path.iterdir())}"
        )

        again = await manager.fetch_asset(f"team/model:{latest.version}")
        print(f"again     from the cache, without a request: {again.from_cache}")


def main() -> None:
    """Run the tour in the folder named on the command line, or in a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        try:
            asyncio.run(tour(folder))
        except AssetExists as error:
            sys.exit(f"{error} Or name a new folder.")


if __name__ == "__main__":
    main()
