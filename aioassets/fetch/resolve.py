"""Resolving a spec to one version, using the store's index or the assets directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aioassets.errors import AssetNotFound, StoreUnavailable, VersionNotFound
from aioassets.fetch.lookup import Lookup
from aioassets.model.versioning import VersioningScheme
from aioassets.runtime.threads import in_thread
from aioassets.store.documents import AssetStore
from aioassets.store.resolve import candidates, exact_version


@dataclass(frozen=True, slots=True)
class Resolver:
    """A resolver for a spec.

    Attributes:
        store: the store whose index to use; `None` to consider only cached versions.
        lookup: the lookup of the spec in the assets directory.
        scheme: the versioning scheme.
    """

    store: AssetStore | None
    lookup: Lookup
    scheme: VersioningScheme

    async def resolve(self) -> str:
        """Return the version that the spec names exactly, or the latest version that matches the spec.

        Raises:
            AssetNotFound: if the asset doesn't exist.
            VersionNotFound: if no version matches.
            StoreUnavailable: if the index can't be read.
        """
        exact = exact_version(self.lookup.spec, self.scheme)
        if exact is not None:
            return exact
        if self.store is None:
            return self._latest(await self._cached(), await self._where())
        return await self._stored(self.store)

    async def not_cached(self, version: str) -> VersionNotFound:
        """Return the error for a version that isn't cached."""
        cached = tuple(self.scheme.select(None, await self._cached()))
        return VersionNotFound(self.lookup.spec.name, version, await self._where(), cached)

    async def _where(self) -> str:
        return f"{await in_thread(self.lookup.where)} (offline)"

    async def _cached(self) -> list[str]:
        return [version for version in await in_thread(self.lookup.versions) if self.scheme.is_version(version)]

    async def _stored(self, store: AssetStore) -> str:
        try:
            return (await candidates(store, self.scheme, self.lookup.spec))[0]
        except StoreUnavailable as error:
            raise await self._unresolved(error) from error

    async def _unresolved(self, error: StoreUnavailable) -> StoreUnavailable:
        cached = self.scheme.select(None, await self._cached())
        advice = f"Request a cached version exactly: {', '.join(cached)}." if cached else "No version is cached."
        detail = f"{self.lookup.spec} can't be resolved without the store. {advice} ({error})"
        return StoreUnavailable(error.where, detail, uncertain=False)

    def _latest(self, versions: Sequence[str], where: str) -> str:
        spec = self.lookup.spec
        selected = self.scheme.select(spec.version, versions)
        if selected:
            return selected[0]
        if not versions or spec.version is None:
            raise AssetNotFound(spec.name, where)
        raise VersionNotFound(spec.name, spec.version, where, tuple(self.scheme.select(None, versions)))
