"""Counts windows of new people, and what they did and scored, from the published file; compares nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from models.drift.diagnosis import Carried, Window
from models.drift.distributions import Sample, subjects
from models.policies.documents import ScoringPolicy
from orchestration.ledger_sums import ledger_sums

if TYPE_CHECKING:
    import duckdb

# Days a person has to become an MQL in: windows end so long before the instant that everybody in them has had theirs.
HORIZON_DAYS = 14

# Fields that rules can ask about, and what says that they are known of somebody. The first source is what people are told apart by.
_FIELDS = {
    "job_title": "people.job_title",
    "country": "people.country",
    "region": "people.region",
    "company": "people.company",
    "email_domain": "people.email",
    "latest_source": "people.latest_source",
    "industry": "accounts.industry",
    "employee_count": "accounts.employee_count",
    "annual_revenue_usd": "accounts.annual_revenue_usd",
}
_RECORDS = """
    with records as (
        select valid_from, row_number() over (partition by person_id order by valid_from, record_key) > 1 as is_joined
        from marts.entity_map
        where is_current and person_id is not null and record_type not in ('email', 'visitor')
    )
    select count(*), count(*) filter (where is_joined) from records
    where valid_from >= $start::timestamptz and valid_from < $until::timestamptz
"""
_DAILY = """
    with days as (
        select unnest(generate_series($start::timestamptz, $until::timestamptz - interval 1 day, interval 1 day)) as day
    )
    select count(records.record_key) from days
    left join marts.entity_map as records
        on records.is_current and records.person_id is not null and records.record_type not in ('email', 'visitor')
        and records.valid_from >= days.day and records.valid_from < days.day + interval 1 day
    group by days.day order by days.day
"""
_LEADS = """
    select coalesce(people.original_source, ''), count(*),
        count(*) filter (where mqls.reached_at < people.first_seen_at + to_days($horizon))
    from marts.dim_people as people
    left join marts.fct_mqls as mqls on people.person_id = mqls.person_id and mqls.crossing_number = 1
    where people.first_seen_at >= $start::timestamptz and people.first_seen_at < $until::timestamptz
    group by all order by all
"""
_EVENTS = """
    select coalesce(sum(received_count), 0), coalesce(sum(rejected_count), 0) from marts.fct_event_acceptance
    where received_hour_at >= $start::timestamptz and received_hour_at < $until::timestamptz
"""
_FILLED = """
    select coalesce(people.original_source, ''), {counts}
    from marts.dim_people as people
    left join marts.dim_accounts as accounts on people.account_id = accounts.account_id
    where people.first_seen_at >= $start::timestamptz and people.first_seen_at < $until::timestamptz
    group by all
"""
# What each field of a person gave at the crossing, beside the score.
_CARRIED = """
    with mqls as (
        select mqls.* from marts.fct_mqls as mqls
        inner join marts.dim_people as people on mqls.person_id = people.person_id
        where mqls.crossing_number = 1 and people.first_seen_at >= $start::timestamptz and people.first_seen_at < $until::timestamptz
            and mqls.reached_at < people.first_seen_at + to_days($horizon)
    ),
    given as (
        select mqls.mql_id, ledger.attribute, sum(ledger.points) as points
        from mqls
        inner join marts.fct_score_ledger as ledger
            on mqls.person_id = ledger.person_id and mqls.scoring_version = ledger.scoring_version and ledger.entry_kind = 'fit'
        group by all
    )
    select any_value(mqls.scoring_version), any_value(mqls.score),
        list((given.attribute, given.points) order by given.attribute) filter (where given.attribute is not null)
    from mqls left join given on mqls.mql_id = given.mql_id
    group by mqls.mql_id
"""
# Everybody at the same age, as points fade: what had counted by the end of their days.
_COUNTED = """
    with people as (
        select person_id, first_seen_at >= $since::timestamptz as is_now, first_seen_at + to_days($horizon) as at_age
        from marts.dim_people
        where first_seen_at >= $start::timestamptz and first_seen_at < $until::timestamptz
    ),
    counted as (
        select people.is_now, people.at_age, ledger.* from people
        inner join marts.fct_score_ledger as ledger on people.person_id = ledger.person_id
        where ledger.occurred_at <= people.at_age and coalesce(ledger.withheld_at > people.at_age, true)
    )
