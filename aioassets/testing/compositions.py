"""Conformance tests for objects that the store composes of ranges of others."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from aioassets.drivers.protocol import Driver, Expect, ObjectInfo, Run, Source, Uploaded
from aioassets.errors import CannotCompose, PreconditionFailed
from aioassets.testing.requests import (
    PartSized,
    assert_absent,
    listed_revision,
    open_uploads,
    race,
    read_all,
    winners_of,
)
from aioassets.testing.sources import (
    BrokenSource,
    BytesSource,
    KnownFailingSource,
    KnownSource,
    KnownStuckSource,
)


class CompositionConformance(PartSized):
    """Tests for composing objects.

    Attributes:
        composes: whether the driver can compose objects. If not, most of the tests are skipped.
    """

    composes = False

    @pytest.fixture
    async def original(self, driver: Driver) -> ObjectInfo:
        """An object of four parts to copy from."""
        await driver.upload("original", BytesSource(self._content(4)))
        return await driver.stat("original")

    def _changed(self) -> bytes:
        """Return the content of the original after an insertion before its third part and a change of its fourth."""
        old = self._content(4)
        here, end = 2 * self.part_size, 3 * self.part_size
        return old[:here] + b"inserted" * 100 + old[here:end] + self._content(1.5, salt=1)

    def _runs(self, original: ObjectInfo) -> Sequence[Run]:
        """Return the runs that the changed content has in common with the original."""
        here, end = 2 * self.part_size, 3 * self.part_size
        return [Run(0, here, original, 0), Run(here + 800, end - here, original, here)]

    async def _compose(
        self, driver: Driver, key: str, source: Source, runs: Sequence[Run], expected: Expect = Expect.ABSENT
    ) -> Uploaded:
        """Compose an object, or skip the test if the driver can't."""
        try:
            return await driver.compose(key, source, runs, expected=expected)
        except CannotCompose:
            if self.composes:
                raise
        await assert_absent(driver, "composed")
        pytest.skip("the driver can't compose objects")

    async def test_an_object_is_composed(self, driver: Driver, original: ObjectInfo) -> None:
        """The result tells how many bytes were copied, and the revision that `stat` and listings report."""
        data = self._changed()
        made = await self._compose(driver, "composed", KnownSource(data), self._runs(original))
        assert await read_all(driver, "composed", 0, len(data) + 1) == data
        assert made.created
        assert 2 * self.part_size <= made.copied <= 3 * self.part_size
        assert made.copied == sum(run.size for run in driver.composable(len(data), self._runs(original)))
        assert made.revision == (await driver.stat("composed")).revision
        assert await listed_revision(driver, "composed") in (made.revision, "")
        assert await driver.stat("original") == original
        assert await open_uploads(driver, "") == []

    async def test_an_object_is_composed_of_several_others(self, driver: Driver, original: ObjectInfo) -> None:
        """Runs can be in any order in their originals, and follow each other without a gap."""
        size = self.part_size
        old, new = self._content(4), self._content(2, salt=2)
        await driver.upload("other", BytesSource(new))
        other = await driver.stat("other")
        runs = [
            Run(0, 3 * size - 3, original, size + 3),
            Run(3 * size - 3, size + 1, other, 0),
            Run(4 * size - 2, size + 3, original, 0),
        ]
        data = old[size + 3 :] + new[: size + 1] + old[: size + 3]
        made = await self._compose(driver, "composed", KnownSource(data), runs)
        assert await read_all(driver, "composed", 0, len(data) + 1) == data
        assert made.copied == len(data)

    async def test_composing_the_same_object_again_succeeds(self, driver: Driver, original: ObjectInfo) -> None:
        """Nothing is written, also if the composition is resumed."""
        source = KnownSource(self._changed())
        made = await self._compose(driver, "composed", source, self._runs(original))
        before = await driver.stat("composed")
        for resume in (False, True):
            again = await driver.compose("composed", source, self._runs(original), resume=resume)
            assert (again.created, again.revision, again.copied) == (False, made.revision, 0)
        assert await driver.stat("composed") == before
        assert await open_uploads(driver, "") == []

    async def test_a_composition_overwrites_nothing(self, driver: Driver, original: ObjectInfo) -> None:
        """It is refused if the object exists with other contents."""
        changed = self._changed()
        for key, data in (("short", b"other"), ("long", bytes(len(changed)))):
            await driver.upload(key, BytesSource(data))
            with pytest.raises(PreconditionFailed, match=key):
                await self._compose(driver, key, KnownSource(changed), self._runs(original))
            assert await read_all(driver, key, 0, len(changed)) == data
        assert await open_uploads(driver, "") == []

    async def test_an_unconditional_composition_overwrites(self, driver: Driver, original: ObjectInfo) -> None:
        """It can overwrite its own original."""
        data = self._changed()
        await self._compose(driver, "original", KnownSource(data), self._runs(original), Expect.ANYTHING)
        assert await read_all(driver, "original", 0, len(data) + 1) == data

    async def test_of_racing_compositions_of_different_bytes_one_wins(
        self, driver: Driver, original: ObjectInfo
    ) -> None:
        """The bytes are never mixed. As with uploads, some stores don't check the condition atomically."""
        size = self.part_size
        blobs = [self._content(1) + self._content(1.5, salt=n) for n in range(1, 4)]
        run = Run(0, size, original, 0)
        results = await race(lambda n: self._compose(driver, "composed", KnownSource(blobs[n]), [run]), racers=3)
        assert await read_all(driver, "composed", 0, 3 * size) in [blobs[winner] for winner in winners_of(results)]

    async def test_an_original_that_was_replaced_or_deleted_is_not_copied(
        self, driver: Driver, original: ObjectInfo
    ) -> None:
        source = KnownSource(self._changed())
        await driver.upload("original", BytesSource(bytes(original.size)), expected=Expect.ANYTHING)
        with pytest.raises(CannotCompose):
            await driver.compose("composed", source, self._runs(original))
        await driver.delete(["original"])
        with pytest.raises(CannotCompose):
            await driver.compose("composed", source, self._runs(original))
        await assert_absent(driver, "composed")

    async def test_a_run_beyond_the_end_of_its_original_is_not_copied(
        self, driver: Driver, original: ObjectInfo
    ) -> None:
        """This holds even if the caller assumes a larger original."""
        size = 2 * self.part_size
        source = KnownSource(bytes(size))
        for assumed in (original, replace(original, size=2 * original.size)):
            with pytest.raises(CannotCompose):
                await driver.compose("composed", source, [Run(0, size, assumed, original.size - size + 1)])
        await assert_absent(driver, "composed")

    async def test_a_run_that_its_original_does_not_contain_is_not_copied(
        self, driver: Driver, original: ObjectInfo
    ) -> None:
        """The bytes are compared with the source, here or by the store."""
        data = self._changed()
        here = 2 * self.part_size
        with pytest.raises(CannotCompose):
            await driver.compose("composed", KnownSource(data), [Run(0, here, original, 1)])
        await assert_absent(driver, "composed")

    async def test_without_a_run_nothing_is_composed(self, driver: Driver) -> None:
        for data in (b"", b"content"):
            with pytest.raises(CannotCompose):
                await driver.compose("composed", KnownSource(data), [])
        await assert_absent(driver, "composed")

    async def test_a_composition_whose_source_fails_leaves_nothing(self, driver: Driver, original: ObjectInfo) -> None:
        source = KnownFailingSource(self._changed())
        with pytest.raises(BrokenSource):
            await self._compose(driver, "composed", source, self._runs(original))
        await assert_absent(driver, "composed")

    async def test_a_cancelled_composition_leaves_nothing(self, driver: Driver, original: ObjectInfo) -> None:
        """The next one succeeds."""
        source = KnownStuckSource(self._changed())

        async def compose() -> None:
            with contextlib.suppress(CannotCompose):
                await driver.compose("composed", source, self._runs(original))
            source.stuck.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(compose)
            await source.stuck.wait()
            tasks.cancel_scope.cancel()
        await assert_absent(driver, "composed")
        assert (await self._compose(driver, "composed", KnownSource(self._changed()), self._runs(original))).created
