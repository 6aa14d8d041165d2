"""Invariants of the protocol, checked at each change of an object and each result."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Final

from blake3 import blake3

from aioassets import CopyResult
from aioassets.drivers.protocol import Expect
from aioassets.errors import (
    AliasNotFound,
    IntegrityError,
    PublicationUncertain,
    StoreUnavailable,
    VersionDeleted,
    VersionDiffers,
    VersionYanked,
)
from aioassets.model.aliases import AliasTable
from aioassets.model.chunks import DIGEST_BYTES, ChunkList, ChunkTable
from aioassets.model.claim import DEAD_AFTER, Claim, ClaimState
from aioassets.model.documents import parse_meta
from aioassets.model.index import Fence, VersionIndex
from aioassets.model.keys import Layout, version_of
from aioassets.model.manifest import Manifest
from aioassets.model.tombstone import Tombstone
from simulation import sources
from simulation.network import Garbled, Network
from simulation.schedule import ALIAS, COPYING, OTHER, Step
from simulation.server import Server, Stored

LAYOUT = Layout("assets")
VersionId = tuple[str, str]


TOUCHING: Final = frozenset(
    {"yank", "unyank", "delete", "set_alias", "remove_alias", "clean", "clean_all", "publish", *COPYING}
)
"""Kinds of operations that yank, restore or delete versions, finish that, or move aliases."""
INTERRUPTED: Final = ("cancelled", "StoreUnavailable", "Garbled", "VersionContended")
"""Beginnings of outcomes after which such an operation may have left a version between two states."""


@dataclass(slots=True)
class _Sealed:
    token: str | None
    label: str
    manifest: Manifest
    digests: dict[str, str]
    lists: dict[str, str]
    marks: list[str] = field(default_factory=list)
    yanks: set[str] = field(default_factory=set)
    state: Manifest | Tombstone | None = None
    withdrawn: list[float] = field(default_factory=list)
    withdrawn_since: float | None = None

    @property
    def is_deleted(self) -> bool:
        return isinstance(self.state, Tombstone)

    @property
    def is_yanked(self) -> bool:
        return isinstance(self.state, Manifest) and self.state.is_yanked


@dataclass(slots=True)
class Judge:
    """Checker of one run.

    Attributes:
        network: the network, which knows the sender of the current request.
        server: the store, once it exists.
        steps: the operations, by label.
        violations: the broken invariants.
        outcomes: the outcomes of operations, by label.
        is_over: whether to ignore all further changes and results.
    """

    network: Network
    server: Server | None = None
    steps: dict[str, Step] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    is_over: bool = False
    _owners: dict[str, str] = field(default_factory=dict)
    _sealed: dict[VersionId, _Sealed] = field(default_factory=dict)
    _content: dict[str, str] = field(default_factory=dict)
    _creators: dict[str, str] = field(default_factory=dict)
    _released: set[tuple[str, str, str]] = field(default_factory=set)
    _claims: dict[VersionId, tuple[Claim, float]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _acknowledged: dict[VersionId, str] = field(default_factory=dict)
    _aliases: dict[str, AliasTable] = field(default_factory=dict)
    _targets: dict[str, list[tuple[float, str | None]]] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)
    _copied: dict[str, tuple[str, str]] = field(default_factory=dict)
    _replaced: set[str] = field(default_factory=set)
    _foreign: set[str] = field(default_factory=set)

    # Changes in the store

    def changed(self, key: str, before: bytes | None, after: bytes | None) -> None:
        name = key.removeprefix(LAYOUT.root)
        store = OTHER if name.startswith(OTHER) else ""
        asset, _, rest = name.removeprefix(store).partition("/")
        if asset.startswith("."):
            return
        asset = store + asset
        if asset.endswith(".aliases"):
            self._aliases_changed(asset.removesuffix(".aliases"), AliasTable.from_json(after or b"{}"))
        elif not rest:
            self._index_changed(asset.removesuffix(".versions"), before, after)
        elif rest.endswith(".meta"):
            self._meta_changed(asset, rest.removesuffix(".meta"), after)
        else:
            self._content_changed(asset, version_of(rest.partition("/")[0]), key, before, after)

    def _aliases_changed(self, asset: str, table: AliasTable) -> None:
        self._aliases[asset] = table
        self._targets.setdefault(asset, []).append((self.network.loop.time(), table.target(ALIAS)))

    def _index_changed(self, asset: str, before: bytes | None, after: bytes | None) -> None:
        was, now = _index_of(before), _index_of(after)
        for version in sorted({*was.versions} - {*now.versions}):
            if version not in now.fences:
                self._broken("a listed version was lost", f"{asset}: {version}")
        for version in sorted({*now.versions} - {*was.versions}):
            if (asset, version) not in self._sealed:
                self._broken("an unsealed version was listed", f"{asset}:{version}")
        for version, fence in sorted(now.fences.items()):
            self._check_fence(asset, version, fence)
        for version in sorted(was.fences.keys() - now.fences.keys()):
            if was.fences[version] is Fence.DELETED or version not in now.versions:
                self._broken("a fence was lost", f"{asset}:{version}")

    def _check_fence(self, asset: str, version: str, fence: Fence) -> None:
        sealed = self._sealed.get((asset, version))
        if sealed is None or not sealed.yanks or (fence is Fence.DELETED and not sealed.is_deleted):
            self._broken("a version was fenced that wasn't withdrawn", f"{asset}:{version} as {fence}")
        if version in self._index(asset).versions:
            self._broken("a fenced version was listed", f"{asset}:{version}")

    def _meta_changed(self, asset: str, version: str, after: bytes | None) -> None:
        sealed = self._sealed.get((asset, version))
        if sealed is not None:
            self._withdraw(asset, version, sealed, None if after is None else parse_meta(after))
        elif after is not None:
            found = parse_meta(after)
            if isinstance(found, Claim):
                self._claim(asset, version, found)
                self._owners.setdefault(found.token, self.network.acting)
                if found.state is ClaimState.RELEASED:
                    self._release(asset, version)
            elif isinstance(found, Manifest):
                self._seal(asset, version, found)
            elif found is not None:
                self._broken("an unsealed version was deleted", f"{asset}:{version}")

    def _claim(self, asset: str, version: str, claim: Claim) -> None:
        now = self.network.loop.time()
        before, since = self._claims.get((asset, version), (claim, now))
        self._claims[asset, version] = (claim, now)
        if claim.state is not ClaimState.CLAIMED or before.state is not ClaimState.CLAIMED:
            return
        owner = self._owners.get(before.token, "")
        skew = 0.0 if self.network.weather is None else self.network.weather.skew
        is_live = owner not in self.outcomes and owner in self.network.lanes and not self.network.lanes[owner].is_dead
        if claim.token != before.token and is_live and now - since < DEAD_AFTER.total_seconds() - 2 * skew - 2:
            self._broken("a live claim was taken over", f"{asset}:{version} of {owner} by {self.network.acting}")

    def _withdraw(self, asset: str, version: str, sealed: _Sealed, now: Manifest | Claim | Tombstone | None) -> None:
        """Check a change of a version after it was sealed: its mark may change, and then there may be a tombstone."""
        mark = now.deleted if isinstance(now, Tombstone) else now.mark if isinstance(now, Manifest) else None
        if now is None or isinstance(now, Claim) or mark is None or sealed.is_deleted:
            self._broken("a sealed version was changed", f"{asset}:{version} of {sealed.label}")
            return
        if mark.token in sealed.marks:
            self._broken("a state of a version came back", f"{asset}:{version}")
        if isinstance(now, Manifest):
            if (now, now.extra) != (sealed.manifest, sealed.manifest.extra):
                self._broken("a sealed version was changed", f"{asset}:{version} of {sealed.label}")
            if now.is_yanked:
                sealed.yanks.add(mark.token)
        elif not sealed.is_yanked or now.content_digest != sealed.manifest.content_digest:
            self._broken("a version was deleted without being yanked", f"{asset}:{version}")
        sealed.marks.append(mark.token)
        sealed.state = now
        if sealed.withdrawn_since is None and _fence_of(sealed) is not None:
            sealed.withdrawn_since = self.network.loop.time()
            sealed.withdrawn.append(sealed.withdrawn_since)
        elif _fence_of(sealed) is None:
            sealed.withdrawn_since = None

    def _release(self, asset: str, version: str) -> None:
        self._released.add((asset, version, self.network.acting))
        key, chunks = LAYOUT.content(asset, version), LAYOUT.chunks(asset, version)
        if left := [
            each
            for each in self._objects().keys() - self._foreign
            if each in (key, chunks) or each.startswith(f"{key}/")
        ]:
            self._broken("a number was released with content below it", ", ".join(left))

    def _seal(self, asset: str, version: str, manifest: Manifest) -> None:
        label = self._owners.get(manifest.token or "", "nobody")
        digests = {LAYOUT.content(asset, version, file.path): file.digests["sha256"] for file in manifest.files}
        lists = {} if manifest.chunks_digest is None else {LAYOUT.chunks(asset, version): manifest.chunks_digest}
        self._sealed[asset, version] = _Sealed(manifest.token, label, manifest, digests, lists, state=manifest)
        self._content |= digests | lists
        for key, digest in (digests | lists).items():
            if self._digest(key) != digest:
                self._broken("a version was sealed without its content", key)
        for key in lists.keys() & self._objects().keys():
            self._check_chunks(manifest, digests, key)
        step = self.steps.get(label)
        if step is None or digests != self._expected(asset, version, manifest, step):
            self._broken("a version was sealed with other content than was pushed", f"{asset}:{version} of {label}")
        if label in self._failed:
            self._broken("a push that failed for certain was published", f"{asset}:{version} of {label}")
        if step is not None and step.kind == "create" and self._creators.setdefault(asset, label) != label:
            self._broken("two creates of one asset were sealed", f"{self._creators[asset]} and {label}")

    def _check_chunks(self, manifest: Manifest, digests: Mapping[str, str], key: str) -> None:
        """Check that the files of a version consist of the chunks in its list."""
        for path, chunks in ChunkTable.from_json(self._objects()[key].data).files.items():
            content = next((each for each in digests if each.endswith(path)), "")
            data = self._objects()[content].data if content in self._objects() else b""
            found = [blake3(data[chunk.offset : chunk.stop]).digest() for chunk in chunks]
            if chunks.size != len(data) or found != [chunk.digest for chunk in chunks]:
                self._broken("a list has chunks of another file", key)

    def _expected(self, asset: str, version: str, manifest: Manifest, step: Step) -> dict[str, str]:
        """Return the digests of a push's source, or those of the version that a manifest names as its origin."""
        if step.kind not in COPYING:
            return _digests_of(asset, version, step.source)
        assert manifest.origin is not None
        original = self._sealed[step.asset, manifest.origin.version]
        if (manifest.content_digest, manifest.is_yanked) != (original.manifest.content_digest, False):
            self._broken("a copy was sealed with another digest, or yanked", f"{asset}:{version} of {step.label}")
        if step.kind != "copy_renumbered" and version != manifest.origin.version:
            self._broken("a copy was sealed under another number", f"{asset}:{version} of {step.label}")
        return _moved(original.digests, (step.asset, manifest.origin.version), (asset, version))

    def _content_changed(self, asset: str, version: str, key: str, before: bytes | None, after: bytes | None) -> None:
        if key in self._foreign and after is not None:
            self._broken("a foreign object was overwritten", key)
        step = self.steps.get(self.network.acting)
        is_overwritten = before is not None and after is not None and before != after
        if step is not None and step.kind in COPYING and is_overwritten and self._is_careful():
            self._broken("a copy overwrote an object", f"{key} by {step.label}")
        if after is not None and (asset, version, self.network.acting) in self._released:
            self._broken("content appeared under a number that its pusher had released", key)
        if key in self._content and after is None:
            self._check_deletion(asset, version, key)
        elif key in self._foreign:
            self._foreign.discard(key)  # with an abandoned number
        elif key in self._content:
            if self._digest(key) != self._content[key] and key not in self._replaced:
                self._broken("content of a sealed version was changed", key)
        elif after is None and before is not None:
            meta = self._objects().get(LAYOUT.meta(asset, version))
            state = parse_meta(meta.data) if meta is not None else None
            if isinstance(state, Claim) and state.state is ClaimState.CLAIMED:
                self._broken("content was deleted under a claim", f"{key} by {self.network.acting}")

    def _is_careful(self) -> bool:
        """Return whether the store honours the condition of every request."""
        assert self.server is not None
        return self.server.kinds.checks_completion

    def _check_deletion(self, asset: str, version: str, key: str) -> None:
        index = self._index(asset)
        if not self._sealed[asset, version].is_deleted:
            self._broken("content of a sealed version was changed", key)
        elif version in index.versions or index.fences.get(version) is not Fence.DELETED:
            self._broken("content was deleted before its version was fenced", key)

    def copies(self) -> list[tuple[Step, str, str]]:
        """Return copies that succeeded, with the versions of the original and the copy, and can be repeated."""
        found = [(self.steps[label], *versions) for label, versions in self._copied.items()]
        return [
            (step, version, copy)
            for step, version, copy in found
            if not self._sealed[step.asset, version].is_deleted and _fence_of(self._sealed[step.target, copy]) is None
        ]

    def begun(self, step: Step) -> None:
        """Record the beginning of an operation."""
        self._begun[step.label] = self.network.loop.time()

    def any_sealed(self, step: Step) -> str | None:
        """Return a sealed version for an operation, which may be yanked or deleted; `None` if there is none."""
        versions = sorted(version for asset, version in self._sealed if asset == step.asset)
        return Random(f"{step.label}/{step.at}").choice(versions) if versions else None

    def replace_object(self, step: Step) -> str | None:
        """Replace an object of a sealed version by other bytes of the same length, and return its key."""
        assert self.server is not None
        keys = sorted(
            key
            for (asset, _), sealed in self._sealed.items()
            for key in (*sealed.digests, *sealed.lists)
            if asset == step.asset and key in self._objects() and self._objects()[key].data
        )
        if not keys:
            return None
        key = Random(f"{step.label}/{step.at}").choice(keys)
        self._replaced.add(key)
        data = self._objects()[key].data
        instead = _lying(data) if key.endswith(".chunks") else b"?" * len(data)
        self.server.write(key, instead, Expect.ANYTHING, 0.0)
        return key

    def add_foreign_chunks(self, step: Step) -> str | None:
        """Create a list of chunks under the number that the next push would take, and return its key."""
        assert self.server is not None
        versions = [version for asset, version in self._sealed if asset == step.asset]
        if not versions or not all(version.startswith("0.") for version in versions):
            return None
        key = LAYOUT.chunks(step.asset, f"0.{max(int(version[2:]) for version in versions) + 1}")
        if key in self._objects():
            return None
        self.server.write(key, b"?", Expect.ABSENT, 0.0)
        self._foreign.add(key)
        return key

    # Results of operations

    def pushed(self, step: Step, version: str) -> None:
        """Check a push that succeeded."""
        self._ended(step, version)
        found = self._sealed.get((step.asset, version))
        if found is None or found.label != step.label:
            self._broken("a push succeeded with a version that isn't its own", f"{step.label}: {step.asset}:{version}")
        if version not in self._index(step.asset).numbers:
            self._broken("a push succeeded without its version being listed", f"{step.label}: {step.asset}:{version}")
        if other := self._acknowledged.get((step.asset, version)):
            self._broken("a number was used twice", f"{step.asset}:{version} by {other} and {step.label}")
        self._acknowledged[step.asset, version] = step.label

    def failed(self, step: Step, error: Exception, expected: Collection[type[Exception]]) -> None:
        """Check an operation that failed."""
        self._ended(step, f"{type(error).__name__}: {error}")
        if self.is_over:
            return
        beside = {
            each.label for each in self.steps.values() if each.process == step.process
        }  # their versions are listed together
        had_fault = any(label in beside for label, _ in self.network.faults)
        is_detected = isinstance(error, IntegrityError) and step.kind.startswith("fetch") and self._replaced
        known = type(error) in expected or (isinstance(error, Garbled) and had_fault) or is_detected
        if not known or (isinstance(error, StoreUnavailable) and not had_fault):
            self._broken("an operation failed without a reason", f"{step.label}: {error!r}")
        self._check_refusal(step, error)
        if not isinstance(error, PublicationUncertain) and step.kind != "promote":  # its alias is moved after the copy
            self._failed.add(step.label)
            for (asset, version), found in self._sealed.items():
                if found.label == step.label:
                    self._broken("a push that failed for certain was published", f"{asset}:{version} of {step.label}")

    def _check_refusal(self, step: Step, error: Exception) -> None:
        """Check the reason for which an operation was refused."""
        is_by_alias = step.kind in ("fetch_alias", "promote")
        if isinstance(error, AliasNotFound) and is_by_alias and None not in self._named(step):
            self._broken("an alias wasn't found", step.label)
        if isinstance(error, VersionYanked | VersionDeleted) and step.kind == "fetch_alias":
            found = self._sealed[step.asset, error.version]
            if not found.withdrawn or error.version not in self._named(step, since=found.withdrawn[0]):
                self._broken("a fetch by an alias trusted its first answer", f"{step.label}: {error.version}")
        if isinstance(error, VersionDiffers):
            one, other = ((asset, error.version) for asset in (step.asset, step.target))
            there = self._sealed.get(other)
            if there is None or there.digests == _moved(self._sealed[one].digests, one, other):
                self._broken("a copy was refused although nothing else is there", f"{step.label}: {error.version}")

    def _named(self, step: Step, *, since: float = 0.0) -> set[str | None]:
        """Return what the alias of an asset pointed at since an operation began, or since a later time."""
        since = max(since, self._begun[step.label])
        moves = [(0.0, None), *self._targets.get(step.asset, ())]
        first = max(number for number, (time, _) in enumerate(moves) if time <= since)
        return {target for _, target in moves[first:]}

    def fetched_by_alias(self, step: Step, version: str, files: Mapping[str, bytes]) -> None:
        """Check a fetch by the alias that succeeded."""
        if version not in self._named(step):
            self._broken("a fetch gave a version that its alias never pointed at", f"{step.label}: {version}")
        self._check_available(step, version)
        self.fetched(step, version, files)

    def _check_available(self, step: Step, version: str) -> None:
        """Check that a version, which an operation didn't name exactly, wasn't withdrawn all the time."""
        found = self._sealed.get((step.asset, version))
        if found is not None and (found.withdrawn_since or inf) < self._begun[step.label]:
            self._broken("a withdrawn version was used that wasn't named exactly", f"{step.label}: {version}")

    def promoted(self, step: Step, result: CopyResult) -> None:
        """Check a copy by an alias that succeeded."""
        version = result.source.rpartition(":")[2]
        if version not in self._named(step):
            self._broken("a copy took a version that its alias never pointed at", f"{step.label}: {version}")
        self._check_available(step, version)
        self.copied(step, result, renumber=False)

    def copied(self, step: Step, result: CopyResult, *, renumber: bool) -> None:
        """Check a copy that succeeded."""
        version, what = result.source.rpartition(":")[2], f"{step.label}: {step.target}:{result.version}"
        one, other = (step.asset, version), (step.target, result.version)
        original, copy = self._sealed[one], self._sealed.get(other)
        if copy is None or copy.digests != _moved(original.digests, one, other):
            self._broken("a copy succeeded without an equal version", what)
            return
        if result.content_digest != copy.manifest.content_digest:
            self._broken("a copy returned another digest", what)
        if result.version != version and not (renumber and self._is_taken(step.target, version)):
            self._broken("a copy has another number for no reason", what)
        if result.unchanged:
            self._ended(step, f"{result.version} was there")
            if result.version not in self._index(step.target).numbers and not copy.yanks:
                self._broken("a copy was there, and isn't listed", what)
        else:
            self.pushed(replace(step, asset=step.target), result.version)
        self._copied[step.label] = (version, result.version)

    def _is_taken(self, asset: str, version: str) -> bool:
        return LAYOUT.meta(asset, version) in self._objects() or version in self._index(asset).numbers

    def fetched(self, step: Step, version: str, files: Mapping[str, bytes]) -> None:
        """Check a fetch that succeeded."""
        if step.kind == "fetch":
            self._check_available(step, version)
        self._ended(step, version)
        found = self._sealed.get((step.asset, version))
        digests = {LAYOUT.content(step.asset, version, path): _sha256(data) for path, data in files.items()}
        if found is None or found.digests != digests:
            self._broken("a fetch gave other bytes than were sealed", f"{step.label}: {step.asset}:{version}")

    def yanked(self, step: Step, version: str, token: str) -> None:
        """Check a yank that succeeded."""
        self._ended(step, f"yanked {version}")
        if token not in self._sealed[step.asset, version].yanks:
            self._broken("a yank succeeded without a mark", f"{step.label}: {step.asset}:{version}")

    def deleted(self, step: Step, version: str) -> None:
        """Check a deletion that succeeded."""
        self._ended(step, f"deleted {version}")
        if not self._sealed[step.asset, version].is_deleted:
            self._broken("a deletion succeeded without a tombstone", f"{step.label}: {step.asset}:{version}")
        if self._index(step.asset).fences.get(version) is not Fence.DELETED:
            self._broken("a deletion succeeded without a fence", f"{step.label}: {step.asset}:{version}")

    def done(self, step: Step, result: str) -> None:
        """Record the outcome of another operation."""
        self._ended(step, result)

    def settled(self, *, cleaned: bool = False) -> None:
        """Check all versions after the end of all operations.

        Args:
            cleaned: whether they were cleaned since. Then the indexes agree even with interrupted operations.
        """
        for (asset, version), sealed in self._sealed.items():
            index, what = self._index(asset), f"{asset}:{version} of {sealed.label}"
            is_certain = cleaned or not self._was_interrupted(asset)
            self._check_listing(sealed, version, index, what, is_acknowledged=(asset, version) in self._acknowledged)
            if is_certain and index.fences.get(version) is not _fence_of(sealed):
                self._broken("the index disagrees with a version", f"{what}: {index.fences.get(version)}")
            table = self._aliases.get(asset, AliasTable())
            if table.of(version) and _fence_of(sealed) is not None and not self._was_interrupted(asset):
                self._broken("an alias points at a withdrawn version", what)
            if sealed.is_deleted and cleaned and any(key in self._objects() for key in sealed.digests | sealed.lists):
                self._broken("a deleted version has content after cleaning", what)
        for key in self._objects() if cleaned else ():
            if key.endswith(".chunks") and not (key in self._content or key in self._foreign):
                self._broken("a list of chunks is left after cleaning", key)

    def _check_listing(
        self, sealed: _Sealed, version: str, index: VersionIndex, what: str, *, is_acknowledged: bool
    ) -> None:
        if is_acknowledged and version not in index.numbers and not sealed.yanks:
            self._broken("an acknowledged version isn't listed", what)
        if version in index.versions and sealed.is_deleted and index.fences.get(version) is Fence.DELETED:
            self._broken("a deleted version is listed", what)
        kept = sealed.digests.items() if self._replaced.isdisjoint(sealed.digests) else ()
        is_intact = all(self._digest(key) == digest for key, digest in kept)
        if not (is_intact or sealed.is_deleted):
            self._broken("a sealed version isn't intact", what)

    def _was_interrupted(self, asset: str) -> bool:
        """Return whether an operation was interrupted that may have left versions of an asset between two states."""
        for step in self.steps.values():
            lane = self.network.lanes.get(step.label)
            outcome = self.outcomes.get(step.label)
            died = outcome is None and (lane is None or lane.is_dead)
            if step.target == asset and step.kind in TOUCHING and (died or (outcome or "").startswith(INTERRUPTED)):
                return True
        return False

    def expect(self, holds: bool, what: str, detail: str) -> None:
        """Record a violation if another condition doesn't hold."""
        if not holds:
            self._broken(what, detail)

    def _ended(self, step: Step, how: str) -> None:
        if not self.is_over:
            self.outcomes[step.label] = how
            if self.network.note is not None:
                self.network.note(step.label, f"ended: {how}")

    def _broken(self, what: str, detail: str) -> None:
        if not self.is_over:
            self.violations.append(f"{what}: {detail}")

    def _objects(self) -> Mapping[str, Stored]:
        assert self.server is not None
        return self.server.objects

    def _index(self, asset: str) -> VersionIndex:
        found = self._objects().get(LAYOUT.versions(asset))
        return _index_of(None if found is None else found.data)

    def _digest(self, key: str) -> str:
        found = self._objects().get(key)
        return "nothing" if found is None else _sha256(found.data)


def _lying(data: bytes) -> bytes:
    """Return a list of chunks with other digests."""
    files = ChunkTable.from_json(data).files
    return ChunkTable(
        {
            path: ChunkList([each.length for each in chunks], bytes(DIGEST_BYTES * len(chunks)))
            for path, chunks in files.items()
        }
    ).to_json()


def _index_of(data: bytes | None) -> VersionIndex:
    return VersionIndex() if data is None else VersionIndex.from_json(data)


def _fence_of(sealed: _Sealed) -> Fence | None:
    return Fence.DELETED if sealed.is_deleted else Fence.YANKED if sealed.is_yanked else None


def _digests_of(asset: str, version: str, source: str) -> dict[str, str]:
    return {LAYOUT.content(asset, version, path): _sha256(data) for path, data in sources.content(source).items()}


def _moved(digests: Mapping[str, str], one: VersionId, other: VersionId) -> dict[str, str]:
    """Return digests by key, as those of another version."""
    old, new = LAYOUT.content(*one), LAYOUT.content(*other)
    return {new + key.removeprefix(old): digest for key, digest in digests.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
