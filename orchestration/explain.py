"""Answers "why": one person's records, links, account, points, crossings, prospects, owner and pushes, from the serving file; decides nothing."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.mailboxes import linking_addresses
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

# The score at any instant, straight from the ledger: the same arithmetic as fct_scores, for one person.
_CONTRIBUTIONS = """
    with decayed as (
        select
            rule_id, any_value(label) as label, any_value(entry_kind) as entry_kind, any_value(scoring_version) as scoring_version,
            count(*) as entry_count, any_value(cap) as cap, any_value(group_id) as group_id, any_value(group_cap) as group_cap,
            any_value(total_cap) as total_cap, any_value(half_life_days) as half_life_days, max(occurred_at) as last_at,
            sum(points) as undecayed_points,
            sum(points * case when half_life_days is null then 1.0
                else pow(0.5, (epoch_us($as_of::timestamptz) - epoch_us(occurred_at)) / 86400e6 / half_life_days) end) as decayed_points
        from marts.fct_score_ledger
        where person_id = $person_id and occurred_at <= $as_of::timestamptz and entry_kind <> 'exclusion'
            and coalesce(withheld_at > $as_of::timestamptz, true)
        group by rule_id
    )
    select *, case when cap is null then decayed_points when decayed_points < 0 then greatest(decayed_points, -cap)
        else least(decayed_points, cap) end as points
    from decayed order by points desc, rule_id
"""

# What was known before of whose records these are: of the person's own, and of those that were theirs once.
_FORMER_RECORDS = """
    select system, record_type, record_id, person_id, link_path, valid_from, valid_to, known_from, known_to
    from marts.entity_map
    where not is_current and (
        person_id = $person_id
        or record_key in (select record_key from marts.entity_map where person_id = $person_id and is_current)
    ) and known_from <= $as_of::timestamptz
    order by known_from, system, record_id
"""

# What keeps the person from becoming an MQL, whatever the score.
_EXCLUSIONS = """
    select distinct rule_id, label, attribute, scoring_version from marts.fct_score_ledger
    where person_id = $person_id and occurred_at <= $as_of::timestamptz and entry_kind = 'exclusion'
    order by rule_id
"""

# What the lead model that counts says of the person now, and of each MQL by what was known when it was reached.
_PREDICTIONS = """
    select cast(null as varchar) as mql_id, model_version, model_id, probability, reasons, predicted_at, cast(null as varchar) as outcome
    from marts.fct_lead_predictions
    where person_id = $person_id and is_champion and predicted_at <= $as_of::timestamptz
    union all
    select mql_id, model_version, model_id, probability, reasons, predicted_at, outcome
    from marts.fct_mql_outcomes
    where person_id = $person_id and is_champion and predicted_at <= $as_of::timestamptz
    order by predicted_at desc, mql_id
