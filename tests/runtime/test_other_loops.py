"""A manager under another event loop library."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from aioassets import AssetsManager, ManagerStateError


def test_trio_is_refused_by_one_clear_error(tmp_path: Path) -> None:
    async def main() -> None:
        manager = AssetsManager(tmp_path / "store", assets_dir=tmp_path / "assets")
        with pytest.raises(ManagerStateError, match="asyncio"):
            await manager.list_versions("model")
        with pytest.raises(ManagerStateError, match="asyncio"):
            async with manager:
                pass

    trio.run(main)
