"""Schedules: the operations, the store and the weather of one run."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from simulation.faults import MINUTE, Kind, Weather
from simulation.server import Kinds
from simulation.sources import NAMES

HOUR: Final = 60 * MINUTE
WEIGHTS: Final = {
    "create": 3,
    "update": 5,
    "bump_major": 1,
    "push_later": 2,
    "clean": 3,
    "clean_all": 1,
    "fetch": 3,
    "publish": 1,
}
"""Weights of the operations in `operations.py`."""
RACE: Final = {"create": 30, "fetch": 0, "publish": 0, "push_later": 0, "bump_major": 0}
WITHDRAWALS: Final = {
    "create": 1,
    "update": 3,
    "clean_all": 2,
    "fetch": 3,
    "fetch_exact": 3,
    "publish": 2,
    "yank": 5,
    "unyank": 4,
    "delete": 4,
    "set_alias": 6,
    "remove_alias": 2,
}
"""Changes of the weights for withdrawals of a few versions."""
CONTEST: Final = dict.fromkeys(WEIGHTS, 0) | {"yank": 1, "delete": 5, "unyank": 5, "set_alias": 5}
"""Weights for deletions that lose a version to restorations, which an alias follows."""
COPIES: Final = {"copy": 6, "copy_renumbered": 4, "promote": 4, "fetch_alias": 6, "set_alias": 6}
"""Further weights, for schedules with copies between two stores."""
PROMOTIONS: Final = dict.fromkeys(WEIGHTS, 0) | {"create": 4, "update": 4, "yank": 5, "delete": 4, "remove_alias": 2}
"""Weights for copies that race with withdrawals."""
MOST_COPIES: Final = 0.4
"""Share of the schedules with copies."""
REUSE: Final = {"create": 1, "update": 6, "push_later": 3, "clean_all": 2, "fetch_exact": 2, "delete": 4, "replace": 4}
"""Changes of the weights for pushes that copy from bases, which are deleted or whose objects are replaced."""
STYLES: Final[tuple[dict[str, int], ...]] = ({}, RACE)
"""Changes of the weights. `RACE` has creates and cleaning only; without changes, the asset is created first."""
IMPOSSIBLE: Final = {("simple_date", "bump_major")}
THEMES: Final[tuple[tuple[Kind, ...], ...]] = (
    (Kind.CANCELLED,),
    (Kind.CANCELLED, Kind.LATE, Kind.LOST),
    (Kind.LATE, Kind.LOST, Kind.DROPPED, Kind.REFUSED, Kind.GARBLED),
    (Kind.PAUSED_BEFORE, Kind.PAUSED_AFTER),
    (Kind.KILLED_BEFORE, Kind.KILLED_AFTER, Kind.LATE),
    (Kind.OUTAGE, Kind.LATE, Kind.LOST),
    tuple(Kind),
)
"""Faults that occur together. Many faults of few kinds find most bugs."""
MACHINES: Final = ("m1", "m2")
ASSETS: Final = ("x", "y")
ALIAS: Final = "prod"
OTHER: Final = "other/"
"""Prefix of the assets of another store, which managers of the first one reach as assets of these names."""
COPYING: Final = frozenset({"copy", "copy_renumbered", "promote"})


def counterpart(asset: str) -> str:
    """Return the asset of the same name in the other store."""
    return asset.removeprefix(OTHER) if asset.startswith(OTHER) else OTHER + asset


@dataclass(frozen=True, slots=True)
class Step:
    """Scheduled operation.

    Attributes:
        label: its unique label.
        at: its start time in seconds.
        process: the name of its process.
        machine: the machine of that process.
        kind: the kind of operation.
        asset: the name of the asset.
        source: the name of the source to push.
        delay: seconds between planning and execution, if these are separate.
    """

    label: str
    at: float
    process: str
    machine: str
    kind: str
    asset: str
    source: str
    delay: float = 0.0

    @property
    def target(self) -> str:
        """The asset that the operation may change. Copies go from one store to the other."""
        return counterpart(self.asset) if self.kind in COPYING else self.asset

    @property
    def is_within(self) -> bool:
        """Whether to copy between assets of one store, which then copies the bytes itself."""
        return Random(f"within/{self.label}/{self.at}").random() < 0.5

    def __str__(self) -> str:
        what = f"{self.kind} {self.asset} from {self.source}"
        return f"{self.at:9.2f} s  {self.label}: {self.process} on {self.machine}: {what}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Complete input of one run.

    Attributes:
        seed: the seed of the schedule.
        scheme: the versioning scheme.
        store: the behaviour of the store.
        weather: the conditions of requests.
        steps: the operations.
        divides: whether versions list the chunks of their files, whatever their sizes.
    """

    seed: int
    scheme: str
    store: Kinds
    weather: Weather
    steps: tuple[Step, ...]
    divides: bool = False

    def __str__(self) -> str:
        weather = f"latency {self.weather.latency} s, skew {self.weather.skew} s"
        return "\n".join([f"seed {self.seed}, {self.scheme}, {self.store}, {weather}", *map(str, self.steps)])

    def with_steps(self, steps: tuple[Step, ...]) -> Schedule:
        """Return the schedule with other operations."""
        return replace(self, steps=steps)

    def calmed(self, *calm: tuple[str, int]) -> Schedule:
        """Return the schedule without faults of these requests."""
        return replace(self, weather=replace(self.weather, calm=frozenset({*self.weather.calm, *calm})))


