"""How leads are spread and answered, rep by rep, from the serving file; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ingestion.settings import Settings
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

Row = dict[str, Any]

# Leads by what gave them to the rep, and what became of the deadlines; the first touch by its median.
_REPS = """
    with clocks as (
        select * from marts.fct_sla_clocks
        where assigned_at >= $since::timestamptz
    ),
    counted as (
        select
            rep_id,
            count(*) as leads,
            count(*) filter (where cause in ('account_owner', 'relationship')) as claimed,
            count(*) filter (where cause = 'pool') as dealt,
            count(*) filter (where cause = 'breach') as taken_over,
            count(*) filter (where outcome = 'met') as met,
            count(*) filter (where outcome in ('met', 'late', 'missed')) as due,
            count(*) filter (where outcome = 'missed') as missed,
            count(*) filter (where outcome = 'running') as running,
            median(first_touch_minutes) as first_touch_minutes,
        from clocks
        group by rep_id
    )
    select
        reps.name, reps.email, reps.is_active, reps.territories, reps.weight, reps.capacity,
        coalesce(counted.leads, 0) as leads, coalesce(counted.claimed, 0) as claimed, coalesce(counted.dealt, 0) as dealt,
        coalesce(counted.taken_over, 0) as taken_over, coalesce(counted.met, 0) as met, coalesce(counted.due, 0) as due,
        coalesce(counted.missed, 0) as missed, coalesce(counted.running, 0) as running, counted.first_touch_minutes,
        coalesce(loads.open_lead_count, 0) as open_leads, coalesce(loads.lead_count_today, 0) as leads_today,
        (
            select max(absences.ends_at) from marts.fct_rep_absences as absences
            where absences.rep_id = reps.rep_id and absences.is_known
                and absences.starts_at <= current_timestamp and absences.ends_at > current_timestamp
        ) as away_until
    from marts.dim_reps as reps
    left join counted using (rep_id)
    left join marts.fct_rep_loads as loads using (rep_id)
    where counted.leads > 0 or (reps.is_active and reps.territories <> '[]')
    order by leads desc, reps.name
"""
_SHARES = """
    select shares.routing_version, shares.pool, reps.name, shares.had_turns, shares.entitled_turns, shares.turns_ahead, shares.turn_count
    from marts.fct_pool_shares as shares inner join marts.dim_reps as reps using (rep_id)
    where shares.turn_count > 0
    order by shares.routing_version, shares.pool, reps.name
"""
_WAITING = """
    select assignments.person_id, assignments.territory, assignments.cause, assignments.assigned_at, assignments.reason_path
    from marts.fct_assignments as assignments
    where assignments.is_current and assignments.rep_id is null
    order by assignments.assigned_at
"""


@dataclass(frozen=True, slots=True)
class RoutingFigures:
    """Rows of reps and of pools, and leads nobody has; of leads since `since`."""

    since: datetime
    reps: list[Row]
    shares: list[Row]
    waiting: list[Row]

    @property
    def furthest_off(self) -> float:
        """Most turns anybody is ahead or behind of what they were entitled to."""
        return max((abs(row["turns_ahead"]) for row in self.shares), default=0.0)

    def as_dict(self) -> Row:
        """JSON-ready."""
        return {**asdict(self), "furthest_off": self.furthest_off}


def routing_figures(settings: Settings, since: datetime) -> RoutingFigures:
    """What there is to say of leads assigned since then."""
    with contextlib.closing(open_serving(settings)) as connection:
        return RoutingFigures(
            since,
            named_rows(connection.execute(_REPS, {"since": since})),
            named_rows(connection.execute(_SHARES)),
            named_rows(connection.execute(_WAITING)),
        )
