"""Filling a staging folder: reusing cached files, making room, and downloading the rest."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aioassets.fetch.context import FetchContext
from aioassets.fetch.deltas import find_deltas
from aioassets.fetch.download import download
from aioassets.fetch.plan import DownloadPlan
from aioassets.fetch.pruning import enforce, pruning
from aioassets.fetch.reader import FileReader
from aioassets.fetch.remote import RemoteVersion
from aioassets.fetch.reporting import Reporter
from aioassets.fetch.reuse import Reuse
from aioassets.fetch.sinks import DiskSink
from aioassets.fetch.staging import Staging
from aioassets.model.deltas import Delta
from aioassets.model.files import FileEntry
from aioassets.progress import BytesTransferred, FileTransferred
from aioassets.runtime.disk import reason
from aioassets.runtime.threads import in_thread

logger = logging.getLogger(__name__)


class Filling:
    """The filling of one staging folder.

    Args:
        context: the context that all fetches share.
        staging: the staging folder, in which all folders exist.
        remote: the version in the store.
        report: the callback that receives events.
    """

    def __init__(self, context: FetchContext, staging: Staging, remote: RemoteVersion, report: Reporter) -> None:
        self._context = context
        self._staging = staging
        self._remote = remote
        self._report = report
        self._assembled: list[DiskSink] = []

    async def run(self, plan: DownloadPlan, *, may_reuse: bool) -> int | None:
        """Stage the files of a plan.

        Args:
            plan: the missing files.
            may_reuse: whether to reuse files of other cached versions.

        Returns:
            The total size in bytes of the files that were downloaded; `None` if the manifest doesn't record it.
        """
        if plan.nbytes is None:
            self._remote = await self._remote.with_sizes()
        await self._reserve(plan)
        with self._report.transfer(self._remote.name, self._remote.version, len(plan.files), plan.nbytes):
            deltas: Mapping[str, Delta] = {}
            if may_reuse:
                plan, deltas = await self._without_reused(plan)
            missing = plan.nbytes
            plan = await self._without_assembled(plan, deltas)
            await self._make_room(plan)
            await self._download(plan, deltas)
        return None if missing is None else missing - sum(sink.copied for sink in self._assembled)

    async def _without_reused(self, plan: DownloadPlan) -> tuple[DownloadPlan, Mapping[str, Delta]]:
        """Stage the files that other cached versions contain, and return the plan and the deltas of the others."""
        reuse = Reuse(self._staging, plan.files, self._report_reused)
        await reuse.run()
        if reuse.staged:
            plan = await in_thread(DownloadPlan.of, plan.files, reuse.staged)
        store = self._remote.store
        if store.driver.local_path(store.layout.content(self._remote.name, self._remote.version)) is not None:
            return plan, {}  # the system copies the objects, which takes no longer
        return plan, await find_deltas(self._remote, plan.files, reuse.bases)

    async def _without_assembled(self, plan: DownloadPlan, deltas: Mapping[str, Delta]) -> DownloadPlan:
        """If the limit could evict the base, stage the files with deltas before, and return the plan of the others."""
        if not deltas or self._context.limit is None or not await in_thread(self._staging.has_room, plan.nbytes or 0):
            return plan
        others = await in_thread(DownloadPlan.of, plan.files, deltas.keys())
        first = await in_thread(DownloadPlan.of, plan.files, set(others.files.paths))
        await self._download(first, deltas)
        return others

    def _report_reused(self, file: FileEntry) -> None:
        nbytes = file.size or 0
        self._report(BytesTransferred(self._remote.name, nbytes, reused=True))
        self._report(FileTransferred(self._remote.name, file.path, nbytes, reused=True))

    def _report_run(self, nbytes: int) -> None:
        self._report(BytesTransferred(self._remote.name, nbytes, reused=True))

    async def _download(self, plan: DownloadPlan, deltas: Mapping[str, Delta]) -> None:
        remote, root = self._remote, str(self._staging.payload)
        reader = FileReader(remote.store.driver, remote.name, self._report)

        def sink(file: FileEntry) -> DiskSink:
            path = f"{root}/{file.path}" if file.path else root
            if (delta := deltas.get(file.path)) is None:
                return DiskSink(path)
            self._assembled.append(DiskSink(path, delta, self._report_run))
            return self._assembled[-1]

        await download(reader, plan.files, remote.file, sink, at_once=remote.store.files_at_once)

    # Space

    async def _reserve(self, plan: DownloadPlan) -> None:
        """Note the size of all missing files, reused ones included, because each version counts in full."""
        if self._context.limit is not None:
            nbytes = await self._nbytes_of(plan)
            await self._enforcing(lambda: in_thread(self._staging.reserve, nbytes))

    async def _make_room(self, plan: DownloadPlan) -> None:
        """Evict other versions until the cache is within its limit, and check the free space for what is missing."""
        limit = self._context.limit
        if limit is not None:
            await self._enforcing(lambda: self._enforce(limit))
        await in_thread(self._staging.check_free_space, await self._nbytes_of(plan))

    async def _nbytes_of(self, plan: DownloadPlan) -> int:
        if plan.nbytes is not None:
            return plan.nbytes
        return await in_thread(lambda: sum(map(self._remote.size_of, plan.files)))

    async def _enforce(self, limit: int) -> None:
        async with pruning(self._context.assets_dir, self._context.locks, self._context.sleep):
            await in_thread(enforce, self._context.assets_dir, limit)

    async def _enforcing(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a step of enforcing the limit. If it fails, log why, because a limit never fails a fetch."""
        try:
            await work()
        except OSError as error:  # for example, the folder of another store isn't readable
            logger.warning("Cannot enforce the limit of the cache in %r: %s", str(error.filename), reason(error))
