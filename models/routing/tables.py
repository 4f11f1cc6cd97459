"""Routing over Arrow: rows of the warehouse in, rows out; the types of both are said once, here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from models.routing.dealer import Dealer
from models.routing.directory import Rep, RepChange
from models.routing.leads import Kept, KeptLead, Load, NewLead, Share, Signal, Written
from models.routing.rules import Facts, Rules
from models.routing.working_time import ALWAYS, NEVER, WORKDAYS, Absence

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, str]

RULES: Columns = {"version": "VARCHAR", "document": "VARCHAR"}
REPS: Columns = {
    "rep_id": "VARCHAR",
    "valid_from_us": "BIGINT",
    "name": "VARCHAR",
    "email": "VARCHAR",
    "is_active": "BOOLEAN",
    "weight": "DOUBLE",
    "territories": "VARCHAR",
    "product_lines": "VARCHAR",
    "capacity": "BIGINT",
    "time_zone": "VARCHAR",
    "working_hours": "VARCHAR",
    "working_days": "VARCHAR",
}
ABSENCES: Columns = {
    "rep_id": "VARCHAR",
    "starts_us": "BIGINT",
    "ends_us": "BIGINT",
    "known_from_us": "BIGINT",
    "known_to_us": "BIGINT",
}
LEADS: Columns = {
    "lead_id": "VARCHAR",
    "person_id": "VARCHAR",
    "routing_version": "VARCHAR",
    "grade": "VARCHAR",
    "country": "VARCHAR",
    "region": "VARCHAR",
    "postal_code": "VARCHAR",
    "industry": "VARCHAR",
    "employee_count": "BIGINT",
    "product_line": "VARCHAR",
    "language": "VARCHAR",
    "account_owner_rep_id": "VARCHAR",
    "relationship_rep_id": "VARCHAR",
    "written": "STRUCT(number BIGINT, rep_id VARCHAR, planned_us BIGINT)[]",
    "is_erased": "BOOLEAN",
    "told_pool": "VARCHAR",
    "told_rep_id": "VARCHAR",
    "reached_us": "BIGINT",
    "known_us": "BIGINT",
    "facts_hash": "UBIGINT",
}
SIGNALS: Columns = {
    "person_id": "VARCHAR",
    "kind": "VARCHAR",
    "rep_id": "VARCHAR",
    "occurred_us": "BIGINT",
    "known_us": "BIGINT",
}
SHARES: Columns = {
    "routing_version": "VARCHAR",
    "pool": "VARCHAR",
    "rep_id": "VARCHAR",
    "entitled": "DOUBLE",
    "had": "DOUBLE",
    "turn_count": "BIGINT",
}
LOADS: Columns = {
    "rep_id": "VARCHAR",
    "day_begins_us": "BIGINT",
    "day_ends_us": "BIGINT",
    "day_count": "BIGINT",
    "open_count": "BIGINT",
}
KEPT_LEADS: Columns = {
    "lead_id": "VARCHAR",
    "person_id": "VARCHAR",
    "routing_version": "VARCHAR",
    "known_us": "BIGINT",
    "reached_us": "BIGINT",
    "facts_hash": "UBIGINT",
    "territory": "VARCHAR",
    "pool": "VARCHAR",
    "has_turn": "BOOLEAN",
    "rep_id": "VARCHAR",
    "number": "BIGINT",
    "cause": "VARCHAR",
    "sla_minutes": "BIGINT",
    "assigned_us": "BIGINT",
    "due_us": "BIGINT",
    "timer_us": "BIGINT",
    "reassigned": "BIGINT",
    "tried": "VARCHAR[]",
    "is_answered": "BOOLEAN",
    "is_credited": "BOOLEAN",
    "is_waiting": "BOOLEAN",
    "path": "VARCHAR[]",
}
DECISIONS: Columns = {
    "lead_id": "VARCHAR",
    "number": "BIGINT",
    "rep_id": "VARCHAR",
    "routing_version": "VARCHAR",
    "territory": "VARCHAR",
    "pool": "VARCHAR",
    "cause": "VARCHAR",
    "path": "VARCHAR[]",
    "passed_over": "VARCHAR",
    "sla_minutes": "BIGINT",
    "assigned_us": "BIGINT",
    "due_us": "BIGINT",
    "superseded_us": "BIGINT",
}

ARGUMENTS = (RULES, REPS, ABSENCES, LEADS, SIGNALS, SHARES, LOADS, KEPT_LEADS)
OUTCOMES = {"decisions": DECISIONS, "shares": SHARES, "loads": LOADS, "leads": KEPT_LEADS}


def rows_type(columns: Columns) -> str:
    """DuckDB's type of a list of such rows."""
    return f"STRUCT({', '.join(f'{name} {kind}' for name, kind in columns.items())})[]"


