"""Implementation of the command that watches a spec."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Mapping
from typing import Final

import anyio
from anyio.abc import Process

from aioassets.cli.commands import fetch_json, report_fetched
from aioassets.cli.options import StoreOptions, WatchActions
from aioassets.cli.output import echo_err, echo_json_line, echo_path, unwritten
from aioassets.cli.process import DONE, FAILED, report_error
from aioassets.fetch.fetched import FetchedAsset

PATIENCE: Final = 5.0
"""Number of seconds between the signals SIGTERM and SIGKILL to a running command when the watch ends."""
SHELL: Final = "/bin/sh"
STDERR: Final = 2
"""File descriptor of standard error. Standard output is for results."""


async def watch(
    spec: str,
    store: StoreOptions,
    actions: WatchActions,
    *,
    interval: float,
    jitter: float,
    wait: bool,
    once: bool,
    as_json: bool,
) -> int:
    """Fetch each version that a spec refers to, print its path, and run a command."""
    previous = ""
    async with store.manager() as manager:
        versions = manager.watch(
            spec,
            to=actions.to,
            link=actions.link,
            discard_changes=actions.discard_changes,
            interval=interval,
            jitter=jitter,
            wait=wait,
            on_error=report_error,
        )
        async with contextlib.aclosing(versions):
            async for fetched in versions:
                report_fetched(fetched)
                if as_json:
                    echo_json_line(fetch_json(fetched))
                else:
                    echo_path(fetched.path)
                is_run = actions.command is None or await _is_run(actions.command, _variables(fetched, previous))
                if once:
                    return DONE if is_run else FAILED
                if isinstance(unwritten.error, BrokenPipeError):
                    return DONE  # the reader of the pipe has ended
                previous = fetched.version
    return DONE


def _variables(fetched: FetchedAsset, previous: str) -> Mapping[str, str]:
    return {
        "ASSET_PATH": str(fetched.path),
        "ASSET_NAME": fetched.name,
        "ASSET_VERSION": fetched.version,
        "ASSET_PREVIOUS": previous,
    }


async def _is_run(command: str, variables: Mapping[str, str]) -> bool:
    """Run a shell command, and return whether it succeeded. What it prints goes to standard error."""
    assignments = (f"{name}={value}" for name, value in variables.items())
    arguments = ["/usr/bin/env", *assignments, SHELL, "-c", command]
    try:
        process = await anyio.open_process(arguments, stdin=subprocess.DEVNULL, stdout=STDERR, stderr=STDERR)
    except OSError as error:
        echo_err(f"Error: Cannot run {SHELL!r}: {error.strerror}.")
        return False
    try:
        code = await process.wait()
    except BaseException:
        await _end(process)
        raise
    if code < 0:
        echo_err(f"Error: The command was ended by {signal.Signals(-code).name}: {command}")
    elif code:
        echo_err(f"Error: The command failed with exit code {code}: {command}")
    return code == 0


async def _end(process: Process) -> None:
    """End a running command: by SIGTERM, and if it doesn't end in time, by SIGKILL."""
    with anyio.CancelScope(shield=True), contextlib.suppress(ProcessLookupError):
        process.terminate()
        with anyio.move_on_after(PATIENCE):
            await process.wait()
            return
        process.kill()
        await process.wait()
