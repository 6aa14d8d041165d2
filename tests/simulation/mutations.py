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


WITHDRAWAL_MUTATIONS: Final = (
    Mutation(
        "yank without a fence",
        (
            Patch(
                "store/index.py",
                "return state.index.fenced(version, fence, secrets.token_hex(16))",
                "return state.index.with_versions([each for each in state.index.versions if each != version])",
            ),
        ),
        within=100,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "listing despite a fence",
        (
            Patch(
                "store/index.py",
                "if versions <= set(state.index.numbers):",
                "if versions <= set(state.index.versions):",
            ),
            Patch(
                "store/index.py",
                "scheme.select(None, {*index.versions, *versions} - index.fences.keys())",
                "scheme.select(None, {*index.versions, *versions})",
            ),
        ),
        within=500,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "no settling",
        (Patch("store/settling.py", "if found.revision == meta.revision:", "if True:"),),
        within=1000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "settling that trusts an outdated index",
        (
            Patch(
                "store/index.py",
                "            if known is None:\n                return state\n",
                "            return state\n",
            ),
        ),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "look at the aliases before the mark only",
        (
            Patch(
                "cleanup/withdrawal.py",
                "        aliases = await documents.aliases()\n",
                "        aliases = marked.aliases\n",
            ),
        ),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "mark that stays although an alias points at the version",
        (Patch("cleanup/withdrawal.py", "        if undo:\n", "        if False:\n"),),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "move of an alias without a second look at its target",
        (
            Patch(
                "store/aliases.py",
                "except (NotFound, VersionYanked) as error:\n            logger",
                "except ZeroDivisionError as error:\n            logger",
            ),
        ),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "tombstone at a fresh revision",
        (
            Patch(
                "cleanup/withdrawal.py",
                "buried = await documents.swap(marked, tombstone)",
                "buried = await documents.swap(await documents.read(), tombstone)",
            ),
        ),
        within=1000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "deletion that begins again without settling",
        (Patch("cleanup/withdrawal.py", "        if buried is None:", "        if False:"),),
        within=500,
        style=Style.CONTESTED,
    ),
    Mutation(
        "deletion of content before the fence is final",
        (
            Patch(
                "cleanup/withdrawal.py",
                "                await documents.fence(Fence.DELETED)\n                return",
                "                await self._remove_content(documents.name, documents.version)\n"
                "                await documents.fence(Fence.DELETED)\n                return",
            ),
        ),
        within=100,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "deletion of content before the tombstone",
        (
            Patch(
                "cleanup/withdrawal.py",
                "        buried = await documents.swap(marked, tombstone)",
                "        await self._remove_content(documents.name, documents.version)\n"
                "        buried = await documents.swap(marked, tombstone)",
            ),
        ),
        within=100,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "restoration that lifts the fence of a deleted version",
        (
            Patch(
                "model/index.py",
                "if self.fences.get(version) is not Fence.YANKED:",
                "if version not in self.fences:",
            ),
            Patch(
                "model/index.py",
                "final = Fence.DELETED if self.fences.get(version) is Fence.DELETED else fence",
                "final = fence",
            ),
        ),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "index whose states come back",
        (
            Patch(
                "model/index.py", "{**self.fences, version: final}, token=token)", "{**self.fences, version: final})"
            ),
            Patch("model/index.py", "fences=fences, token=token)", "fences=fences)"),
        ),
        within=6000,
        style=Style.RESTORED,
    ),
    Mutation(
        "marks with equal tokens",
        (Patch("store/marks.py", "secrets.token_hex(16)", 'f"{secrets.token_hex(16):.0}0"'),),
        within=100,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "seal that isn't recognised once the version is marked",
        (Patch("push/claim.py", "if self._is_sealed(there):", "if False:"),),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "cleaning that leaves what interrupted deletions left",
        (
            Patch(
                "cleanup/withdrawal.py",
                "        if is_deleted:\n            await self",
                "        if False:\n            await self",
            ),
        ),
        within=500,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "fetch of whatever the index lists",
        (Patch("fetch/retrieval.py", "if not self._resolver.skip(error):", "if True:"),),
        within=1000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "fetch that doesn't look why content is missing",
        (
            Patch(
                "fetch/retrieval.py",
                "            await remote.check_undeleted()\n            raise",
                "            raise",
            ),
        ),
        within=1000,
        style=Style.WITHDRAWN,
    ),
)
"""Mistakes in yanking, deleting and restoring versions, and in moving aliases."""

