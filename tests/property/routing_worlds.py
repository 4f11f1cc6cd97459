"""Random companies to route leads in: policies, reps who come, change and go, leads, and what is heard of them afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from models.policies.lead_routing import RoutingPolicy
from models.routing.dealer import Dealer
from models.routing.directory import Rep, RepChange
from models.routing.leads import Decision, Kept, NewLead, Signal
from models.routing.rules import Facts, Rules
from models.routing.working_time import ALWAYS, DAY, MINUTE, NEVER, Absence

START = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * 1_000_000
HOUR = 60 * MINUTE

Row = dict[str, Any]


def policy(**settings: Any) -> RoutingPolicy:
    """A policy of two territories, whatever else `settings` say."""
    document: Row = {
        "description": "a test",
        "owner": "nobody",
        "effective_at": "2026-01-01T00:00:00Z",
        "sla_minutes": 240,
        "seed": "a seed",
        "territories": [
            {"name": "dach", "priority": 10, "countries": ["DE", "AT"]},
            {"name": "emea", "priority": 20, "default": True},
        ],
    }
    import json

    return RoutingPolicy.model_validate_json(json.dumps(document | settings))


def rep(rep_id: str, **told: Any) -> Rep:
    """A rep of dach, unless `told` otherwise."""
    known: Row = {"name": rep_id.title(), "email": f"{rep_id}@firm.example", "territories": frozenset({"dach"})}  # fmt: skip
    return Rep(rep_id, **(known | told))


def lead(number: int, at: int, **told: Any) -> NewLead:
    """A lead of Germany, unless `told` otherwise."""
    known: Row = {"version": "v1", "grade": "B", "facts": Facts(country="DE"), "reached_at": at}
    return NewLead(at, f"lead{number:06}", told.pop("person_id", f"person{number:06}"), **(known | told))  # fmt: skip


def from_beginning(*reps: Rep) -> list[RepChange]:
    """Reps who were always there."""
    return [RepChange(ALWAYS, each) for each in reps]


@dataclass
class World:
    """All that is ever known in one company."""

    rules: dict[str, Rules]
    changes: list[RepChange]
    absences: dict[str, list[Absence]] = field(default_factory=dict)
    leads: list[NewLead] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)

    def deal(self, until: int, after: int = ALWAYS, kept: Kept | None = None) -> Dealer:
        """What became known in (after, until], dealt."""
        dealer = Dealer(
            self.rules, [each for each in self.changes if each.at <= until], self.absences, kept
        )
        dealer.deal(
            [each for each in self.leads if after < each.at <= until],
            [each for each in self.signals if each.at <= until],
            until,
        )
        dealer.finish()
        return dealer


def told(decisions: list[Decision]) -> list[tuple[Any, ...]]:
    """Decisions as they can be compared, but for when they end."""
    return sorted(
        (
            each.lead_id, each.number, each.rep_id, each.territory, each.pool, each.cause, each.path, each.passed_over,
            each.sla_minutes, each.assigned_at, each.due_at,
        )
        for each in decisions
    )  # fmt: skip


def draw(seed: int, leads: int = 120) -> World:
    """A company of a seed, over twelve days."""
    rng = Random(seed)
    settings: Row = {
        "owners": rng.choice([[], ["account_owner"], ["account_owner", "relationship"]]),
        "sla_clock": rng.choice(["always", "business_hours"]),
        "working_hours": rng.choice(["ignore", "prefer", "require"]),
        "nobody_available": rng.choice(["wait", "fallback"]),
        "shares_over": rng.choice(["available", "everybody"]),
        "no_show_credit": rng.random() < 0.5,
        "capacity": {
            "when_full": rng.choice(["overflow", "wait"]),
            "open_leads": rng.choice([None, None, 6]),
        },
        "reassign": rng.choice([None, {"grace_minutes": rng.choice([0, 30]), "most": rng.choice([1, 2]), "from_owners": rng.random() < 0.5}]),
        "fallback_rep_email": rng.choice([None, "boss@firm.example"]),
        "product_lines": rng.choice([None, {"field": "custom.line", "when_nobody": rng.choice(["anyone", "fallback"])}]),
        "languages": rng.choice([None, {"by_country": {"AT": "de", "FR": "fr"}}]),
        "reps": [{"rep_email": "rep1@firm.example", "languages": ["de", "fr"], "per_day": rng.choice([None, 5])}],
    }  # fmt: skip
    rules = {
        "v1": Rules("v1", policy(**settings)),
        "v2": Rules("v2", policy(**(settings | {"seed": "other", "sla_minutes": 60}))),
    }

    def some_rep(number: int) -> Rep:
        return rep(
            f"rep{number}",
            weight=rng.choice([0.5, 1.0, 2.0]),
            territories=frozenset(rng.sample(["dach", "emea"], rng.choice([0, 1, 1, 2]))),
            product_lines=frozenset(rng.sample(["platform", "services"], rng.choice([0, 1, 2]))),
            capacity=rng.choice([None, 2, 8]),
            time_zone=rng.choice(["Europe/Berlin", "America/New_York", "Asia/Kolkata", None]),
            working_hours=rng.choice(["09:00-17:00", "22:00-06:00", None]),
            is_active=rng.random() < 0.9,
        )

    changes = [RepChange(ALWAYS, some_rep(number)) for number in range(5)]
    changes.append(RepChange(ALWAYS, rep("boss", territories=frozenset())))
    changes += [
        RepChange(START + rng.randrange(12 * DAY), some_rep(rng.randrange(7))) for _ in range(6)
    ]
    absences: dict[str, list[Absence]] = {}
    for _ in range(6):
        starts = START + rng.randrange(12 * DAY)
        known = starts - rng.choice([0, DAY])
        ends = starts + rng.choice([4 * HOUR, 3 * DAY])
        until = rng.choice([NEVER, known + DAY])
        absences.setdefault(f"rep{rng.randrange(6)}", []).append(
            Absence(starts, ends, known, until)
        )
    people = [f"person{number:03}" for number in range(leads)]
    found = []
    for number in range(leads):
        # Many at one instant, as an import brings them.
        at = START + rng.choice([rng.randrange(11 * DAY), DAY, 2 * DAY])
        found.append(
            lead(
                number,
                at,
                person_id=rng.choice(people),
                version=rng.choice(["v1", "v1", "v2"]),
                facts=Facts(
                    country=rng.choice(["DE", "AT", "FR", None]),
                    product_line=rng.choice([None, "Platform", "other"]),
                ),
                account_owner=rng.choice([None, None, "rep2", "boss", "nobody"]),
                relationship=rng.choice([None, None, "rep3"]),
                reached_at=at - rng.choice([0, HOUR, 30 * DAY]),
            )
        )
    signals = [
        Signal(
            at := START + rng.randrange(12 * DAY),
            rng.choice(people),
            rng.choice(["touched", "touched", "answered", "owner", "no_show"]),
            at - rng.choice([0, HOUR, DAY]),
            rng.choice([None, "rep1", "rep4", "nobody"]),
        )
        for _ in range(leads)
    ]
    return World(rules, changes, absences, found, signals)
