"""Contestants that push and fetch a new version of data of which one hundredth has changed."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.contestants import OURS, RUNNERS, Command, InProcess, Whole
from benchmarks.peers import AIOBOTOCORE, DVC
from benchmarks.runners.job import KEY, Job

FIRST: Final = "first"
"""The push of the first version. Then come `push` of the changed one, and its `fetch` to where the first one is."""
INSERT: Final = "insert"
"""The push of a file into which some bytes were inserted."""
CHANGE: Final = f"{shlex.quote(sys.executable)} -P {shlex.quote(str(RUNNERS / 'changes.py'))}"


def _shell(*steps: str) -> Command:
    return ("sh", "-c", " && ".join(steps))


@dataclass(frozen=True)
class ChangedAioAssets(Whole):
    """The command line of aioassets.

    Attributes:
        reuses: whether to use what the store and the cache have.
    """

    reuses: bool = True

    def preparing(self, job: Job, folder: Path) -> Command:
        """Copy the data, change it, or fetch the first version."""
        work = shlex.quote(str(folder / "work"))
        if job.action == FIRST:
            warm_up = shlex.join((OURS, "new", __file__, "warm-up", "--yes", *self._options(job, folder)))
            return _shell(f"cp -r {shlex.quote(job.source)} {work}", warm_up)
        if job.action in ("push", INSERT):
            return _shell(f"{CHANGE} {work} {job.action}")
        return (OURS, "fetch", f"{KEY}:0.0", *self._options(job, folder))

    def running(self, job: Job, folder: Path) -> Command:
        """Return the command line of a push or a fetch."""
        work = str(folder / "work")
        arguments = {
            FIRST: ("new", work, KEY, "--yes"),
            "push": ("update", work, KEY, "--yes", *(() if self.reuses else ("--no-base",))),
            "fetch": ("fetch", KEY, *(() if self.reuses else ("--force-download",))),
        }
        return (OURS, *arguments["push" if job.action == INSERT else job.action], *self._options(job, folder))

    def _options(self, job: Job, folder: Path) -> Command:
        return ("--bucket", job.bucket, "--assets-dir", str(folder / "assets"))


@dataclass(frozen=True)
class ChangedDvc(Whole):
    """`dvc add && dvc push`, and `dvc pull`, with 64 jobs."""

    def preparing(self, job: Job, folder: Path) -> Command:
        """Make a repository, change its data, or make another one that has the first version."""
        dvc = shlex.quote(str(DVC.file("bin/dvc")))
        first, second, old = (shlex.quote(str(folder / name)) for name in ("first", "second", "old.dvc"))
        if job.action == FIRST:
            return _shell(*_repository(dvc, first, job.bucket), f"cp -r {shlex.quote(job.source)} {KEY}")
        if job.action == "push":
            return _shell(f"cd {first}", f"cp {KEY}.dvc {old}", f"{CHANGE} {KEY}")
        pull = f"{dvc} pull -q -j 64"
        return _shell(
            *_repository(dvc, second, job.bucket), f"cp {old} {KEY}.dvc", pull, f"cp {first}/{KEY}.dvc {KEY}.dvc"
        )

    def running(self, job: Job, folder: Path) -> Command:
        """Return the command line of a push or a fetch."""
        dvc = shlex.quote(str(DVC.file("bin/dvc")))
        if job.action == "fetch":
            return _shell(f"cd {shlex.quote(str(folder / 'second'))}", f"{dvc} pull -q -j 64")
        return _shell(f"cd {shlex.quote(str(folder / 'first'))}", f"{dvc} add -q {KEY}", f"{dvc} push -q -j 64")


def _repository(dvc: str, folder: str, bucket: str) -> tuple[str, ...]:
    return (
        f"mkdir {folder}",
        f"cd {folder}",
        f"{dvc} init -q --no-scm",
        f"{dvc} config core.analytics false",
        f"{dvc} config core.check_update false",
        f"{dvc} config core.site_cache_dir {folder}/site",
        f"{dvc} config cache.type reflink,hardlink,copy",
        f"{dvc} remote add -q -d store {bucket}/dvc",
    )


CHANGED: Final = (ChangedAioAssets("aioassets"), ChangedDvc("dvc", peer=DVC))
EVERYTHING: Final = ChangedAioAssets("aioassets, everything", reuses=False)
COPYING: Final = (InProcess("aioassets", "changing"), InProcess("server copies", "copies", AIOBOTOCORE))