def outcome_type() -> str:
    """DuckDB's type of what `route_leads` gives."""
    parts = [f"{name} {rows_type(columns)}" for name, columns in OUTCOMES.items()]
    return f"STRUCT({', '.join(parts)}, through BIGINT)"


def route_leads(
    rules: Any,
    reps: Any,
    absences: Any,
    leads: Any,
    signals: Any,
    shares: Any,
    loads: Any,
    kept_leads: Any,
    through: Any,
    until: Any,
) -> Any:
    """`Dealer` as a function of DuckDB (Arrow, one row): each argument a list of rows as above; `through` null deals everything anew.

    DuckDB evaluates the annotations: they may name nothing that is imported for types alone.
    """
    started = through[0].as_py()
    kept = None
    if started is not None:
        kept = Kept(started)
        _fill(kept, shares, loads, kept_leads)
    by_rep: dict[str, list[Absence]] = {}
    for rep_id, starts, ends, known_from, known_to in _rows(absences, ABSENCES):
        one = Absence(starts, ends, known_from, NEVER if known_to is None else known_to)
        by_rep.setdefault(rep_id, []).append(one)
    dealer = Dealer(
        {version: Rules.read(version, document) for version, document in _rows(rules, RULES)},
        [rep_change(*row) for row in _rows(reps, REPS)],
        by_rep,
        kept,
    )
    dealer.deal(
        (_lead(*row) for row in _rows(leads, LEADS)),
        (
            Signal(known, person_id, kind, occurred, rep_id)
            for person_id, kind, rep_id, occurred, known in _rows(signals, SIGNALS)
        ),
        until[0].as_py(),
    )
    return _outcome(dealer, dealer.finish())


def rep_change(
    rep_id: str,
    valid_from: int | None,
    name: str,
    email: str | None,
    is_active: bool,
    weight: float,
    territories: str,
    product_lines: str,
    capacity: int | None,
    time_zone: str | None,
    working_hours: str | None,
    working_days: str | None,
) -> RepChange:
    """A row of int_reps__versions."""
    rep = Rep(
        rep_id=rep_id,
        name=name,
        email=email,
        is_active=is_active,
        weight=weight,
        territories=frozenset(json.loads(territories)),
        product_lines=frozenset(json.loads(product_lines)),
        capacity=capacity,
        time_zone=time_zone,
        working_hours=working_hours,
        working_days=tuple(json.loads(working_days)) if working_days else WORKDAYS,
    )
    return RepChange(ALWAYS if valid_from is None else valid_from, rep)


def _lead(
    lead_id: str,
    person_id: str,
    version: str,
    grade: str | None,
    country: str | None,
    region: str | None,
    postal_code: str | None,
    industry: str | None,
    employee_count: int | None,
    product_line: str | None,
    language: str | None,
    account_owner: str | None,
    relationship: str | None,
    written: list[Mapping[str, Any]] | None,
    is_erased: bool,
    told_pool: str | None,
    told_rep: str | None,
    reached: int,
    known: int,
    facts_hash: int,
) -> NewLead:
    return NewLead(
        at=known,
        lead_id=lead_id,
        person_id=person_id,
        version=version,
        grade=grade,
        facts=Facts(country, region, postal_code, industry, employee_count, product_line, language),
        account_owner=account_owner,
        relationship=relationship,
        written=tuple(
            Written(one["number"], one["rep_id"], one["planned_us"]) for one in written or ()
        ),
        is_erased=is_erased,
        told_pool=told_pool,
        told_rep=told_rep,
        reached_at=reached,
        facts_hash=facts_hash,
    )


