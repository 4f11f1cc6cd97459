"""Takes what was found about a person out of every store but the derived tables, which are made anew of what is left."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.erasure.evidence import ASKED, evidence_of
from ingestion.erasure.keys import whom
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive
from ingestion.landing.events import to_tables
from ingestion.log.interface import Erasure
from ingestion.log.owner import open_log, open_reader
from ingestion.outbound.receipts import open_sends
from ingestion.settings import Settings
from ingestion.subscribers.outbox import Outbox
from orchestration.erasure.found import Found
from orchestration.erasure.person import Person
from orchestration.subscribers import outbox_path

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import duckdb


def take_from_log(settings: Settings, person: Person, found: Found, at: datetime) -> None:
    """Empty the events and rejections, remember by what the person is known again, and say in the log what went; nothing where a run that
    died has done it."""
    with contextlib.closing(open_reader(settings)) as reader:
        known = reader.erased()
    remembered = whom(person.keys_to_remember, at, known)
    is_done = known is not None and remembered.keys.keys() <= known.keys.keys()
    if is_done and not found.events and not found.quarantine_ids and not found.rows:
        return
    gone = [found.events[seq] for seq in sorted(found.events)]
    with contextlib.closing(open_log(settings)) as log:
        log.erase(
            Erasure(
                list(evidence_of(gone, ASKED, rows=found.row_counts, turns=person.turns)),
                {row.seq: left for row, left in gone},
                found.quarantine_ids,
                remembered,
            )
        )


def take_from_archive(
    settings: Settings, connection: duckdb.DuckDBPyConnection, found: Found
) -> None:
    """Rewrite the segments, and the rows that the warehouse has of them."""
    archive = Archive(settings.archive_dir)
    for (system, resource, segment), changed in sorted(found.rows.items()):
        payloads = {row: None if left is None else left.payload for row, left in changed.items()}
        with archive.writing(system):
            archive.rewrite(system, resource, segment, payloads)
        table = f"raw_{system}.{resource}"
        for row_hash, left in changed.items():
            where = f"where segment = {segment} and row_hash = {row_hash}"
            if left is None:
                connection.execute(f"delete from {table} {where}")
            else:
                connection.execute(
                    f"update {table} set payload = ?, row_hash = ? {where}",
                    [left.payload, left.row_hash],
                )


def take_from_raw_events(connection: duckdb.DuckDBPyConnection, found: Found) -> None:
    """Bring the rows the warehouse has of the log's events and rejections to what is left of those."""
    now = [row._replace(payload=left) for row, left in found.events.values()]
    now += found.done.values()
    gone = [row.seq for row in now if not row.payload]
    for table in registry.RECORD_TABLES.values():
        connection.execute(
            f"delete from raw_events.{table} where seq in (select unnest(?::bigint[]))", [gone]
        )
    for table, rows in to_tables([row for row in now if row.payload], []):
        # Received at stays what it was landed as: an import's may lie behind the log's own.
        columns = [name for name in rows.column_names if name not in ("seq", "received_at")]
        connection.register("left_of_events", rows)
        connection.execute(
            f"update raw_events.{table} as events set "
            + ", ".join(f'"{name}" = left_of_events."{name}"' for name in columns)
            + " from left_of_events where events.seq = left_of_events.seq"
        )
        connection.unregister("left_of_events")
    connection.execute(
        "update raw_events.rejections set payload = '', message = '', event_source = null, event_id = null "
        "where seq in (select unnest(?::bigint[]))",
        [found.quarantine_ids],
    )
    connection.execute(
        "update raw_events.rejection_outcomes set message = null where quarantine_id in (select unnest(?::bigint[]))",
        [found.quarantine_ids],
    )


def take_from_outbox(settings: Settings, person: Person) -> list[str]:
    """Delete what was told of the person and what still waits to be; answers the subscribers that were told something."""
    path = outbox_path(settings)
    if not path.exists():
        return []
    with contextlib.closing(Outbox(path)) as outbox:
        return outbox.erase(person.person_ids)


def require_nothing_in_flight(settings: Settings, person: Person) -> list[Path]:
    """Sealed plans that hold rows of the person; raises ERASURE_REFUSED while the outcome of any of their rows is not known."""
    plans = _plans_of(settings.plans_dir, person)
    names = {path.stem for path in plans}
    with contextlib.closing(open_reader(settings)) as reader:
        for system in catalog.systems("destination"):
            for send in open_sends(reader, system, settings.plans_dir).values():
                if send.data["plan_id"] in names:
                    raise HandoffError(
                        "ERASURE_REFUSED",
                        f"plan {send.data['plan_id']} holds rows of the person and has writes to {system} whose outcome is not known",
                        remedy="Run `handoff run`, which looks them up, and erase again.",
                    )
    return plans


def _plans_of(folder: Path, person: Person) -> list[Path]:
    needles = [each.encode() for each in (*person.texts, *person.person_ids)]
    return [
        path
        for path in sorted(folder.glob("*-*.json"))
        if _holds(path.read_bytes().lower(), needles)
    ]


def _holds(content: bytes, needles: Sequence[bytes]) -> bool:
    return any(needle in content for needle in needles)
