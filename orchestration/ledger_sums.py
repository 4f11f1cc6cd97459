"""Scores as sums of the ledger, in SQL: of any people, each at an instant of their own; reads nothing."""

from __future__ import annotations


def ledger_sums(entries: str, instant: str) -> str:
    """CTEs of which the last, `summed`, has person_id, engagement, fit and total (all points, none null): decayed to `instant` (SQL over an
    entry), capped by rule, by group and in total. `entries` names the entries that count: rows of marts.fct_score_ledger that had occurred and
    were not withheld by then; who has none has no sum. docs/scoring.md explains the steps."""
    return f"""
    by_rule as (
        select person_id, entry_kind, rule_id, any_value(group_id) as group_id, any_value(group_cap) as group_cap, any_value(cap) as cap,
            any_value(total_cap) as total_cap,
            sum(points * pow(0.5, coalesce(epoch({instant} - occurred_at) / 86400 / half_life_days, 0))) as points
        from {entries}
        where entry_kind <> 'exclusion'
        group by all
    ),
    by_group as (
        select person_id, entry_kind, any_value(total_cap) as total_cap, any_value(group_cap) as cap,
            sum(least(points, coalesce(cap, points))) as points
        from by_rule group by person_id, entry_kind, coalesce(group_id, 'rule ' || rule_id)
    ),
    by_kind as (
        select person_id, any_value(total_cap) as total_cap,
            coalesce(sum(least(points, coalesce(cap, points))) filter (where entry_kind = 'engagement'), 0) as engagement,
            coalesce(sum(least(points, coalesce(cap, points))) filter (where entry_kind = 'fit'), 0) as fit
        from by_group group by person_id
    ),
    summed as (
        select person_id, engagement, fit, least(engagement + fit, coalesce(total_cap, 'infinity'::double)) as total from by_kind
    )
"""
