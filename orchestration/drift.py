"""Counts two windows of new people from the published file and has the change of their MQLs explained; how causes are told apart stands in
`models.drift`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ingestion.settings import Settings
from models.drift.diagnosis import Diagnosis, RuleChange, Window, diagnose
from models.policies.documents import KpiPolicy
from models.policies.load import load_policies
from orchestration.serving import open_serving

if TYPE_CHECKING:
    import duckdb

# Days a person has to become an MQL in: windows end so long before the instant that everybody in them has had theirs.
HORIZON_DAYS = 14

# Kinds of which another version makes other MQLs of the same history.
_DECIDING = ("identity", "accounts", "consent", "scoring")

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
# The newest version of each kind that came into use since, and the one before it.
_CHANGED = """
    with used as (
        select kind, version, first_used_at, lag(version) over (partition by kind order by first_used_at) as former
        from ops.policies_used
    )
    select kind, former, version from used
    where former is not null and first_used_at > $start::timestamptz and first_used_at <= $as_of::timestamptz
    qualify row_number() over (partition by kind order by first_used_at desc) = 1
    order by kind
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """Two windows of `days` each, the current one from `since` to `until`, and what tells them apart."""

    since: datetime
    until: datetime
    days: int
    before: Window
    now: Window
    diagnosis: Diagnosis

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **asdict(self),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
        }


def find_drift(
    settings: Settings,
    *,
    days: int | None = None,
    as_of: datetime | None = None,
    with_replay: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Drift:
    """Compare new people of the last `days` (those who have had HORIZON_DAYS by `as_of`) with those of as many days before; default what the
    KPI policy calls the drift window.

    Where a policy has changed since, history is replayed under the former version (`with_replay`), which tells exactly what the new one
    does. Raises what `open_serving` and `replay` raise.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    kpi = policies.deciding("kpi").document
    assert isinstance(kpi, KpiPolicy)
    days = days or round(kpi.drift_window_days)
    instant = as_of or datetime.now(UTC)
    until = (instant - timedelta(days=HORIZON_DAYS)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    since = until - timedelta(days=days)
    with contextlib.closing(open_serving(settings)) as connection:
        before = _window(connection, since - timedelta(days=days), since)
        now = _window(connection, since, until)
        changed = [
            row
            for row in connection.execute(_CHANGED, {"start": since, "as_of": instant}).fetchall()
            if row[0] in _DECIDING
        ]
        people = {
            person: seen
            for person, seen in connection.execute(
                "select person_id, first_seen_at from marts.dim_people "
                "where first_seen_at >= ?::timestamptz and first_seen_at < ?::timestamptz",
                [since, until],
            ).fetchall()
        }
    rules = None
    if changed and with_replay:
        rules = _rules(settings, changed, people, since, instant, progress)
    return Drift(
        since,
        until,
        days,
        before,
        now,
        diagnose(before, now, rules, minimum_sample=kpi.minimum_sample),
    )


def _window(connection: duckdb.DuckDBPyConnection, start: datetime, until: datetime) -> Window:
    bounds = {"start": start, "until": until}
    [(records, joined)] = connection.execute(_RECORDS, bounds).fetchall()
    leads = connection.execute(_LEADS, {**bounds, "horizon": HORIZON_DAYS}).fetchall()
    [(received, refused)] = connection.execute(_EVENTS, bounds).fetchall()
    return Window(
        records=records,
        joined=joined,
        leads={source: count for source, count, _ in leads},
        mqls={source: count for source, _, count in leads},
        received=int(received),
        refused=int(refused),
        daily_records=tuple(count for (count,) in connection.execute(_DAILY, bounds).fetchall()),
    )


def _rules(
    settings: Settings,
    changed: list[tuple[str, str, str]],
    people: dict[str, datetime],
    since: datetime,
    as_of: datetime,
    progress: Callable[[str], None],
) -> RuleChange:
    """Who of the people of now is an MQL in time by the versions of now, and by the former ones."""
    from orchestration.policy_replay import State, replay

    former = {kind: version for kind, version, _ in changed}
    told = replay(settings, former, since=since, as_of=as_of, progress=progress)

    def reached(state: State) -> set[str]:
        return {
            lead["person_id"]
            for lead in state.leads
            if lead["place"] == 1
            and lead["person_id"] in people
            and lead["reached_at"] < people[lead["person_id"]] + timedelta(days=HORIZON_DAYS)
        }

    by_now, by_former = reached(told.before), reached(told.after)
    return RuleChange(
        ", ".join(f"{kind} {version} → {new}" for kind, version, new in changed),
        only_now=len(by_now - by_former),
        only_former=len(by_former - by_now),
    )
