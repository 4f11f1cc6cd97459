"""Answers the edge's questions about events and people from the serving file, in a process of its own: the edge opens no warehouse."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.landing.marks import read_mark
from ingestion.log.interface import Lane
from ingestion.settings import Settings
from orchestration.named_rows import named_rows
from orchestration.serving_process import ServingProcess

if TYPE_CHECKING:
    from ingestion.edge.decisions import Progress

# Where each record names the person it is about, besides its own record.
_CONTACT_FIELDS = {
    "activity": "contact_id",
    "consent": "contact_id",
    "meeting": "contact_id",
    "stage_change": "contact_id",
    "merge": "surviving_id",
    "contact": "record_id",
}
_PERSON_OF_RECORD = """
    select person_id from marts.entity_map
    where system = $system and record_type = 'contact' and record_id = $record_id and is_current
"""
_PUSHES = """
    select system, object, action, record_id, status, error_code, planned_at, sent_at, confirmed_at
    from marts.fct_pushes
    where person_id = $person_id and planned_at >= $received_at
    order by planned_at, system, object
"""


class ServingDecisions(ServingProcess):
    """Answers from the newest serving file; slow questions keep nobody's events waiting."""

    def progress(self, seq: int, lane: Lane) -> Progress:
        """How far the event with this `seq` has come, by the marks that landing and batches leave."""
        if seq <= read_mark(self._settings, "decided")[lane]:
            return "decided"
        return "landed" if seq <= read_mark(self._settings, "landed")[lane] else "accepted"

    async def pushes(self, event: dict[str, Any], received_at: datetime) -> list[dict[str, Any]]:
        """Writes about the event's person that were planned since it was received."""
        try:
            return await self._ask(_pushes, event, received_at)
        except HandoffError as error:
            if error.code in ("SERVING_MISSING", "NOT_FOUND"):
                return []
            raise

    async def person(self, who: str) -> dict[str, Any]:
        """Everything known of the person; NOT_FOUND, or SERVING_MISSING before anything was published."""
        return await self._ask(_person, who)


def _person(settings: Settings, who: str) -> dict[str, Any]:
    import contextlib

    from orchestration.explain import explain_person
    from orchestration.serving import open_serving

    system, _, record_id = who.partition("/")
    if record_id:
        with contextlib.closing(open_serving(settings)) as connection:
            row = connection.execute(_PERSON_OF_RECORD, {"system": system, "record_id": record_id})
            found = row.fetchone()
        if found is None:
            raise HandoffError(
                "NOT_FOUND",
                f"no contact {record_id!r:.200} of {system!r:.80} is known",
                remedy="Give a record of a system that is polled or sends events.",
            )
        who = str(found[0])
    return explain_person(settings, who).as_dict()


def _pushes(
    settings: Settings, event: dict[str, Any], received_at: datetime
) -> list[dict[str, Any]]:
    import contextlib

    from orchestration.serving import open_serving

    with contextlib.closing(open_serving(settings)) as connection:
        person_id = _person_of(connection, event)
        if person_id is None:
            return []
        values = {"person_id": person_id, "received_at": received_at}
        return named_rows(connection.execute(_PUSHES, values))


def _person_of(connection: Any, event: dict[str, Any]) -> str | None:
    """Whom an event is about: by its activity, by the record it names, or by an address in it."""
    record = str(event.get("type", "")).rpartition(".")[2]
    data = event.get("data") or {}
    asked = {
        "system": data.get("system"),
        "activity_id": data.get("activity_id"),
        "record_id": data.get(_CONTACT_FIELDS.get(record, "")),
        "email": str(data.get("email") or "").strip().lower() or None,
    }
    found = connection.execute(
        "select person_id from marts.fct_activities"
        " where system = $system and system_activity_id = $activity_id and $activity_id is not null"
        " union all select person_id from marts.entity_map"
        " where system = $system and record_type = 'contact' and record_id = $record_id and is_current"
        " union all select person_id from marts.entity_map"
        " where record_type = 'email' and record_id = $email and is_current"
        " limit 1",
        asked,
    ).fetchone()
    return None if found is None else str(found[0])
