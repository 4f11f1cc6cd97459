"""Pools of reps who take turns: who sits in them, who may take a turn at an instant, and whose it is; whom a lead goes to in the end is
decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from models.routing.directory import Directory, Rep
from models.routing.fair_share import next_in_turn
from models.routing.leads import Kept, KeptLead, Load, NewLead, Share
from models.routing.rules import Rules, Seat
from models.routing.working_time import away_until

# So many of a pool are told why they were passed over: those whose turn is nearest.
TOLD = 20
_NOTHING = Load()
# Of these the number is an instant.
_UNTIL = frozenset({"away", "full_day", "off_hours"})
# Why a rep was passed over: the word, and since how many leads or until when.
Why = tuple[str, int | None]


@dataclass(slots=True)
class Placed:
    """Where leads with the same facts belong while the reps stay as they are: `pool` None when nobody there may take them."""

    territory: str | None
    pool: str | None
    path: tuple[str, ...]


@dataclass(slots=True)
class Pool:
    """Reps who take turns. `is_plain`: none of them is ever away, full, or not at work as far as the policy cares."""

    version: str
    name: str
    shares: dict[str, Share]
    turns: int = 0
    seats: list[Seat] = field(default_factory=list)
    revision: int = -1
    is_plain: bool = True
    waiting: list[KeptLead] = field(default_factory=list)


@dataclass(slots=True)
class Picked:
    """Whose turn it is, None when nobody may take it before `until`: among `taking`, with the entitlement spread over `sharing`."""

    seat: Seat | None
    taking: list[Seat]
    sharing: list[Seat]
    passed_over: dict[str, Why]
    notes: tuple[str, ...] = ()
    until: int | None = None


class Pools:
    """The pools of all versions, with what was dealt from each."""

    def __init__(self, rules: Mapping[str, Rules], directory: Directory, kept: Kept) -> None:
        """`directory` may change meanwhile; shares, turns and loads are those of `kept`, which change here."""
        self.rules = rules
        self._directory = directory
        self._kept = kept
        self._pools: dict[tuple[str, str], Pool] = {}
        self._placed: dict[tuple[object, ...], Placed] = {}
        self._seats: dict[tuple[str, str], Seat | None] = {}
        self._revision = -1

    def known(self) -> list[Pool]:
        """Those that were asked for."""
        return list(self._pools.values())

    def place(self, rules: Rules, new: NewLead) -> Placed:
        """The pool of a lead, narrowed to those who sell and speak what it asks for."""
        self._note_revision()
        if new.told_pool is not None:
            return Placed(new.told_pool.partition("/")[0], new.told_pool, ())
        key = (rules.version, new.facts)
        if key in self._placed:
            return self._placed[key]
        territory, words = rules.territory(new.facts)
        path = [words]
        seats = self.seats_in(rules, territory)
        pool: str | None = territory if seats else None
        line, language = rules.product_line(new.facts), rules.language(new.facts)
        policy = rules.policy
        parts = ["-", "-"]
        for place, (asked, what, section) in enumerate((
            (line, "product_lines", policy.product_lines),
            (language, "languages", policy.languages),
        )):  # fmt: skip
            if asked is None or section is None or pool is None:
                continue
            named = f"{'product line' if what == 'product_lines' else 'language'} {asked}"
            able = [seat for seat in seats if asked in getattr(seat, what)]
            if able:
                path.append(f"{named}: {len(able)} of {len(seats)}")
                seats, parts[place] = able, asked
            elif section.when_nobody == "anyone":
                path.append(f"{named}: nobody of {len(seats)}, so anyone")
            else:
                path.append(f"{named}: nobody of {len(seats)}")
                pool = None
        if pool is not None and parts != ["-", "-"]:
            pool = "/".join((pool, *parts))
        self._placed[key] = Placed(territory, pool, tuple(path))
        return self._placed[key]

    def pick(self, rules: Rules, pool: Pool, at: int, tried: Sequence[str] = ()) -> Picked:
        """Whose turn it is at an instant; changes nothing."""
        passed: dict[str, Why] = {}
        notes: tuple[str, ...] = ()
        if pool.is_plain and not tried and pool.seats:
            taking = sharing = pool.seats
        else:
            present, away, soonest = [], 0, []
            for seat in pool.seats:
                rep_id = seat.rep.rep_id
                if rep_id in tried:
                    passed[rep_id] = ("had_it", None)
                    continue
                until = away_until(self._directory.absences(rep_id), at)
                if until is None:
                    present.append(seat)
                else:
                    away += 1
                    soonest.append(until)
                    passed[rep_id] = ("away", until)
            open_seats, full = [], 0
            for seat in present:
                reason, until = self._fullness(seat, at)
                if reason is None:
                    open_seats.append(seat)
                    continue
                full += 1
                passed[seat.rep.rep_id] = reason
                if until is not None:
                    soonest.append(until)
            if not open_seats and rules.policy.capacity.when_full == "overflow":
                open_seats = present
                notes += ("everybody is full: dealt among all",) if present else ()
            elif full:
                notes += (f"full: {full} of {len(pool.seats)}",)
            if away:
                notes = (f"out of office: {away} of {len(pool.seats)}", *notes)
            taking = open_seats
            if rules.policy.working_hours != "ignore" and open_seats:
                at_work: list[Seat] = []
                idle: list[Seat] = []
                for seat in open_seats:
                    next_at = seat.time.next_working(at)
                    (at_work if next_at == at else idle).append(seat)
                    if next_at != at and next_at is not None:
                        passed[seat.rep.rep_id] = ("off_hours", next_at)
                        soonest.append(next_at)
                if idle and (at_work or rules.policy.working_hours == "require"):
                    taking = at_work
                    notes += (f"not at work: {len(idle)} of {len(pool.seats)}",)
            if not taking:
                return Picked(None, [], [], passed, notes, min(soonest, default=None))
            is_owed = rules.policy.shares_over == "everybody"
            sharing = [seat for seat in pool.seats if seat.rep.rep_id not in tried] if is_owed else taking  # fmt: skip
        shares = [pool.shares[seat.rep.rep_id] for seat in taking]
        place, left = next_in_turn(
            [seat.weight for seat in taking],
            [share.entitled for share in shares],
            [share.had for share in shares],
        )
        for index, seat in enumerate(taking):
            if index != place:
                passed[seat.rep.rep_id] = ("not_in_turn", left[index])
        return Picked(taking[place], list(taking), list(sharing), passed, notes)

    def _fullness(self, seat: Seat, at: int) -> tuple[Why | None, int | None]:
        """Why a rep has no room, None when they have; and until when, where time alone makes room."""
        load = self._kept.loads.get(seat.rep.rep_id, _NOTHING)
        count = load.day_count if load.day_begins <= at < load.day_ends else 0
        if seat.per_day is not None and count >= seat.per_day:
            until = load.day_ends if count else seat.time.day(at)[1]
            return ("full_day", until), until
        if seat.open_leads is not None and load.open_count >= seat.open_leads:
            return ("full_open", load.open_count), None
        return None, None

    def count(self, rules: Rules, rep: Rep, at: int) -> Load:
        """One more lead on the rep's day."""
        load = self._kept.loads.setdefault(rep.rep_id, Load())
        if not load.day_begins <= at < load.day_ends:
            load.day_begins, load.day_ends = rules.time(rep).day(at)
            load.day_count = 0
        load.day_count += 1
        return load

    # ---- who sits where --------------------------------------------------------------------------

    def _note_revision(self) -> None:
        if self._revision != self._directory.revision:
            self._revision = self._directory.revision
            self._placed.clear()
            self._seats.clear()

    def seats_in(self, rules: Rules, territory: str | None) -> list[Seat]:
        """Seats of a territory, in the order in which the equally entitled come."""
        self._note_revision()
        if territory is None:
            return []
        seats = []
        for rep in self._directory.reps.values():
            key = (f"{rules.version}/{territory}", rep.rep_id)
            if key not in self._seats:
                self._seats[key] = rules.seat(rep, territory)
            seat = self._seats[key]
            if seat is not None:
                seats.append(seat)
        return sorted(seats, key=lambda seat: (seat.order, seat.rep.rep_id))

    def pool(self, version: str, name: str) -> Pool:
        """The pool with whoever sits in it now."""
        self._note_revision()
        key = (version, name)
        if key not in self._pools:
            self._pools[key] = Pool(
                version, name, self._kept.shares.setdefault(key, {}), self._kept.turns.get(key, 0)
            )
        pool = self._pools[key]
        if pool.revision != self._revision:
            pool.revision = self._revision
            territory, _, rest = name.partition("/")
            line, _, language = rest.partition("/")
            rules = self.rules[version]
            pool.seats = [
                seat
                for seat in self.seats_in(rules, territory)
                if line in ("", "-", *seat.product_lines) and language in ("", "-", *seat.languages)
            ]
            for seat in pool.seats:
                pool.shares.setdefault(seat.rep.rep_id, Share())
            pool.is_plain = rules.policy.working_hours == "ignore" and not any(
                seat.per_day is not None
                or seat.open_leads is not None
                or self._directory.absences(seat.rep.rep_id)
                for seat in pool.seats
            )
        return pool


def iso(at: int) -> str:
    """RFC 3339 of microseconds since 1970."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def as_json(passed: dict[str, Why]) -> str:
    """A JSON array; written by hand, as it is made for every lead."""
    told: list[str] = []
    for rep_id, (why, value) in passed.items():
        if len(told) == TOLD:
            break
        more = ""
        if value is not None:
            more = f',"until":"{iso(value)}"' if why in _UNTIL else f',"leads":{value}'
        told.append(f'{{"rep_id":"{rep_id}","why":"{why}"{more}}}')
    return f"[{','.join(told)}]"
