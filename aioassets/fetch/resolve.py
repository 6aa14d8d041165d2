"""Resolving a spec to versions, using the documents of the store or the assets directory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from aioassets.errors import (
    AliasNotFound,
    AssetNotFound,
    StoreUnavailable,
    VersionDeleted,
    VersionNotFound,
    VersionYanked,
)
from aioassets.fetch.lookup import Lookup
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.notices import NOTICE
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import all_withdrawn, candidates, exact_version

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver for a spec.

    Attributes:
        store: the store whose documents to use; `None` to consider only cached versions.
        lookup: the lookup of the spec in the assets directory.
        scheme: the versioning scheme.
        skipped: the withdrawn versions that the index still lists, and whether each is yanked.
    """

    store: AssetStore | None
    lookup: Lookup
    scheme: VersioningScheme
    skipped: dict[str, bool] = field(default_factory=dict)

    async def resolve(self) -> str:
        """Return the version that the spec names exactly, or the latest version that matches the spec.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if no version matches.
            AliasNotFound: if the alias doesn't exist.
            StoreUnavailable: if the index or the aliases can't be read.
        """
        exact = exact_version(self.lookup.spec, self.scheme)
        if exact is not None:
            return exact
        if self.store is not None:
            return await self._stored(self.store)
        if self.lookup.spec.alias is not None:
            return await self._last_target()
        return self._latest(await self._cached(), await self._where())

    def names(self, version: str) -> bool:
        """Return whether the spec names a version exactly, so that it may be yanked."""
        return exact_version(self.lookup.spec, self.scheme) == version

    def skip(self, error: VersionYanked | VersionDeleted) -> bool:
        """Skip a withdrawn version from now on. Return `False` if the spec names it exactly, or it was skipped before.

        An alias may point at another version by now.
        """
        if exact_version(self.lookup.spec, self.scheme) is not None or error.version in self.skipped:
            return False
        self.skipped[error.version] = isinstance(error, VersionYanked)
        return True

    async def not_cached(self, version: str) -> VersionNotFound:
        """Return the error for a version that isn't cached."""
        cached = tuple(self.scheme.select(None, await self._cached()))
        return VersionNotFound(self.lookup.spec.name, version, await self._where(), cached)

    async def _where(self) -> str:
        return f"{await in_thread(self.lookup.where)} (offline)"

    async def _cached(self) -> list[str]:
        return [version for version in await in_thread(self.lookup.versions) if self.scheme.is_version(version)]

    async def _last_target(self) -> str:
        """Return what the alias pointed at when it was last looked up."""
        spec = self.lookup.spec
        target = await in_thread(self.lookup.last_target)
        if target is None:
            problem = f"was never looked up there, so it can't be resolved offline. {await self._advice()}"
            raise AliasNotFound(spec.name, str(spec.alias), await self._where(), problem=problem.rstrip("."))
        logger.warning("%s@%s %s", spec.name, spec.alias, target, extra=NOTICE)
        return target.version

    async def _stored(self, store: AssetStore) -> str:
        try:
            found = await candidates(store, self.scheme, self.lookup.spec)
        except StoreUnavailable as error:
            raise await self._unresolved(error) from error
        except (AliasNotFound, AssetNotFound):
            if self.lookup.spec.alias is not None:
                await in_thread(self.lookup.remember, store, None)
            raise
        if self.lookup.spec.alias is not None:
            await in_thread(self.lookup.remember, store, found[0])
            return found[0]
        for version in found:
            if version not in self.skipped:
                return version
        raise all_withdrawn(self.lookup.spec, [v for v in found if self.skipped[v]], store.url)

    async def _unresolved(self, error: StoreUnavailable) -> StoreUnavailable:
        spec = self.lookup.spec
        target = None if spec.alias is None else await in_thread(self.lookup.last_target)
        known = f" It {target}; offline=True (--offline) uses that." if target is not None else ""
        detail = f"{spec} can't be resolved without the store.{known} {await self._advice()} ({error})"
        return StoreUnavailable(error.where, detail, uncertain=False)

    async def _advice(self) -> str:
        cached = self.scheme.select(None, await self._cached())
        return f"Request a cached version exactly: {', '.join(cached)}." if cached else "No version is cached."

    def _latest(self, versions: Sequence[str], where: str) -> str:
        spec = self.lookup.spec
        selected = self.scheme.select(spec.version, versions)
        if selected:
            return next((version for version in selected if version not in self.skipped), selected[0])
        if not versions or spec.version is None:
            raise AssetNotFound(spec.name, where)
        raise VersionNotFound(spec.name, spec.version, where, tuple(self.scheme.select(None, versions)))
