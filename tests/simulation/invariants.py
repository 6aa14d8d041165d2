"""Invariants of the protocol, checked at each change of an object and each result."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from aioassets.errors import PublicationUncertain, StoreUnavailable
from aioassets.model.claim import DEAD_AFTER, Claim, ClaimState
from aioassets.model.documents import parse_meta
from aioassets.model.index import VersionIndex
from aioassets.model.keys import Layout
from aioassets.model.manifest import Manifest
from simulation import sources
from simulation.network import Garbled, Network
from simulation.schedule import Step
from simulation.server import Server, Stored

LAYOUT = Layout("assets")
VersionId = tuple[str, str]


@dataclass(slots=True)
class _Sealed:
    token: str | None
    label: str
    document: bytes
    digests: dict[str, str]


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

    # Changes in the store

    def changed(self, key: str, before: bytes | None, after: bytes | None) -> None:
        asset, _, rest = key.removeprefix(LAYOUT.root).partition("/")
        if asset.startswith("."):
            return
        if not rest:
            self._index_changed(asset.removesuffix(".versions"), before, after)
        elif rest.endswith(".meta"):
            self._meta_changed(asset, rest.removesuffix(".meta"), after)
        else:
            self._content_changed(asset, rest.partition("/")[0], key, before, after)

    def _index_changed(self, asset: str, before: bytes | None, after: bytes | None) -> None:
        was, now = _listed(before), _listed(after)
        if lost := sorted(was - now):
            self._broken("a listed version was lost", f"{asset}: {lost}")
        for version in sorted(now - was):
            if (asset, version) not in self._sealed:
                self._broken("an unsealed version was listed", f"{asset}:{version}")

    def _meta_changed(self, asset: str, version: str, after: bytes | None) -> None:
        sealed = self._sealed.get((asset, version))
        if sealed is not None:
            if after != sealed.document:
                self._broken("a sealed version was changed", f"{asset}:{version} of {sealed.label}")
        elif after is not None:
            found = parse_meta(after)
            if isinstance(found, Claim):
                self._claim(asset, version, found)
                self._owners.setdefault(found.token, self.network.acting)
                if found.state is ClaimState.RELEASED:
                    self._release(asset, version)
            elif isinstance(found, Manifest):
                self._seal(asset, version, after, found)

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

    def _release(self, asset: str, version: str) -> None:
        self._released.add((asset, version, self.network.acting))
        key = LAYOUT.content(asset, version)
        if left := [each for each in self._objects() if each == key or each.startswith(f"{key}/")]:
            self._broken("a number was released with content below it", ", ".join(left))

    def _seal(self, asset: str, version: str, document: bytes, manifest: Manifest) -> None:
        label = self._owners.get(manifest.token or "", "nobody")
        digests = {LAYOUT.content(asset, version, file.path): file.digests["sha256"] for file in manifest.files}
        self._sealed[asset, version] = _Sealed(manifest.token, label, document, digests)
        self._content |= digests
        for key, digest in digests.items():
            if self._digest(key) != digest:
                self._broken("a version was sealed without its content", key)
        step = self.steps.get(label)
        if step is None or digests != _digests_of(asset, version, step.source):
            self._broken("a version was sealed with other content than was pushed", f"{asset}:{version} of {label}")
        if label in self._failed:
            self._broken("a push that failed for certain was published", f"{asset}:{version} of {label}")
        if step is not None and step.kind == "create" and self._creators.setdefault(asset, label) != label:
            self._broken("two creates of one asset were sealed", f"{self._creators[asset]} and {label}")

    def _content_changed(self, asset: str, version: str, key: str, before: bytes | None, after: bytes | None) -> None:
        if after is not None and (asset, version, self.network.acting) in self._released:
            self._broken("content appeared under a number that its pusher had released", key)
        if key in self._content:
            if self._digest(key) != self._content[key]:
                self._broken("content of a sealed version was changed", key)
        elif after is None and before is not None:
            meta = self._objects().get(LAYOUT.meta(asset, version))
            state = parse_meta(meta.data) if meta is not None else None
            if isinstance(state, Claim) and state.state is ClaimState.CLAIMED:
                self._broken("content was deleted under a claim", f"{key} by {self.network.acting}")

    # Results of operations

    def pushed(self, step: Step, version: str) -> None:
        """Check a push that succeeded."""
        self._ended(step, version)
        found = self._sealed.get((step.asset, version))
        if found is None or found.label != step.label:
            self._broken("a push succeeded with a version that isn't its own", f"{step.label}: {step.asset}:{version}")
        if version not in self._index(step.asset):
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
        known = type(error) in expected or (isinstance(error, Garbled) and had_fault)
        if not known or (isinstance(error, StoreUnavailable) and not had_fault):
            self._broken("an operation failed without a reason", f"{step.label}: {error!r}")
        if not isinstance(error, PublicationUncertain):
            self._failed.add(step.label)
            for (asset, version), found in self._sealed.items():
                if found.label == step.label:
                    self._broken("a push that failed for certain was published", f"{asset}:{version} of {step.label}")

    def fetched(self, step: Step, version: str, files: Mapping[str, bytes]) -> None:
        """Check a fetch that succeeded."""
        self._ended(step, version)
        found = self._sealed.get((step.asset, version))
        digests = {LAYOUT.content(step.asset, version, path): _sha256(data) for path, data in files.items()}
        if found is None or found.digests != digests:
            self._broken("a fetch gave other bytes than were sealed", f"{step.label}: {step.asset}:{version}")

    def done(self, step: Step, result: str) -> None:
        """Record the outcome of another operation."""
        self._ended(step, result)

    def settled(self) -> None:
        """Check all acknowledged versions after the end of all operations."""
        for (asset, version), label in self._acknowledged.items():
            if version not in self._index(asset):
                self._broken("an acknowledged version isn't listed", f"{asset}:{version} of {label}")
            if any(self._digest(key) != digest for key, digest in self._sealed[asset, version].digests.items()):
                self._broken("an acknowledged version isn't intact", f"{asset}:{version} of {label}")

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

    def _index(self, asset: str) -> set[str]:
        found = self._objects().get(LAYOUT.versions(asset))
        return _listed(None if found is None else found.data)

    def _digest(self, key: str) -> str:
        found = self._objects().get(key)
        return "nothing" if found is None else _sha256(found.data)


def _listed(data: bytes | None) -> set[str]:
    return set() if data is None else set(VersionIndex.from_json(data).versions)


def _digests_of(asset: str, version: str, source: str) -> dict[str, str]:
    return {LAYOUT.content(asset, version, path): _sha256(data) for path, data in sources.content(source).items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
