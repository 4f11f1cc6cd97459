"""Whose record each record was held to be, from the first thing that was known of it until now.

Source: the forest of links is Kruskal's, "On the shortest spanning subtree of a graph", 1956, kept up while links come.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from models.matching.held_apart import join_except_apart

# A path of more steps than this explains nothing to anybody; those nearest to the record are kept.
MAX_STEPS = 25

# (record, known from, known to): an instant is a whole number, None is for good.
Period = tuple[int, int, int | None]


@dataclass(frozen=True, slots=True)
class Belonging:
    """From `known_from` until `known_to` (None: still) `record` was held to be of the person whose first record is `root`; `path` leads
    there: of each step the number of what two records shared, and the next record."""

    record: int
    root: int
    known_from: int
    known_to: int | None
    path: tuple[tuple[int, int], ...]


def replay(
    births: Mapping[int, int],
    carried: Sequence[Sequence[Period]],
    apart: Iterable[tuple[int, int, int, int | None]] = (),
    *,
    match_count: int = 0,
    owned: Sequence[tuple[int, str, int, int, int | None]] = (),
    limits: Mapping[str, int] | None = None,
) -> list[Belonging]:
    """Every belonging of every record, in the order of `births`.

    `births` says since when a record is known, in the order in which records were received; `carried` are, of each thing that links those
    who carry it, strongest first, the periods in which it did so, the last `match_count` of them being matches by evidence;
    `apart` are pairs (left, right, from, to) held apart by a person; `owned` are values (record, kind, value, from, to) of kinds that
    `limits` allows a person only so many different ones of.

    While a belonging lasts its path stays what it was when the two came together, as long as every step holds. The past never changes:
    what becomes known later adds periods, and ends the last ones.
    """
    world = _World(births, carried, apart, len(carried) - match_count, owned, limits or {})
    for instant in world.instants():
        world.move_to(instant)
    return world.told()


@dataclass(slots=True)
class _World:
    births: Mapping[int, int]
    carried: Sequence[Sequence[Period]]
    apart: Iterable[tuple[int, int, int, int | None]]
    identifier_count: int
    owned: Sequence[tuple[int, str, int, int, int | None]]
    limits: Mapping[str, int]
    place: dict[int, int] = field(init=False)
    alive: list[int] = field(init=False, default_factory=list)
    carriers: list[list[int]] = field(init=False)
    group: dict[int, int] = field(init=False, default_factory=dict)
    members: dict[int, list[int]] = field(init=False, default_factory=dict)
    up: dict[int, tuple[int, int]] = field(init=False, default_factory=dict)
    ended: dict[int, list[Belonging]] = field(init=False)
    lasting: dict[int, Belonging] = field(init=False, default_factory=dict)
    coming: dict[int, list[tuple[int, int]]] = field(init=False)
    going: dict[int, list[tuple[int, int]]] = field(init=False)
    born: dict[int, list[int]] = field(init=False)
    parted: dict[int, list[tuple[int, int]]] = field(init=False)
    joined: dict[int, list[tuple[int, int]]] = field(init=False)
    foes: set[tuple[int, int]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.place = {record: position for position, record in enumerate(self.births)}
        self.carriers = [[] for _ in self.carried]
        self.ended = {record: [] for record in self.births}
        self.coming, self.going, self.born = defaultdict(list), defaultdict(list), defaultdict(list)
        self.parted, self.joined = defaultdict(list), defaultdict(list)
        for record, instant in self.births.items():
            self.born[instant].append(record)
        for thing, periods in enumerate(self.carried):
            for record, start, end in periods:
                self.coming[start].append((record, thing))
                if end is not None:
                    self.going[end].append((record, thing))
        for left, right, start, end in self.apart:
            self.parted[start].append((left, right))
            if end is not None:
                self.joined[end].append((left, right))

    def instants(self) -> list[int]:
        told = (self.born, self.coming, self.going, self.parted, self.joined)
        owning = {at for *_, start, end in self.owned for at in (start, end) if at is not None}
        return sorted(owning.union(*told))

    def move_to(self, instant: int) -> None:
        for record in self.born.get(instant, ()):
            insort(self.alive, record, key=self.place.__getitem__)
            self.group[record] = record
            self.members[record] = [record]
            self.lasting[record] = Belonging(record, record, instant, None, ())
        for record, thing in self.going.get(instant, ()):
            self.carriers[thing].remove(record)
        coming = sorted(
            self.coming.get(instant, ()), key=lambda told: (self.place[told[0]], told[1])
        )
        for record, thing in coming:
            insort(self.carriers[thing], record, key=self.place.__getitem__)
        changes_words = instant in self.parted or instant in self.joined
        self.foes.difference_update(self.joined.get(instant, ()))
        self.foes.update(self.parted.get(instant, ()))
        if self.foes or self.limits or changes_words or instant in self.going:
            self._settle_anew(instant)
        else:
            self._join(coming, instant)

    def told(self) -> list[Belonging]:
        return [
            row for record in self.births for row in (*self.ended[record], self.lasting[record])
        ]

    def _join(self, coming: Sequence[tuple[int, int]], instant: int) -> None:
        """Links come and none goes: groups only grow. Who carried a thing before is one group, so each record joins the earliest other
        carrier, of those that come with it the earlier ones only: the later ones join it."""
        moved: dict[int, None] = {}
        at_once = set(coming)
        for record, came in groupby(coming, key=itemgetter(0)):
            links = []
            for _, thing in came:
                other = self.carriers[thing][0]
                if other == record:
                    other = next(
                        (
                            later
                            for later in self.carriers[thing][1:]
                            if (later, thing) not in at_once
                        ),
                        record,
                    )
                links.append((self.place[other], thing, other))
            for _, thing, other in sorted(links):
                moved |= dict.fromkeys(self._link(record, other, thing))
        for record in moved:
            self._tell(record, instant)

    def _link(self, one: int, other: int, thing: int) -> list[int]:
        """Make the two one group; gives back whose first record is another one now."""
        a, b = self.group[one], self.group[other]
        if a == b:
            return []
        if self.place[b] > self.place[a]:
            a, b, one, other = b, a, other, one
        # `b` stays: the tree of `a` is hung below it by the record that links.
        self._reroot(one)
        self.up[one] = (thing, other)
        came = self.members.pop(a)
        for record in came:
            self.group[record] = b
        self.members[b] += came
        return came

    def _reroot(self, record: int) -> None:
        step = self.up.pop(record, None)
        while step is not None:
            thing, above = step
            step = self.up.pop(above, None)
            self.up[above] = (thing, record)
            record = above

    def _settle_anew(self, instant: int) -> None:
        """Links go, or a person has said something: groups are made from nothing, of the former links those that hold come first."""
        named = dict(
            zip(
                self.alive,
                join_except_apart(
                    self.alive,
                    self.carriers[: self.identifier_count],
                    sorted(self.foes),
                    (
                        (record, kind, value)
                        for record, kind, value, start, end in self.owned
                        if start <= instant and (end is None or end > instant)
                    ),
                    self.limits,
                    self.carriers[self.identifier_count :],
                ),
                strict=True,
            )
        )
        held: list[set[int]] = [set(carriers) for carriers in self.carriers]
        kept = [
            (record, other, thing)
            for record, (thing, other) in self.up.items()
            if named[record] == named[other] and record in held[thing] and other in held[thing]
        ]
        self.group = {record: record for record in self.alive}
        self.members = {record: [record] for record in self.alive}
        self.up = {}
        for record, other, thing in sorted(
            kept, key=lambda link: (self.place[link[0]], self.place[link[1]])
        ):
            self._link(record, other, thing)
        for thing, carriers in enumerate(self.carriers):
            first: dict[int, int] = {}
            for record in carriers:
                self._link(record, first.setdefault(named[record], record), thing)
        for record in self.alive:
            if self.lasting[record].root != self.group[record] or not self._holds(
                self.lasting[record], held
            ):
                self._tell(record, instant)

    def _holds(self, belonging: Belonging, held: Sequence[set[int]]) -> bool:
        here = belonging.record
        for thing, above in belonging.path:
            if here not in held[thing] or above not in held[thing]:
                return False
            if self.group[above] != belonging.root:
                return False
            here = above
        return True

    def _tell(self, record: int, instant: int) -> None:
        former = self.lasting[record]
        if former.known_from < instant:
            self.ended[record].append(
                Belonging(record, former.root, former.known_from, instant, former.path)
            )
        self.lasting[record] = Belonging(
            record, self.group[record], instant, None, tuple(self._steps(record))
        )

    def _steps(self, record: int) -> Iterator[tuple[int, int]]:
        for _ in range(MAX_STEPS):
            if record not in self.up:
                return
            yield self.up[record]
            record = self.up[record][1]
