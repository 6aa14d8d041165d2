"""Who takes part, and by which command each does its job."""

from __future__ import annotations

import shlex
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.peers import AIOBOTOCORE, AWSCLI, DVC, MODELKIT, OBSTORE, S5CMD, Peer
from benchmarks.runners.job import KEY, Job

Command = tuple[str, ...]

OURS: Final = str(Path(sys.executable).with_name("aioassets"))
RUNNERS: Final = Path(__file__).with_name("runners")


class Contestant(ABC):
    """Someone who can do a job."""

    name: str
    peer: Peer | None

    @property
    def python(self) -> str:
        """The interpreter that has its library."""
        return sys.executable if self.peer is None else str(self.peer.python)

    @property
    @abstractmethod
    def runner(self) -> tuple[str, str]:
        """The interpreter and the module that measure it."""

    def preparing(self, job: Job, folder: Path) -> Command | None:
        """Return the action that must run before this one, and isn't measured."""
        return None

    @abstractmethod
    def told(self, job: Job, folder: Path) -> Job:
        """The job as its runner has to know it."""


@dataclass(frozen=True)
class InProcess(Contestant):
    """A library, used by a module of `runners` in a process that does nothing else.

    Attributes:
        module: that module.
        opening: whether opening the client is measured.
        apart: whether each folder is an asset of its own.
    """

    name: str
    module: str
    peer: Peer | None = None
    opening: bool = False
    apart: bool = False

    @property
    def runner(self) -> tuple[str, str]:
        """See `Contestant.runner`."""
        return self.python, self.module

    def told(self, job: Job, folder: Path) -> Job:
        """See `Contestant.told`."""
        return replace(job, opening=self.opening, apart=self.apart)


@dataclass(frozen=True)
class Whole(Contestant):
    """A program, from its start to its end. This one always does the same."""

    name: str
    command: Command = ()
    peer: Peer | None = None

    @property
    def runner(self) -> tuple[str, str]:
        """See `Contestant.runner`."""
        return sys.executable, "process"

    def told(self, job: Job, folder: Path) -> Job:
        """See `Contestant.told`."""
        return replace(job, command=self.running(job, folder))

    def running(self, job: Job, folder: Path) -> Command:
        """The program with its arguments."""
        return self.command


class AioAssets(Whole):
    """The command line of aioassets."""

    def preparing(self, job: Job, folder: Path) -> Command | None:
        """Before a push, a first one: a store is tried out once a week."""
        if job.action == "push":
            return (OURS, "new", __file__, "warm-up", "--yes", *self._options(job))
        return None

    def running(self, job: Job, folder: Path) -> Command:
        """See `Whole.running`."""
        arguments = ("new", job.source, KEY, "--yes") if job.action == "push" else ("fetch", KEY)
        return (OURS, *arguments, *self._options(job))

    def _options(self, job: Job) -> Command:
        return ("--bucket", job.bucket, "--assets-dir", job.target)


class S5cmd(Whole):
    """s5cmd, with its 256 workers; its program, without the script of Python that starts it."""

    def running(self, job: Job, folder: Path) -> Command:
        """See `Whole.running`."""
        program = str(S5CMD.file(S5CMD.program))
        whole = Path(job.source).is_dir()
        stored = f"{job.bucket}/{KEY}"
        if job.action == "push":
            transfer = (f"{job.source}/", f"{stored}/") if whole else (job.source, stored)
        else:
            transfer = (f"{stored}/*", f"{job.target}/") if whole else (stored, f"{job.target}/{KEY}")
        return (program, "--log", "error", "--numworkers", "256", "cp", *transfer)


class Aws(Whole):
    """The AWS command line, as it is set by default."""

    def running(self, job: Job, folder: Path) -> Command:
        """See `Whole.running`."""
        ends = (job.source, f"{job.bucket}/{KEY}")
        recursive = ("--recursive",) if Path(job.source).is_dir() else ()
        source, target = ends if job.action == "push" else (ends[1], f"{job.target}/{KEY}")
        return (str(AWSCLI.file("bin/aws")), "s3", "cp", *recursive, "--only-show-errors", source, target)


class Dvc(Whole):
    """DVC with 64 jobs. Adding the data to its cache isn't measured; checking it out is part of `dvc pull`."""

    def preparing(self, job: Job, folder: Path) -> Command | None:
        """Make a repository that tracks the data, or one that only knows of it."""
        repository = shlex.quote(str(folder / "repository"))
        dvc = shlex.quote(str(DVC.file("bin/dvc")))
        if job.action == "fetch":
            return ("sh", "-c", f"cd {repository} && rm -rf {KEY} .dvc/cache .dvc/tmp site")
        steps = (
            f"mkdir {repository}",
            f"cd {repository}",
            f"cp -r {shlex.quote(job.source)} {KEY}",
            f"{dvc} init -q --no-scm",
            f"{dvc} config core.analytics false",
            f"{dvc} config core.check_update false",
            f"{dvc} config core.site_cache_dir {repository}/site",
            f"{dvc} remote add -q -d store {job.bucket}/dvc",
            f"{dvc} add -q {KEY}",
        )
        return ("sh", "-c", " && ".join(steps))

    def running(self, job: Job, folder: Path) -> Command:
        """See `Whole.running`."""
        action = "push" if job.action == "push" else "pull"
        return (str(DVC.file("bin/dvc")), "--cd", str(folder / "repository"), action, "-q", "-j", "64")


class Modelkit(Whole):
    """modelkit's assets, which go one after the other."""

    def running(self, job: Job, folder: Path) -> Command:
        """See `Whole.running`."""
        client = str(RUNNERS / "modelkit_client.py")
        settings = (
            "MODELKIT_STORAGE_PROVIDER=s3",
            f"MODELKIT_STORAGE_BUCKET={job.bucket.removeprefix('s3://')}",
            f"MODELKIT_ASSETS_DIR={folder}",
        )
        return ("env", *settings, str(MODELKIT.python), client, job.action, job.source)


RUNNING: Final = (
    InProcess("aioassets", "aioassets_client"),
    InProcess("obstore", "obstore_client", OBSTORE),
    InProcess("aiobotocore", "aiobotocore_client", AIOBOTOCORE),
)
OPENING: Final = tuple(replace(each, opening=True) for each in RUNNING)
PROGRAMS: Final = (
    AioAssets("aioassets"),
    S5cmd("s5cmd", peer=S5CMD),
    Aws("aws s3 cp", peer=AWSCLI),
    Dvc("dvc", peer=DVC),
    Modelkit("modelkit", peer=MODELKIT),
)
