"""Answers what somebody agreed to at an instant, from the serving file; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.explain import find_person
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

# Records of an address whose person is hidden: their keys are hashes of what they are named by (dbt_project/macros/keys.sql).
_BY_ADDRESS = """
    select distinct person_id from marts.entity_map
    where is_current and record_key in (
        select md5_number_lower(system || '|email|' || $address) from (select distinct system from marts.entity_map)
    )
"""
_STATEMENTS = """
    select consent_id, system, channel, purpose, status, effective_status, lawful_basis, source, notice_version, is_gpc, occurred_at,
        received_at, case when superseded_at <= $instant then superseded_at end as superseded_at, expires_at
    from marts.fct_consents
    where person_id = $person_id and occurred_at <= $instant
    order by occurred_at, received_at, consent_id
"""


@dataclass(frozen=True, slots=True)
class ConsentShown:
    """What one person allows at `as_of`: what counts by channel and purpose, every statement made by then, and who may not see them."""

    person_id: str
    as_of: datetime
    in_force: list[Row]
    statements: list[Row]
    hidden_by: list[Row]

    def as_dict(self) -> Row:
        """JSON-ready."""
        return asdict(self)


def show_consent(settings: Settings, who: str, *, as_of: datetime | None = None) -> ConsentShown:
    """The consents of the person with this e-mail address or person_id; raises NOT_FOUND, SERVING_MISSING."""
    instant = as_of or datetime.now(UTC)
    with contextlib.closing(open_serving(settings)) as connection:
        person_id = _person(settings, connection, who)
        values = {"person_id": person_id, "instant": instant}
        return ConsentShown(
            person_id=person_id,
            as_of=instant,
            in_force=_rows(
                connection,
                "select * exclude (person_id) from marts.consent_as_of($instant::timestamptz) where person_id = $person_id "
                "order by purpose_kind, channel, purpose",
                values,
            ),
            statements=_rows(connection, _STATEMENTS, values),
            hidden_by=_rows(
                connection,
                "select rule_id, effect, hidden_since_at from ops.hidden_people where person_id = $person_id order by rule_id",
                {"person_id": person_id},
            ),
        )


def _person(settings: Settings, connection: duckdb.DuckDBPyConnection, who: str) -> str:
    try:
        return str(find_person(settings, connection, who)["person_id"])
    except HandoffError as error:
        # Whoever is hidden can still be asked about by whoever knows the address.
        found = connection.execute(_BY_ADDRESS, {"address": who.strip().lower()}).fetchall()
        if error.code != "NOT_FOUND" or len(found) != 1:
            raise
        return str(found[0][0])


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Row) -> list[Row]:
    return named_rows(connection.execute(sql, values))