COPY_MUTATIONS: Final = (
    Mutation(
        "copy of whatever an alias points at",
        (Patch("store/resolve.py", "if not manifest.is_yanked or spec.version == version:", "if True:"),),
        within=2000,
        style=Style.WITHDRAWN,
    ),
    Mutation(
        "copy that takes other content for its own",
        (Patch("push/exact.py", "if await in_thread(same_content, self._source.manifest, found):", "if True:"),),
        within=500,
        style=Style.PROMOTED,
    ),
    Mutation(
        "copy that is yanked like its original",
        (Patch("push/copy.py", "            mark=None,\n            is_yanked=False,\n", ""),),
        within=500,
        style=Style.PROMOTED,
    ),
    Mutation(
        "copy under another number that wasn't asked for",
        (Patch("push/exact.py", "        if not self._renumber:\n", "        if False:\n"),),
        within=500,
        style=Style.PROMOTED,
    ),
    Mutation(
        "copy that doesn't look why its original is missing",
        (
            Patch(
                "push/copy.py",
                "        except SourceChanged as error:\n            raise await _explained(self._source,",
                "        except ZeroDivisionError as error:\n            raise await _explained(self._source,",
            ),
        ),
        within=500,
        style=Style.PROMOTED,
    ),
)
"""Mistakes in copying versions."""
REUSE_MUTATIONS: Final = (
    Mutation(
        "copy of whatever revision the base's object has",
        (
            Patch(
                "push/reuse.py",
                "await driver.copy(driver, original, key, effects=effects)",
                "await driver.copy(driver, await driver.stat(original.key), key, effects=effects)",
            ),
        ),
        within=500,
        style=Style.REUSED,
    ),
    Mutation(
        "copy of a file that only has the same size",
        (
            Patch(
                "push/base.py",
                "row = self.rows.get(bytes.fromhex(sha256))",
                "row = next(iter(self.rows.values()))",
            ),
        ),
        within=100,
        style=Style.REUSED,
    ),
    Mutation(
        "failed copy that counts as a copy",
        (
            Patch(
                "push/reuse.py",
                "            self._note_failure(original, error)\n            return None",
                "            return Copied(original.checksums, original.revision)",
            ),
        ),
        within=500,
        style=Style.REUSED,
    ),
)
"""Mistakes in copying from a base."""
CHUNK_MUTATIONS: Final = (
    Mutation(
        "seal before the list of chunks is written",
        (
            Patch(
                "push/publish.py",
                "                    await self._write_chunks(held, ledger)\n",
                "                    document = await self._chunks_document(ledger)\n"
                "                    ledger.chunks_digest = None if document is None else document_digest(document)\n",
            ),
            Patch(
                "push/publish.py",
                "            await self._list(held.version, stop)\n            if self._plan",
                "            await self._write_chunks(held, self._ledger)\n"
                "            await self._list(held.version, stop)\n"
                "            if self._plan",
            ),
        ),
        within=100,
        style=Style.REUSED,
    ),
    Mutation(
        "list of chunks that replaces another one",
        (
            Patch(
                "store/chunks.py",
                "source, resume=resume, effects=effects)",
                "source, expected=Expect.ANYTHING, effects=effects)",
            ),
            Patch("store/chunks.py", "import Uploaded\n", "import Expect, Uploaded\n"),
        ),
        within=500,
        style=Style.REUSED,
    ),
    Mutation(
        "list of chunks that a push leaves when it gives up",
        (Patch("push/publish.py", "if ledger.created_chunks else []", "if False else []"),),
        within=2000,
        style=Style.REUSED,
    ),
    Mutation(
        "list of chunks that is certain to be written or not",
        (
            Patch(
                "push/publish.py",
                "        except BaseException as error:\n"
                "            self._effects.note_error(error)\n"
                "            raise\n"
                "        if written.created:\n",
                "        except ZeroDivisionError:\n            raise\n        if written.created:\n",
            ),
            Patch(
                "store/chunks.py",
                "source, resume=resume, effects=effects)",
                "source, resume=resume)",
            ),
        ),
        within=2000,
        style=Style.REUSED,
    ),
    Mutation(
        "list of chunks of a base that isn't the recorded one",
        (Patch("model/chunks.py", "if (found := document_digest(data)) != digest:", "if False:"),),
        within=500,
        style=Style.REUSED,
    ),
    Mutation(
        "list of chunks that stays when its version is deleted",
        (Patch("store/documents.py", "lambda: self._present(chunks)", 'lambda: self._present(chunks + "?")'),),
        within=500,
        style=Style.REUSED,
    ),
)
"""Mistakes in writing and removing lists of chunks."""

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
                "effects.note_error(error)\n                if effects",
                "effects.uncertain |= getattr(error, 'uncertain', False)\n                if effects",
            ),
        ),
        within=500,
    ),
    *WITHDRAWAL_MUTATIONS,
    *COPY_MUTATIONS,
    *REUSE_MUTATIONS,
    *CHUNK_MUTATIONS,
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
