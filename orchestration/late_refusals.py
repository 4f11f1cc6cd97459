"""Who has said no since the warehouse last decided: asked of the event log at the moment of sending, as a no counts from when we were told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.landing.marks import read_mark
from ingestion.landing.warehouse import connect
from ingestion.log.owner import open_reader
from ingestion.settings import Settings
from orchestration.mailboxes import linking_addresses

if TYPE_CHECKING:
    import duckdb

    from ingestion.log.interface import LogReader

_CONSENT = "com.handoff.consent"
_READ_AT_ONCE = 1_000

_BY_RECORD = "select person_id from marts.entity_map where system = ? and record_id = ? and person_id is not null and is_current"
_BY_ADDRESS = """
    select people.person_id from intermediate.int_identity__identifiers as carried
    inner join intermediate.int_identity__people as people on carried.record_key = people.record_key
    where carried.identifier_type = 'email' and carried.identifier_value = ?
"""


class LateRefusals:
    """People whom a rule of `destination` blocks by a consent that is in the log and not yet in the warehouse's decisions.

    Of the live lane: an import is history, and is decided on as it lands. A yes that came since lifts nothing here; the next batch does.
    """

    def __init__(self, settings: Settings, destination: str) -> None:
        """Reads nothing yet."""
        self._settings = settings
        self._destination = destination
        self._read_through = read_mark(settings, "transformed")["live"]
        self._people: set[str] = set()

    def refuse(self, person_id: str) -> bool:
        """Whether the person has said no since; reads what has come to the log since it was last asked."""
        with contextlib.closing(open_reader(self._settings)) as reader:
            said = self._news(reader)
        if said:
            with contextlib.closing(connect(self._settings)) as connection:
                self._hear(connection, said)
        return person_id in self._people

    def _news(self, reader: LogReader) -> list[dict[str, Any]]:
        newest = reader.last_seq("live")
        if newest <= self._read_through:
            return []
        said = []
        for first, last in reader.spans("live", self._read_through, newest):
            while first <= last:
                stored = reader.read_stored(first, last, _READ_AT_ONCE)
                if not stored:
                    break
                for each in stored:
                    # Of the bytes first: most events are no consents, and then need not be read.
                    if _CONSENT.encode() in each.payload:
                        event = orjson.loads(each.payload)
                        if event.get("type") == _CONSENT:
                            said.append(event)
                first = stored[-1].seq + 1
        self._read_through = newest
        return said

    def _hear(self, connection: duckdb.DuckDBPyConnection, said: list[dict[str, Any]]) -> None:
        rules = connection.execute(
            "select channel, purpose, blocking_statuses from raw_policies.consent_rules where is_active and destination = ?",
            [self._destination],
        ).fetchall()
        purposes = connection.execute(
            "select role, purpose from raw_policies.consent_purposes where is_active"
        ).fetchall()
        processing = {purpose for role, purpose in purposes if role == "processing"}
        denied_by_gpc = {purpose for role, purpose in purposes if role == "denied_by_gpc"}
        linking_address = linking_addresses(self._settings)
        for event in said:
            data = event["data"]
            statements = [(data["channel"], data.get("purpose") or "marketing", data["status"])]
            if data.get("gpc"):
                statements += [("all", purpose, "denied") for purpose in denied_by_gpc]
            if any(
                rule_channel in (None, channel)
                and (rule_purpose == purpose if rule_purpose else purpose not in processing)
                and status in json.loads(blocking)
                for rule_channel, rule_purpose, blocking in rules
                for channel, purpose, status in statements
            ):
                self._people |= _named(connection, event, linking_address)


def _named(
    connection: duckdb.DuckDBPyConnection,
    event: dict[str, Any],
    linking_address: Callable[[str], str | None],
) -> set[str]:
    data = event["data"]
    found: list[tuple[str]] = []
    if data.get("contact_id"):
        system = data.get("system") or str(event.get("subject", "")).split("/")[1:2][0]
        found += connection.execute(_BY_RECORD, [system, data["contact_id"]]).fetchall()
    if data.get("email") and (address := linking_address(data["email"])):
        found += connection.execute(_BY_ADDRESS, [address]).fetchall()
    return {person_id for (person_id,) in found}
