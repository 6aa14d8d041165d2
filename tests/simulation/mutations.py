"""Mutations of the protocol, as patches. The simulation must catch each of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simulation.schedule import Style


@dataclass(frozen=True, slots=True)
class Patch:
    """Change of one module.

    Attributes:
        module: its path in the package.
        old: the text to replace, which occurs once.
        new: its replacement.
    """

    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """Mistake in the protocol.

    Attributes:
        name: its description.
        patches: the changes that introduce it.
        within: number of schedules in which it must be caught.
        style: the family of these schedules.
    """

    name: str
    patches: tuple[Patch, ...]
    within: int
    style: Style = Style.MIXED


class MutationError(Exception):
    """Mutation that no longer fits the code and must be adapted."""


MUTATIONS: Final = (
    Mutation(
        "unconditional swap",
        (
            Patch(
                "push/claim.py",
                "self.revision = await write(key, content, expected=self.revision, effects=effects)",
                "self.revision = await write(key, content, expected=Expect.ANYTHING, effects=effects)",
            ),
        ),
        within=500,
    ),
    Mutation(
        "unconditional listing",
        (
            Patch(
                "store/documents.py",
                "key, index.to_json(), expected=state.revision)",
                "key, index.to_json(), expected=Expect.ANYTHING)",
            ),
        ),
        within=500,
    ),
    Mutation(
        "claim that replaces others",
        (
            Patch(
                "push/claim.py",
                "revision = await store.driver.write(key, claim.to_json(), expected=Expect.ABSENT, effects=effects)",
                "revision = await store.driver.write(key, claim.to_json(), expected=Expect.ANYTHING, effects=effects)",
            ),
        ),
        within=500,
    ),
    Mutation(
        "cleaning without seizing",
        (
            Patch(
                "cleanup/remover.py",
                "if not over or not await self._seize(name, version, meta.revision):",
                "if not over:",
            ),
        ),
        within=500,
    ),
    Mutation(
        "release despite doubt",
        (
            Patch(
                "push/publish.py",
                "if not (self._effects.uncertain or held.resumed):",
                "if True:",
            ),
        ),
        within=2000,
    ),
    Mutation(
        "deletion under a claim that an outage leaves",
        (
            Patch(
                "push/publish.py",
                "                _leave(held)\n            elif not await",
                "                created = map(partial(self._key, held.version), self._ledger.created())\n"
                "                await self._store.driver.delete(created)\n"
                "            elif not await",
            ),
        ),
        within=2000,
    ),
    Mutation(
        "release of a number that an outage leaves",
        (
            Patch(
                "push/publish.py",
                "                _leave(held)\n            elif not await",
                "                await held.release()\n            elif not await",
            ),
        ),
        within=2000,
    ),
    Mutation(
        "deletion after a lost claim",
        (
            Patch(
                "push/publish.py",
                "        await held.abandon()\n        if ledger is None:",
                "        with contextlib.suppress(ClaimLost):\n"
                "            await held.abandon()\n"
                "        if ledger is None:",
            ),
        ),
        within=2000,
    ),
    Mutation(
        "deletion before the claim is abandoned",
        (
            Patch(
                "push/publish.py",
                "        await held.abandon()\n        if ledger is None:",
                "        if ledger is not None:\n"
                "            doomed = map(partial(self._key, held.version), ledger.created())\n"
                "            await self._store.driver.delete(doomed)\n"
                "        await held.abandon()\n"
                "        if ledger is None:",
            ),
        ),
        within=500,
    ),
    Mutation(
        "taking over a live claim",
        (
            Patch(
                "store/claims.py",
                "return claim.state is ClaimState.CLAIMED and same and is_dead(meta, claim)",
                "return claim.state is ClaimState.CLAIMED and same",
            ),
        ),
        within=2000,
    ),
    Mutation(
        "taking over any dead claim",
        (
            Patch(
                "store/claims.py",
                "return claim.state is ClaimState.CLAIMED and same and is_dead(meta, claim)",
                "return is_dead(meta, claim)",
            ),
        ),
        within=2000,
    ),
    Mutation(
        "listing before sealing",
        (
            Patch(
                "push/publish.py",
                "await self._seal(held, await self._upload(held, stop), stop)",
                "manifest = await self._upload(held, stop)\n"
                "                await self._list(held.version, stop)\n"
                "                await self._seal(held, manifest, stop)",
            ),
        ),
        within=100,
    ),
    Mutation(
        "sealing that is not known to have failed counts as a failure",
        (Patch("push/publish.py", "                if effects.uncertain:\n", "                if False:\n"),),
        within=500,
    ),
    Mutation(
        "create that lets abandoned and released lower numbers be",
        (
            Patch(
                "push/allocate.py",
                "if claim == ended or not (lower or is_claimed):",
                "if claim == ended or not is_claimed:",
            ),
        ),
        within=2000,
        style=Style.CANCELLED,
    ),
    Mutation(
        "create that lets claims of higher numbers be",
        (
            Patch(
                "push/allocate.py",
                "if claim == ended or not (lower or is_claimed):",
                "if claim == ended or not lower:",
            ),
        ),
        within=6000,
        style=Style.RACING,
    ),
    Mutation(
        "claim known by its token alone, and ended under its own token",
        (
            Patch(
                "model/claim.py",
                "return (self.token, self.state) == (written.token, written.state)",
                "return self.token == written.token",
            ),
            Patch(
                "push/allocate.py",
                "await self._store.driver.write(key, ended.to_json(), expected=meta.revision, effects=self._effects)",
                "old = claim.in_state(ClaimState.ABANDONED)\n"
                "                await self._store.driver.write(key, old.to_json(), expected=meta.revision)",
            ),
        ),
        within=6000,
        style=Style.RACING,
    ),
    Mutation(
        "certain failure of a seal whose answer nobody understands",
        (
            Patch(
                "push/publish.py",
                "effects.note_error(error)",
                "effects.uncertain |= getattr(error, 'uncertain', False)",
            ),
        ),
        within=500,
    ),
)


def mutated(mutation: Mutation, package: Path, target: Path) -> Path:
    """Copy the package to a folder with a mutation, and return the folder to import it from."""
    copy = target / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for patch in mutation.patches:
        module = copy / patch.module
        text = module.read_text(encoding="utf-8")
        if text.count(patch.old) != 1:
            raise MutationError(f"{mutation.name}: {patch.module} has this {text.count(patch.old)} times:\n{patch.old}")
        module.write_text(text.replace(patch.old, patch.new), encoding="utf-8")
    return target