"""

# What consent forbids to count, with the rule of the consent policy and since when.
_WITHHELD = """
    select rule_id, any_value(label) as label, withheld_by, count(*) as entry_count, sum(points) as undecayed_points,
        min(withheld_at) as withheld_at
    from marts.fct_score_ledger
    where person_id = $person_id and occurred_at <= $as_of::timestamptz and withheld_at <= $as_of::timestamptz
    group by rule_id, withheld_by order by undecayed_points desc, rule_id, withheld_by
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything there is to say about one person at `as_of`; each list holds rows as the marts have them. `cuts` are the points that caps of
    groups and of the whole score took away: with the contributions they are the score."""

    person: Row
    as_of: datetime
    score: float
    records: list[Row]
    former_records: list[Row]
    account_matches: list[Row]
    contributions: list[Row]
    cuts: list[Row]
    exclusions: list[Row]
    withheld: list[Row]
    mqls: list[Row]
    predictions: list[Row]
    assignments: list[Row]
    consents: list[Row]
    pushes: list[Row]

    def as_dict(self) -> Row:
        """JSON-ready."""
        return asdict(self)


def explain_person(settings: Settings, who: str, *, as_of: datetime | None = None) -> Explanation:
    """Explain the person with this e-mail address (any spelling any record has) or person_id; raises NOT_FOUND."""
    with contextlib.closing(open_serving(settings)) as connection:
        person = find_person(settings, connection, who)
        instant = as_of or datetime.now(UTC)
        values = {"person_id": person["person_id"], "as_of": instant}
        contributions = _rows(connection, _CONTRIBUTIONS, values)
        cuts = _cuts(contributions)
        return Explanation(
            person=person,
            as_of=instant,
            score=round(sum(row["points"] for row in (*contributions, *cuts)), 6),
            records=[
                {
                    **row,
                    "evidence": json.loads(row["evidence"] or "[]"),
                    "link_path": json.loads(row["link_path"] or "[]"),
                }
                for row in _rows(
                    connection,
                    "select system, record_type, record_id, evidence, link_path, is_deleted, valid_from, valid_to, known_from, first_received_at "
                    "from marts.entity_map where person_id = $person_id and is_current and valid_from <= $as_of::timestamptz "
                    "order by first_received_at, system, record_id",
                    values,
                )
            ],
            former_records=[
                {**row, "link_path": json.loads(row["link_path"] or "[]")}
                for row in _rows(connection, _FORMER_RECORDS, values)
            ],
            account_matches=[
                {**row, "tie_breaks": json.loads(row["tie_breaks"] or "null")}
                for row in _rows(
                    connection,
                    "select matches.account_id, accounts.name, accounts.domain, matches.evidence, matches.evidence_value, matches.decided_by, "
                    "matches.tie_breaks, matches.rank, matches.is_chosen, accounts.has_own_record "
                    "from marts.fct_account_matches as matches inner join marts.dim_accounts as accounts using (account_id) "
                    "where matches.person_id = $person_id order by matches.rank",
                    {"person_id": person["person_id"]},
                )
            ],
            contributions=contributions,
            cuts=cuts,
            exclusions=_rows(connection, _EXCLUSIONS, values),
            withheld=_rows(connection, _WITHHELD, values),
            mqls=[
                {**row, "reasons": json.loads(row["reasons"])}
                for row in _rows(
                    connection,
                    "select * from marts.fct_mqls where person_id = $person_id and reached_at <= $as_of::timestamptz order by reached_at",
                    values,
                )
            ],
            predictions=[
                {**row, "reasons": json.loads(row["reasons"])}
                for row in _rows(connection, _PREDICTIONS, values)
            ],
            assignments=[
                {**row, "reason_path": json.loads(row["reason_path"])}
                for row in _rows(
                    connection,
                    "select assignments.*, reps.name as rep_name, reps.email as rep_email, reps.time_zone "
                    "from marts.fct_assignments as assignments left join marts.dim_reps as reps using (rep_id) "
                    "where person_id = $person_id and assigned_at <= $as_of::timestamptz order by assigned_at",
                    values,
                )
            ],
            consents=_rows(
                connection,
                "select channel, purpose, status, effective_status, lawful_basis, source, system, notice_version, is_gpc, occurred_at, "
                "case when superseded_at <= $as_of::timestamptz then superseded_at end as superseded_at, expires_at from marts.fct_consents "
                "where person_id = $person_id and occurred_at <= $as_of::timestamptz order by occurred_at",
                values,
            ),
            pushes=_rows(
                connection,
                "select system, object, action, record_id, status, error_code, planned_at, confirmed_at from marts.fct_pushes "
                "where person_id = $person_id and planned_at <= $as_of::timestamptz order by planned_at, object",
                values,
            ),
        )


def _cuts(contributions: list[Row]) -> list[Row]:
    """What caps over several rules take away, the same as in fct_scores."""
    groups: dict[str, tuple[float, float]] = {}
    for row in contributions:
        if row["group_id"] is not None:
            points, _ = groups.get(row["group_id"], (0.0, 0.0))
            groups[row["group_id"]] = (points + row["points"], row["group_cap"])
    cuts = [
        {"cap_of": f"group {group}", "cap": cap, "points": max(-cap, min(points, cap)) - points}
        for group, (points, cap) in sorted(groups.items())
        if abs(points) > cap
    ]
    total = sum(row["points"] for row in (*contributions, *cuts))
    caps = {row["total_cap"] for row in contributions} - {None}
    cuts += [
        {"cap_of": "everything", "cap": cap, "points": cap - total} for cap in caps if total > cap
    ]
    return cuts


def find_person(settings: Settings, connection: duckdb.DuckDBPyConnection, who: str) -> Row:
    """The row of dim_people of this address or person_id; NOT_FOUND when nobody, or more than one, is known by it."""
    people = _rows(
        connection,
        "select * from marts.dim_people where person_id = $who",
        {"who": who.strip().lower()},
    )
    if not people:
        # Any address any of the person's records carries, in any spelling; the evidence holds them all.
        people = _rows(
            connection,
            "select distinct people.* from marts.dim_people as people join marts.entity_map as records using (person_id) "
            "where records.is_current and (lower(people.email) = $who or (records.record_type = 'email' and records.record_id = $who) "
            "or contains(records.evidence, '\"identifier_value\":\"' || $who || '\"'))",
            {"who": who.strip().lower()},
        )
    if not people and (address := linking_addresses(settings)(who)):
        # A spelling nobody typed, of a mailbox somebody has.
        people = _rows(
            connection,
            "select distinct people.* from marts.dim_people as people join marts.entity_map as records using (person_id) "
            "where records.is_current and contains(records.evidence, '\"identifier_value\":\"' || $who || '\"')",
            {"who": address},
        )
    if not people:
        raise HandoffError(
            "NOT_FOUND",
            f"nobody is known as '{who}'",
            remedy="Give an e-mail address or a person_id, e.g. from "
            '`handoff query "select person_id, email from marts.dim_people limit 5"`.',
        )
    if len(people) > 1:
        ids = ", ".join(sorted(row["person_id"] for row in people))
        raise HandoffError(
            "NOT_FOUND",
            f"'{who}' is a mailbox of {len(people)} people: {ids}",
            remedy="Name one of them by person_id.",
        )
    return people[0]


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Row) -> list[Row]:
    return named_rows(connection.execute(sql, values))
