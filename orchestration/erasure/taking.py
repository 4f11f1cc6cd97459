"""Takes what was found about a person out of every store but the derived tables, which are made anew of what is left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import orjson

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.erasure.evidence import ASKED, evidence_of, first_id
from ingestion.erasure.keys import whom
from ingestion.erasure.named import any_of
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive
from ingestion.landing.events import to_tables
from ingestion.log.interface import ERASURE_SOURCE, Erasure
from ingestion.log.owner import open_log, open_reader
from ingestion.outbound.receipts import open_sends
from ingestion.scheduling.databases import open_store
from ingestion.settings import Settings
from ingestion.subscribers.outbox import Outbox
from orchestration.erasure.found import Found
from orchestration.erasure.journal import Begun
from orchestration.erasure.person import Person
from orchestration.subscribers import outbox_path

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb


def take_from_log(settings: Settings, begun: Begun, found: Found) -> None:
    """Empty the events and rejections, remember by what the person is known again, and say in the log what went; a run that died may have
    done some of it."""
    with contextlib.closing(open_log(settings)) as log:
        is_told = log.contains(ERASURE_SOURCE, first_id(begun.erasure_id))
        gone = [found.events[seq] for seq in sorted(found.events)]
        if is_told and not gone and not found.quarantine_ids:
            return
        evidence = (
            evidence_of(gone, ASKED)
            if is_told
            else evidence_of(
                gone,
                ASKED,
                rows=found.row_counts,
                turns=begun.person.turns,
                erasure_id=begun.erasure_id,
            )
        )
        log.erase(
            Erasure(
                list(evidence),
                {row.seq: left for row, left in gone},
                found.quarantine_ids,
                whom(begun.person.keys_to_remember, begun.begun_at, log.erased()),
            )
        )


def take_from_archive(
    settings: Settings, connection: duckdb.DuckDBPyConnection, found: Found
) -> None:
    """Rewrite the segments, and the rows that the warehouse has of them; the caller holds the archive's `writing` of every system."""
    archive = Archive(settings.archive_dir)
    for (system, resource, segment), changed in sorted(found.rows.items()):
        payloads = {row: None if left is None else left.payload for row, left in changed.items()}
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
    rejections: dict[int, tuple[str, str | None, str | None]] = {
        quarantine_id: ("", None, None) for quarantine_id in found.quarantine_ids
    }
    for entry in found.emptied:
        kept = entry.rejection
        rejections[entry.quarantine_id] = (kept.message, kept.event_source, kept.event_id)
    for quarantine_id, values in rejections.items():
        connection.execute(
            "update raw_events.rejections set payload = '', message = ?, event_source = ?, event_id = ? where seq = ?",
            [*values, quarantine_id],
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


def take_from_bookings(settings: Settings, person: Person) -> None:
    """Take the person out of every booking, whose time stays taken; a home without any is left alone."""
    if settings.scheduling_database is None and not settings.bookings_path.exists():
        return
    with contextlib.closing(open_store(settings)) as store:
        store.forget(person.addresses, person.person_ids)


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


def forget_in_flight(settings: Settings) -> None:
    """Delete what is remembered of the receipts read: it names the newest of them, and is made again."""
    for path in settings.plans_dir.glob(".in_flight-*.json"):
        path.unlink(missing_ok=True)


def _plans_of(folder: Path, person: Person) -> list[Path]:
    texts = any_of({*person.texts, *person.person_ids})
    return [
        path
        for path in sorted(folder.glob("*-*.json"))
        if texts.search(orjson.dumps(orjson.loads(path.read_bytes())).decode())
    ]