def _fill(kept: Kept, shares: Any, loads: Any, kept_leads: Any) -> None:
    for version, pool, rep_id, entitled, had, turns in _rows(shares, SHARES):
        kept.shares.setdefault((version, pool), {})[rep_id] = Share(entitled, had)
        kept.turns[version, pool] = turns
    for rep_id, begins, ends, count, open_count in _rows(loads, LOADS):
        kept.loads[rep_id] = Load(begins, ends, count, open_count)
    for row in _rows(kept_leads, KEPT_LEADS):
        named = dict(zip(KEPT_LEADS, row, strict=True))
        lead = KeptLead(
            lead_id=named["lead_id"],
            person_id=named["person_id"],
            version=named["routing_version"],
            known_at=named["known_us"],
            reached_at=named["reached_us"],
            facts_hash=named["facts_hash"],
            territory=named["territory"],
            pool=named["pool"],
            has_turn=named["has_turn"],
            rep_id=named["rep_id"],
            number=named["number"],
            cause=named["cause"],
            sla_minutes=named["sla_minutes"],
            assigned_at=named["assigned_us"],
            due_at=named["due_us"],
            timer_at=named["timer_us"],
            reassigned=named["reassigned"],
            tried=tuple(named["tried"]),
            is_answered=named["is_answered"],
            is_credited=named["is_credited"],
            is_waiting=named["is_waiting"],
            path=tuple(named["path"]),
        )
        kept.leads[lead.lead_id] = lead


def _rows(rows: Any, columns: Columns) -> Iterator[tuple[Any, ...]]:
    """The rows of an argument, each as a tuple in the order of `columns`."""
    array = rows.combine_chunks() if hasattr(rows, "combine_chunks") else rows
    flat = array.flatten()
    return zip(*(flat.field(place).to_pylist() for place in range(len(columns))), strict=True)


def _outcome(dealer: Dealer, kept: Kept) -> pa.Array:
    import pyarrow as pa

    decisions = dealer.decisions
    leads = list(kept.leads.values())
    shares = [
        (version, pool, rep_id, share, kept.turns.get((version, pool), 0))
        for (version, pool), reps in kept.shares.items()
        for rep_id, share in reps.items()
    ]
    made: dict[str, list[list[Any]]] = {
        "decisions": [
            [each.lead_id for each in decisions],
            [each.number for each in decisions],
            [each.rep_id for each in decisions],
            [each.version for each in decisions],
            [each.territory for each in decisions],
            [each.pool for each in decisions],
            [each.cause for each in decisions],
            [each.path for each in decisions],
            [each.passed_over for each in decisions],
            [each.sla_minutes for each in decisions],
            [each.assigned_at for each in decisions],
            [each.due_at for each in decisions],
            [each.superseded_at for each in decisions],
        ],
        "shares": [
            [row[0] for row in shares],
            [row[1] for row in shares],
            [row[2] for row in shares],
            [row[3].entitled for row in shares],
            [row[3].had for row in shares],
            [row[4] for row in shares],
        ],
        "loads": [
            list(kept.loads),
            [load.day_begins for load in kept.loads.values()],
            [load.day_ends for load in kept.loads.values()],
            [load.day_count for load in kept.loads.values()],
            [load.open_count for load in kept.loads.values()],
        ],
        "leads": [
            [each.lead_id for each in leads],
            [each.person_id for each in leads],
            [each.version for each in leads],
            [each.known_at for each in leads],
            [each.reached_at for each in leads],
            [each.facts_hash for each in leads],
            [each.territory for each in leads],
            [each.pool for each in leads],
            [each.has_turn for each in leads],
            [each.rep_id for each in leads],
            [each.number for each in leads],
            [each.cause for each in leads],
            [each.sla_minutes for each in leads],
            [each.assigned_at for each in leads],
            [each.due_at for each in leads],
            [each.timer_at for each in leads],
            [each.reassigned for each in leads],
            [each.tried for each in leads],
            [each.is_answered for each in leads],
            [each.is_credited for each in leads],
            [each.is_waiting for each in leads],
            [each.path for each in leads],
        ],
    }
    parts = []
    for name, columns in OUTCOMES.items():
        arrays = [
            pa.array(values, type=_arrow(kind))
            for values, kind in zip(made[name], columns.values(), strict=True)
        ]
        flat = pa.StructArray.from_arrays(arrays, names=list(columns))
        parts.append(pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat))
    through = pa.array([kept.through], pa.int64())
    return pa.StructArray.from_arrays([*parts, through], names=[*OUTCOMES, "through"])


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    return {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "UBIGINT": pa.uint64(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "VARCHAR[]": pa.list_(pa.string()),
    }[kind]