"""
_SCORED = f"""
    {_COUNTED}, {ledger_sums("counted", "at_age")}
    select people.is_now, coalesce(summed.engagement, 0), coalesce(summed.fit, 0), coalesce(summed.total, 0)
    from people left join summed on people.person_id = summed.person_id
    order by people.person_id
"""
_MET = f"""
    {_COUNTED}
    select rule_id, arg_max(label, occurred_at), count(distinct person_id) filter (where not is_now), count(distinct person_id) filter (where is_now)
    from counted group by rule_id order by rule_id
"""
_SCORES = ("engagement", "fit", "total")
_MET_CELL, _NOT_MET_CELL = "met by", "not met by"


def count_window(
    connection: duckdb.DuckDBPyConnection,
    scoring: Mapping[str, ScoringPolicy],
    start: datetime,
    until: datetime,
) -> Window:
    """New people from `start` to `until`; `scoring` are the policy's versions by name."""
    bounds: dict[str, Any] = {"start": start, "until": until}
    aged = {**bounds, "horizon": HORIZON_DAYS}
    [(records, joined)] = connection.execute(_RECORDS, bounds).fetchall()
    leads = connection.execute(_LEADS, aged).fetchall()
    [(received, refused)] = connection.execute(_EVENTS, bounds).fetchall()
    fields = _fields_of_rules(scoring)
    return Window(
        records=records,
        joined=joined,
        leads={source: count for source, count, _ in leads},
        mqls={source: count for source, _, count in leads},
        received=int(received),
        refused=int(refused),
        daily_records=tuple(count for (count,) in connection.execute(_DAILY, bounds).fetchall()),
        filled=_filled(connection, fields, bounds),
        carried=_carried(connection, scoring, aged),
    )


def _fields_of_rules(scoring: Mapping[str, ScoringPolicy]) -> tuple[str, ...]:
    asked = {rule.attribute for policy in scoring.values() for rule in policy.fit}
    return tuple(name for name in _FIELDS if name in asked)


def _filled(
    connection: duckdb.DuckDBPyConnection, fields: tuple[str, ...], bounds: Mapping[str, Any]
) -> dict[str, dict[str, int]]:
    if not fields:
        return {}
    counts = ", ".join(f"count({_FIELDS[name]})" for name in fields)
    rows = connection.execute(_FILLED.format(counts=counts), bounds).fetchall()
    return {
        name: {source: counted[place] for source, *counted in rows}
        for place, name in enumerate(fields)
    }


def _carried(
    connection: duckdb.DuckDBPyConnection,
    scoring: Mapping[str, ScoringPolicy],
    aged: Mapping[str, Any],
) -> tuple[tuple[Carried, int], ...]:
    counted = Counter(
        Carried(round(score - scoring[version].mql_threshold, 6), tuple(points or ()))
        for version, score, points in connection.execute(_CARRIED, aged).fetchall()
        if version in scoring
    )
    return tuple(sorted(counted.items(), key=lambda pair: (pair[0].above, pair[0].points)))


def scores_and_rules(
    connection: duckdb.DuckDBPyConnection, start: datetime, since: datetime, until: datetime
) -> tuple[Sample, ...]:
    """What people first seen from `since` to `until`, and those from `start` to `since`, scored at HORIZON_DAYS, and which rules they met by then."""
    bounds = {"start": start, "since": since, "until": until, "horizon": HORIZON_DAYS}
    rows = np.asarray(connection.execute(_SCORED, bounds).fetchall(), dtype=np.float64)
    rows = rows.reshape(-1, 1 + len(_SCORES))
    before, now = rows[rows[:, 0] == 0], rows[rows[:, 0] == 1]
    people = (len(before), len(now))
    scores = [
        Sample(f"{name} score", before[:, place], now[:, place])
        for place, name in enumerate(_SCORES, start=1)
    ]
    met_by = connection.execute(_MET, bounds).fetchall()
    names = subjects("rule", {rule_id: label for rule_id, label, *_ in met_by})
    rules = [
        Sample(
            names[rule_id],
            *(
                {_MET_CELL: met, _NOT_MET_CELL: everybody - met}
                for met, everybody in zip(by, people, strict=True)
            ),
        )
        for rule_id, _, *by in met_by
    ]
    return (*scores, *rules)
