"""Contestants, with the commands that they run."""

from __future__ import annotations

import shlex
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.peers import AIOBOTOCORE, AWSCLI, DVC, FAST_S3, MODELKIT, OBSTORE, S5CMD, Peer
from benchmarks.runners.job import KEY, Job

Command = tuple[str, ...]

OURS: Final = str(Path(sys.executable).with_name("aioassets"))
RUNNERS: Final = Path(__file__).with_name("runners")


class Contestant(ABC):
    """A tool or library that pushes and fetches."""

    name: str
    peer: Peer | None

    @property
    def python(self) -> str:
        """Return the interpreter that has its library."""
        return sys.executable if self.peer is None else str(self.peer.python)

    @property
    @abstractmethod
    def runner(self) -> tuple[str, str]:
        """Return the interpreter and the module that measure it."""

    def preparing(self, job: Job, folder: Path) -> Command | None:
        """Return a command to run before the measurement, if any."""
        return None

    @abstractmethod
    def told(self, job: Job, folder: Path) -> Job:
        """Return the job with the details that its runner needs."""


@dataclass(frozen=True)
class InProcess(Contestant):
    """A library, used by a module of `runners` in a process of its own.

    Attributes:
        module: that module.
        opening: whether to measure the opening of the client, too.
        apart: whether each folder is an asset of its own.
    """

    name: str
    module: str
    peer: Peer | None = None
    opening: bool = False
    apart: bool = False

    @property
    def runner(self) -> tuple[str, str]:
        """Return this interpreter and its module."""
        return self.python, self.module

    def told(self, job: Job, folder: Path) -> Job:
        """Return the job with its two options."""
        return replace(job, opening=self.opening, apart=self.apart)


@dataclass(frozen=True)
class Whole(Contestant):
    """A program, measured from its start to its end. This one has a constant command."""

    name: str
    command: Command = ()
    peer: Peer | None = None

    @property
    def runner(self) -> tuple[str, str]:
        """Return the interpreter and the module that measure a process."""
        return sys.executable, "process"

    def told(self, job: Job, folder: Path) -> Job:
        """Return the job with the command to run."""
        return replace(job, command=self.running(job, folder))

    def running(self, job: Job, folder: Path) -> Command:
        """Return the program with its arguments."""
        return self.command


class AioAssets(Whole):
    """The command line of aioassets."""

    def preparing(self, job: Job, folder: Path) -> Command | None:
        """Return a first push, because the manager probes a store once a week."""
        if job.action == "push":
            return (OURS, "new", __file__, "warm-up", "--yes", *self._options(job))
        return None

    def running(self, job: Job, folder: Path) -> Command:
        """Return the command line of a push or a fetch."""
        arguments = ("new", job.source, KEY, "--yes") if job.action == "push" else ("fetch", KEY)
        return (OURS, *arguments, *self._options(job))

    def _options(self, job: Job) -> Command:
        return ("--bucket", job.bucket, "--assets-dir", job.target)


class S5cmd(Whole):
    """s5cmd with its 256 workers, without the Python script that starts its program."""

    def running(self, job: Job, folder: Path) -> Command:
        """Return the command line of a push or a fetch."""
        program = str(S5CMD.file(S5CMD.program))
        whole = Path(job.source).is_dir()
        stored = f"{job.bucket}/{KEY}"
        if job.action == "push":
            transfer = (f"{job.source}/", f"{stored}/") if whole else (job.source, stored)
        else:
            transfer = (f"{stored}/*", f"{job.target}/") if whole else (stored, f"{job.target}/{KEY}")
        return (program, "--log", "error", "--numworkers", "256", "cp", *transfer)


class Aws(Whole):
    """The AWS command line with its default settings."""

    def running(self, job: Job, folder: Path) -> Command:
        """Return the command line of a push or a fetch."""
        ends = (job.source, f"{job.bucket}/{KEY}")
        recursive = ("--recursive",) if Path(job.source).is_dir() else ()
        source, target = ends if job.action == "push" else (ends[1], f"{job.target}/{KEY}")
        return (str(AWSCLI.file("bin/aws")), "s3", "cp", *recursive, "--only-show-errors", source, target)


class Dvc(Whole):
    """DVC with 64 jobs. Adding the data to its cache isn't measured. Its checkout is part of `dvc pull`."""

    def preparing(self, job: Job, folder: Path) -> Command | None:
        """Make a repository that tracks the data, or one that only has its description."""
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
        """Return the command line of a push or a fetch."""
        action = "push" if job.action == "push" else "pull"
        return (str(DVC.file("bin/dvc")), "--cd", str(folder / "repository"), action, "-q", "-j", "64")


class Modelkit(Whole):
    """modelkit's assets, which are transferred one after the other."""

    def running(self, job: Job, folder: Path) -> Command:
        """Return the command line of a push or a fetch."""
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
SMALL: Final = (*RUNNING, InProcess("fast-s3", "fast_s3_client", FAST_S3))
OPENING: Final = tuple(replace(each, opening=True) for each in RUNNING)
PROGRAMS: Final = (
    AioAssets("aioassets"),
    S5cmd("s5cmd", peer=S5CMD),
    Aws("aws s3 cp", peer=AWSCLI),
    Dvc("dvc", peer=DVC),
    Modelkit("modelkit", peer=MODELKIT),
)
