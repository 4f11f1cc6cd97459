"""Everybody's score at an instant as one query over the activities, no ledger between: what an analyst would write who has to explain nothing."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

_LISTED = ("id", "type", "url", "form", "campaign", "points", "cap", "life", "once")
# What consent withholds, by the refusals as they are resolved: of some types while it stood, or everything for good.
_OF_TYPE = """(activity_types is null or list_contains(from_json(activity_types, '["VARCHAR"]'), activities.activity_type))"""
_WHILE = "(coalesce(from_at <= activities.occurred_at, true) and coalesce(activities.occurred_at < until_at, true))"
_FOR_GOOD = "(covers = 'everything' and until_at is null)"


def one_pass(connection: Any, instant: datetime, whom: str = "true") -> str:
    """SQL that selects person_id, engagement_score, fit_score and total_score at `instant` of people for whom `whom` (over `person_id`) holds.

    It knows rules with decay, caps and once-only, and nothing that the policy shipped does not use: raises AssertionError where the policy
    in use has groups or cooldowns.
    """
    rules = [
        dict(zip(_LISTED, row, strict=True))
        for row in connection.execute(
            "select rule_id, activity_type, url_pattern, form_pattern, campaign_pattern, points, cap,"
            " half_life_days, once from raw_policies.scoring_rules"
            " where is_active and kind = 'engagement'"
        ).fetchall()
    ]
    [(unknown,)] = connection.execute(
        "select count(*) from raw_policies.scoring_rules"
        " where is_active and (group_id is not null or cooldown_hours is not null)"
    ).fetchall()
    if unknown:
        raise AssertionError(f"{unknown} rules have a group or a cooldown, which one pass does not")
    at = f"timestamptz '{instant.isoformat()}'"
    sums = []
    for rule in rules:
        matches = [f"activity_type = '{rule['type']}'"]
        for column, name in (("url", "url"), ("form_id", "form"), ("campaign_id", "campaign")):
            if rule[name]:
                matches.append(f"regexp_matches({column}, '{rule[name]}')")
        points = f"{rule['points']}"
        if rule["life"]:
            points += (
                f" * pow(0.5, (epoch_us({at}) - epoch_us(occurred_at)) / 86.4e9 / {rule['life']})"
            )
        # Of once-only rules the first counts, which is worth least by now.
        kind = "min" if rule["once"] else "sum"
        total = f"coalesce({kind}({points}) filter (where {' and '.join(matches)}), 0)"
        sums.append(f"least({total}, {rule['cap']})" if rule["cap"] else total)
    return (
        "with engagement as ("
        f"select person_id, {' + '.join(sums)} as engagement_score"
        f" from marts.fct_activities as activities where occurred_at <= {at} and {whom}"
        f" and {_not_refused('activities', f'{_OF_TYPE} and ({_WHILE} or {_FOR_GOOD})', at)} group by person_id),"
        f" fit as (select person_id, {_fit(connection)} as fit_score from marts.dim_people"
        " left join intermediate.int_accounts__grouped as accounts using (account_id)"
        f" where first_seen_at <= {at} and {whom} and {_not_refused('dim_people', _FOR_GOOD, at)})"
        " select person_id, coalesce(engagement_score, 0) as engagement_score, coalesce(fit_score, 0) as fit_score,"
        " least(coalesce(engagement_score, 0) + coalesce(fit_score, 0), versions.total_cap) as total_score"
        " from fit full join engagement using (person_id)"
        " cross join (from raw_policies.scoring_versions where is_active) as versions"
    )


def _not_refused(relation: str, condition: str, at: str) -> str:
    return (
        "not exists (select 1 from intermediate.int_consents__score_refusals as refusals"
        f" where refusals.person_id = {relation}.person_id and {condition} and coalesce(from_at <= {at}, true))"
    )


def _fit(connection: Any) -> str:
    """Fit points of a person as one expression of SQL."""
    values = {"email_domain": "split_part(lower(email), '@', 2)"} | {
        column: f"accounts.{column}" for column in ("industry", "employee_count", "annual_revenue_usd")
    } | {column: f"dim_people.{column}" for column in ("country", "region")}  # fmt: skip
    cases = []
    for attribute, operator, value, points in connection.execute(
        "select attribute, operator, value, points from raw_policies.scoring_rules"
        " where is_active and kind = 'fit'"
    ).fetchall():
        column = values.get(attribute, attribute)
        listed = (
            ", ".join(f"'{one.lower()}'" for one in json.loads(value)) if operator == "in" else ""
        )
        test = {
            "equals": f"lower({column}) = lower('{value}')",
            "in": f"lower({column}) in ({listed})",
            "matches": f"regexp_matches({column}, '{value}')",
            "at_least": f"try_cast({column} as double) >= {value}",
            "present": f"{column} is not null",
        }[operator]
        cases.append(f"case when {test} then {points} else 0 end")
    return " + ".join(cases)
