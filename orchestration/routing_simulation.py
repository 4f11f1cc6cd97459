"""What routing would do with leads that are not there: the same rules, from how far leads were dealt when the serving file was published; writes
nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from models.policies.lead_routing import RoutingPolicy
from models.policies.load import load_policies
from models.policies.wording import known
from models.routing.dealer import Dealer
from models.routing.leads import Decision, Kept, Load, NewLead, Share
from models.routing.rules import Facts, Rules
from models.routing.tables import rep_change
from models.routing.working_time import NEVER, Absence
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Simulation:
    """Decisions about `count` leads alike that become known at `at`, one after the other; `names` of reps by id."""

    version: str
    at: datetime
    decisions: tuple[Decision, ...]
    names: dict[str, str]


def simulate(
    settings: Settings,
    facts: Facts,
    *,
    grade: str | None = None,
    account: str | None = None,
    version: str | None = None,
    at: datetime | None = None,
    count: int = 1,
) -> Simulation:
    """Route `count` leads with these facts; `account` is the domain of a company that is known, `version` one of the routing policy (default:
    the one that decides, from where its pools stand; another one begins anew). Raises NOT_FOUND for a version or a company nobody knows."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    chosen = version or policies.active["routing"]
    if chosen not in policies.versions["routing"]:
        raise HandoffError(
            "NOT_FOUND",
            f"there is no routing '{chosen}'{known(chosen, policies.versions['routing'])}",
            remedy="Name one of the files under policies/routing.",
        )
    document = policies.versions["routing"][chosen].document
    assert isinstance(document, RoutingPolicy)
    instant = at or datetime.now(UTC)
    us = round(instant.timestamp() * 1_000_000)
    with contextlib.closing(open_serving(settings)) as connection:
        owner = None
        if account is not None:
            company = _company(connection, account)
            owner = company["owner_rep_id"]
            facts = replace(
                facts,
                industry=facts.industry or company["industry"],
                employee_count=facts.employee_count or company["employee_count"],
                country=facts.country or company["country"],
            )
        changes = [rep_change(row.pop("rep_id"), None, **row) for row in _ask(connection, _REPS)]
        absences: dict[str, list[Absence]] = {}
        for rep_id, starts, ends, known_from, known_to in connection.execute(_ABSENCES).fetchall():
            one = Absence(starts, ends, known_from, NEVER if known_to is None else known_to)
            absences.setdefault(rep_id, []).append(one)
        kept = _kept(connection, chosen, us)
    dealer = Dealer({chosen: Rules(chosen, document)}, changes, absences, kept)
    leads = [
        NewLead(us, f"lead{n:06}", f"person{n:06}", chosen, grade, facts, owner, reached_at=us)
        for n in range(count)
    ]
    dealer.deal(leads, [], us)
    names = {change.rep.rep_id: change.rep.name for change in changes}
    return Simulation(chosen, instant, tuple(dealer.decisions), names)


_REPS = """
    select rep_id, name, email, is_active, weight, territories, product_lines, capacity, time_zone, working_hours, working_days
    from marts.dim_reps
"""
_ABSENCES = """
    select rep_id, epoch_us(starts_at), epoch_us(ends_at), epoch_us(known_from), epoch_us(known_to) from marts.fct_rep_absences
"""


def _kept(connection: duckdb.DuckDBPyConnection, version: str, us: int) -> Kept:
    kept = Kept(through=us - 1)
    for pool, rep_id, entitled, had, turns in connection.execute(
        "select pool, rep_id, entitled_turns, had_turns, turn_count from marts.fct_pool_shares where routing_version = $version",
        {"version": version},
    ).fetchall():
        kept.shares.setdefault((version, pool), {})[rep_id] = Share(entitled, had)
        kept.turns[version, pool] = turns
    for row in connection.execute(
        "select rep_id, epoch_us(day_began_at), epoch_us(day_ends_at), lead_count_today, open_lead_count from marts.fct_rep_loads"
    ).fetchall():
        kept.loads[row[0]] = Load(*row[1:])
    return kept


def _company(connection: duckdb.DuckDBPyConnection, domain: str) -> dict[str, Any]:
    found = _ask(
        connection,
        "select owner_rep_id, industry, employee_count, country from marts.dim_accounts where domain = $domain and not is_deleted",
        {"domain": domain.strip().lower()},
    )
    if not found:
        raise HandoffError(
            "NOT_FOUND",
            f"no company is known by the domain '{domain}'",
            remedy='Give one of `handoff query "select domain from marts.dim_accounts limit 5"`.',
        )
    return found[0]


def _ask(
    connection: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    return named_rows(connection.execute(sql, values))
