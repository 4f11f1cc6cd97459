"""What routing is told of leads, what it decides, and what it keeps to go on from; how it decides stands elsewhere.

All instants are microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.routing.rules import Facts

Cause = Literal[
    "account_owner",
    "relationship",
    "pool",
    "fallback",
    "waiting",
    "unassigned",
    "breach",
    "crm",
    "confirmed",
]
UNKNOWN = Facts()
SignalKind = Literal["touched", "answered", "owner", "no_show"]


@dataclass(frozen=True, slots=True)
class Written:
    """An owner we wrote to the CRM for one decision, confirmed: it stands, whatever a later look at the past would say."""

    number: int
    rep_id: str
    at: int


@dataclass(frozen=True, slots=True)
class NewLead:
    """An MQL as it became known. `account_owner` and `relationship` are reps as the CRM had them then. Of an erased person only the
    turn is left: `told_pool` and `told_rep` say whose it was."""

    at: int
    lead_id: str
    person_id: str
    version: str
    grade: str | None = None
    facts: Facts = UNKNOWN
    account_owner: str | None = None
    relationship: str | None = None
    written: tuple[Written, ...] = ()
    is_erased: bool = False
    told_pool: str | None = None
    told_rep: str | None = None
    reached_at: int = 0
    facts_hash: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """What became known of a person after they were assigned: a first touch, an answer of sales, another owner in the CRM, a meeting they
    did not come to."""

    at: int
    person_id: str
    kind: SignalKind
    occurred_at: int
    rep_id: str | None = None


@dataclass(slots=True)
class Decision:
    """Who has the lead from `assigned_at` on: the `number`-th decision about it. `path` says why, rule by rule; `passed_over` is, for each
    other rep of the pool, why not and what would have to change, as JSON."""

    lead_id: str
    person_id: str
    version: str
    number: int
    rep_id: str | None
    territory: str | None
    pool: str | None
    cause: Cause
    path: tuple[str, ...]
    passed_over: str
    sla_minutes: int
    assigned_at: int
    due_at: int
    superseded_at: int | None = None


@dataclass(slots=True)
class KeptLead:
    """How a lead stands. `pool` is where it belongs, `has_turn` whether it took one there; `tried` are reps who had it; `timer_at` is when
    it goes to another unless somebody answers; `path` only while it waits."""

    lead_id: str
    person_id: str
    version: str
    known_at: int
    reached_at: int
    facts_hash: int
    territory: str | None = None
    pool: str | None = None
    has_turn: bool = False
    rep_id: str | None = None
    number: int = 0
    cause: Cause = "unassigned"
    sla_minutes: int = 0
    assigned_at: int = 0
    due_at: int = 0
    timer_at: int | None = None
    reassigned: int = 0
    tried: tuple[str, ...] = ()
    is_answered: bool = False
    is_credited: bool = False
    is_waiting: bool = False
    path: tuple[str, ...] = ()
    written: Mapping[int, Written] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, str, int, str]:
        """By which leads come one after the other."""
        return self.known_at, self.person_id, self.reached_at, self.lead_id


@dataclass(slots=True)
class Share:
    """How a rep stands in a pool of a version: turns they were entitled to, and had."""

    entitled: float = 0.0
    had: float = 0.0


@dataclass(slots=True)
class Load:
    """How much a rep has: leads on the local day that begins at `day_begins`, and leads sales has not answered."""

    day_begins: int = 0
    day_ends: int = 0
    day_count: int = 0
    open_count: int = 0


@dataclass(slots=True)
class Kept:
    """All that was dealt until `through`, as far as it matters for what comes."""

    through: int
    shares: dict[tuple[str, str], dict[str, Share]] = field(default_factory=dict)
    turns: dict[tuple[str, str], int] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)
    leads: dict[str, KeptLead] = field(default_factory=dict)