class Style(enum.Enum):
    """A family of schedules."""

    MIXED = "mixed"
    """Any operations, in any weather."""
    RACING = "racing"
    """Creates that race, in weather that makes most trouble for these."""
    WITHDRAWN = "withdrawn"
    """Yanks, deletions and moves of aliases that race on a few versions, in any weather."""
    RESTORED = "restored"
    """Yanks and restorations, some of whose requests take effect late, on a store that digests content."""
    CONTESTED = "contested"
    """Deletions, restorations and moves of aliases that race on a few versions: nothing else goes wrong."""
    PROMOTED = "promoted"
    """Copies and fetches by an alias that race with withdrawals: nothing else goes wrong."""
    REUSED = "reused"
    """Updates that copy from bases, which are deleted at the same time, and whose objects an outsider replaces."""
    CANCELLED = "cancelled"
    """A few creates of one asset at once, of which some are cancelled: nothing else goes wrong."""


def made(seed: int, style: Style = Style.MIXED) -> Schedule:
    """Make a schedule of a style from a seed."""
    if style is Style.CANCELLED:
        return _cancelled_creates(seed)
    draw = Random(seed)
    scheme = draw.choice(["major_minor", "simple_date"])
    store = Kinds(draw.random() < 0.5, draw.random() < 0.7, draw.random() < 0.5)
    weather = Weather(
        seed=seed,
        latency=draw.choice([0.05, 0.05, 0.3, 5.0]),
        skew=draw.choice([0.0, 0.0, 30.0, 20 * MINUTE]),
        rate=draw.choice([0.0, 0.03, 0.1, 0.2]),
        kinds=draw.choice(THEMES),
    )
    weights = draw.choice(STYLES)
    if style is Style.WITHDRAWN:
        weights = WITHDRAWALS
    if style is Style.REUSED:
        weights = REUSE
    if style is Style.RESTORED:
        store, weather = replace(store, etags=True), replace(weather, rate=0.1, kinds=(Kind.LATE,))
        weights = dict.fromkeys(WEIGHTS, 0) | {"yank": 6, "unyank": 6}
    if style is Style.CONTESTED:
        weights, weather = CONTEST, replace(weather, rate=0.0)
    if style is Style.PROMOTED:
        weights, weather = PROMOTIONS, replace(weather, rate=0.0)
    if style is Style.RACING:
        store = replace(store, etags=False, checks_completion=True)
        weights, weather = RACE, replace(weather, rate=0.2, kinds=draw.choice([THEMES[0], THEMES[3]]))
    share = {Style.RACING: 0.0, Style.CONTESTED: 0.0, Style.REUSED: 0.0, Style.PROMOTED: 1.0}.get(style, MOST_COPIES)
    has_copies = weights is not RACE and Random(f"copies/{seed}").random() < share
    steps = _steps(draw, scheme, weather.latency, weights, has_copies=has_copies)
    return Schedule(seed, scheme, store, weather, tuple(steps), divides=style is Style.REUSED)


def _cancelled_creates(seed: int) -> Schedule:
    draw = Random(seed)
    weather = Weather(seed=seed, latency=0.05, skew=0.0, rate=0.06, kinds=(Kind.CANCELLED,))
    steps = [
        Step(f"create{number}", at, f"p{number}", draw.choice(MACHINES), "create", "x", draw.choice(NAMES[:2]))
        for number in range(1, draw.randint(3, 5) + 1)
        for at in [draw.uniform(0, weather.latency * draw.choice([30, 60]))]
    ]
    return Schedule(seed, "major_minor", Kinds(False, True, draw.random() < 0.5), weather, tuple(steps))


def _steps(draw: Random, scheme: str, latency: float, style: dict[str, int], *, has_copies: bool) -> Iterator[Step]:
    """Generate waves of concurrent operations. Later waves find what earlier ones left."""
    is_race = style is RACE
    assets = ASSETS[: 1 if style else draw.choice([1, 1, 2])]
    if has_copies:
        assets, style = (assets[0], assets[0], counterpart(assets[0])), {**style, **COPIES}
    processes = [(f"p{number}", draw.choice(MACHINES)) for number in range(draw.randint(2, 5))]
    sources = draw.choice([draw.sample(NAMES, 2), NAMES[:2], NAMES[:1], NAMES[4:6]])
    kinds = {kind: weight for kind, weight in {**WEIGHTS, **style}.items() if (scheme, kind) not in IMPOSSIBLE}
    number, begins, head_start = 0, 0.0, latency * (40 if has_copies else 10)
    for _ in range(draw.choice([1, 2, 2, 3])):
        crowd = latency * draw.choice([3, 10, 30])
        for _ in range(draw.randint(2, 8 if style else 5)):
            process, machine = draw.choice(processes)
            kind = draw.choices([*kinds], [*kinds.values()])[0]
            if not number and not is_race:
                kind = "create"
            at = begins + draw.uniform(0, crowd) + (head_start if number and not is_race else 0)
            delay = draw.choice([0.0, 10.0, 50.0, HOUR]) if kind == "push_later" else draw.choice([0.0, latency * 10])
            asset = draw.choice(assets) if number or not has_copies else assets[0]
            number += 1
            yield Step(f"{kind}{number}", at, process, machine, kind, asset, draw.choice(sources), delay)
        begins += draw.choice([10 * latency, 20 * MINUTE, 2 * HOUR, 10 * HOUR])
        # New processes replace killed ones.
        processes = [(name + draw.choice(["", "+"]), machine) for name, machine in processes]
