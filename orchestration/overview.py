"""The figures of the first screen, each one query on the serving file; shown by the CLI, computed by the marts."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

from ingestion.settings import Settings
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

Row = dict[str, Any]

KPI_TITLES = {
    "lead_ingestion_latency": ("form submit → confirmed CRM lead", "s"),
    "event_delivery_success": ("events and pushes delivered", "%"),
    "duplicate_rate": ("records that were duplicates", "%"),
    "merge_correction_rate": ("links people had to correct", "%"),
    "scoring_drift": ("MQLs against expected", "x"),
    "mql_to_sql_acceptance": ("MQLs accepted by sales", "%"),
    "time_to_first_touch": ("MQL to first touch", "h"),
    "meeting_no_show_rate": ("meetings nobody came to", "%"),
}

# The rows of one KPI are in several dimensions; each belongs to one of the six of the design.
KPI_GROUPS = (
    ("lead_ingestion_latency",),
    ("event_delivery_success",),
    ("duplicate_rate", "merge_correction_rate"),
    ("scoring_drift",),
    ("mql_to_sql_acceptance", "time_to_first_touch"),
    ("meeting_no_show_rate",),
)


def funnel(settings: Settings) -> list[tuple[str, int]]:
    """Activities → people → MQL → owned → meeting → won, as counts."""
    [row] = _ask(
        settings,
        """
        select
            (select count(*) from marts.fct_activities) as activities,
            (select count(*) from marts.dim_people where not is_deleted) as people,
            (select count(distinct person_id) from marts.fct_mqls) as mqls,
            (select count(distinct person_id) from marts.fct_assignments where rep_id is not null) as owned,
            (select count(distinct meetings.person_id) from marts.fct_meetings as meetings
                join marts.fct_mqls as mqls using (person_id) where meetings.status in ('booked', 'rescheduled', 'held')) as meeting,
            (select count(distinct won.person_id) from marts.fct_opportunities as won join marts.fct_meetings as meetings using (person_id)
                join marts.fct_mqls as mqls using (person_id)
                where won.is_won and not won.is_deleted and meetings.status in ('booked', 'rescheduled', 'held')) as won
        """,
    )
    return [
        (name, int(row[name]))
        for name in ("activities", "people", "mqls", "owned", "meeting", "won")
    ]


def newest_mqls(settings: Settings, limit: int) -> list[Row]:
    """The newest MQLs with their reasons, owner and SLA."""
    rows = _ask(
        settings,
        f"""
        select
            coalesce(nullif(concat_ws(' ', people.first_name, people.last_name), ''), people.email) as name,
            people.email, people.company, mqls.score, mqls.grade, mqls.reasons, mqls.scoring_version, mqls.reached_at,
            reps.name as owner, reps.time_zone, assignments.territory, assignments.sla_due_at
        from marts.fct_mqls as mqls
        join marts.dim_people as people using (person_id)
        left join marts.fct_assignments as assignments on mqls.mql_id = assignments.mql_id and assignments.is_current
        left join marts.dim_reps as reps on assignments.rep_id = reps.rep_id
        order by mqls.reached_at desc, mqls.mql_id
        limit {int(limit)}
        """,
    )
    return [{**row, "reasons": json.loads(row["reasons"])} for row in rows]


def latency(settings: Settings, since: datetime | None = None) -> list[Row]:
    """Seconds of each stage from form submit to confirmed lead, over the submits received from `since` on.

    One row per stage with `stage`, `count` and the percentiles `p50`, `p95` and `p99`; the last two stages are the whole way, to the lead and
    to its task. Empty when nothing was handed over.
    """
    stages = (
        ("accepted → landed", "landing_seconds"),
        ("landed → decided and planned", "decision_seconds"),
        ("planned → sent", "queue_seconds"),
        ("sent → confirmed in the CRM", "confirmation_seconds"),
        ("form submit → confirmed lead", "lead_seconds"),
        ("form submit → confirmed task", "task_seconds"),
    )
    percentiles = ", ".join(
        f"quantile_cont({{column}}, {share}) as p{round(share * 100)}"
        for share in (0.5, 0.95, 0.99)
    )
    return [
        {"stage": stage, **row}
        for stage, column in stages
        for row in _ask(
            settings,
            f"select count({column}) as count, {percentiles.format(column=column)} "
            "from marts.fct_handoff_latency where received_at >= $since::timestamptz "
            f"having count({column}) > 0",
            {"since": since or datetime.fromtimestamp(0, UTC)},
        )
    ]


def kpis(settings: Settings) -> list[Row]:
    """Each KPI over all days and its main dimension: numerator, denominator, the fewest cases that say something, and the value if there
    are as many."""
    return _ask(
        settings,
        """
        select
            kpi, sum(numerator) as numerator, sum(denominator) as denominator, max(minimum_sample) as minimum_sample,
            case when sum(denominator) >= max(minimum_sample) then sum(numerator) / sum(denominator) end as value
        from marts.fct_kpis_daily
        group by kpi
        """,
    )


def quarantined(settings: Settings) -> list[Row]:
    """What was not accepted, by code, with the newest example's reason."""
    return _ask(
        settings,
        """
        select code, count(*) as count, any_value(event_type) as event_type, arg_max(message, quarantine_id) as message
        from (
            select code, event_type, message, quarantine_id from ops.quarantine
            union all
            select
                code, 'ad_spend' as event_type, concat_ws(': ', file || ', line ' || line, message) as message,
                0 as quarantine_id
            from ops.ad_spend_refusals
        ) as refused
        group by code
        order by count desc, code
        """,
    )


def held_back(settings: Settings) -> list[Row]:
    """Owned MQLs that are not pushed for want of consent."""
    return _ask(
        settings,
        """
        select consent_state, count(*) as count
        from ops.consent_holds
        group by consent_state
        order by consent_state
        """,
    )


def push_outcomes(settings: Settings) -> list[Row]:
    """What the destinations answered, by object and status."""
    return _ask(
        settings,
        "select system, object, status, count(*) as count from marts.fct_pushes group by all order by all",
    )


def _ask(settings: Settings, sql: str, values: Row | None = None) -> list[Row]:
    with contextlib.closing(open_serving(settings)) as connection:
        return named_rows(connection.execute(sql, values))
