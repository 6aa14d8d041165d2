"""A driver for `share://team`: the folder `team` below the place where a network share is mounted."""

from __future__ import annotations

from pathlib import Path

from aioassets import Dispatcher, LocalDriver


class ShareDriver(LocalDriver):
    """A folder of a share.

    Args:
        bucket: what follows `share://`.
        dispatcher: the budget and retries to use; given by aioassets.
        mount: where the share is mounted; `-o mount=…` or `AIOASSETS_SHARE_MOUNT`.
    """

    def __init__(self, bucket: str, *, dispatcher: Dispatcher | None = None, mount: str = "/mnt/share") -> None:
        super().__init__(Path(mount) / bucket, dispatcher=dispatcher)
        self.url = f"share://{bucket}"
        self.identity = f"{self.url}@{mount}"  # two mounts are two stores
