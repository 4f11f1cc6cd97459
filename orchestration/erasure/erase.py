"""Erases a person everywhere below the home; no Dagster here. Which stores there are, and why the derived tables are made anew: docs/decisions/0020."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestion.connectors import catalog
from ingestion.enrichment import answers
from ingestion.erasure.keys import ids_by_system
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive
from ingestion.landing.events import land_events
from ingestion.landing.polls import land_archive
from ingestion.landing.warehouse import connect
from ingestion.log.owner import open_reader
from ingestion.settings import Settings
from orchestration.erasure.absence import Remnant, remnants
from orchestration.erasure.found import Found, find_all
from orchestration.erasure.journal import Begun, begin, end, find
from orchestration.erasure.person import Person, person_to_erase
from orchestration.erasure.taking import (
    forget_in_flight,
    require_nothing_in_flight,
    take_from_archive,
    take_from_bookings,
    take_from_log,
    take_from_outbox,
    take_from_raw_events,
)
from orchestration.policy_replay import pages_folder
from orchestration.policy_rows import load_policy_rows
from orchestration.progress import report
from orchestration.serving import publish
from orchestration.side_build import carry_over, only_build, swap_in
from orchestration.subscribers import copy_attempts
from orchestration.transform import code_hash_now, forget_models, keep_models, manifest, transform
from orchestration.warehouse_copy import copy_settings, discard, lacking_room
from orchestration.writer_lock import WRITER_WAIT_SECONDS, warehouse_writer


@dataclass(frozen=True, slots=True)
class Erased:
    """What went, or would go: events by record, rows of the archive by system and resource, kept rejections, sealed plans.

    `kept` are addresses and numbers that others are reached by too. `held_elsewhere` are ids by system: those records are still there.
    `told` are subscribers that were told of the person. `remnants` are what the search found afterwards; empty is the proof.
    """

    person_id: str
    is_dry_run: bool
    events: dict[str, int]
    rows: dict[str, int]
    rejections: int
    plans: int
    turns: int
    kept: tuple[str, ...]
    held_elsewhere: dict[str, list[str]]
    told: list[str]
    remnants: list[Remnant]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def erase_person(
    settings: Settings,
    who: str,
    *,
    dry_run: bool = False,
    as_of: datetime | None = None,
) -> Erased:
    """Take the person with this address or person_id out of log, archive, warehouse, serving file, outbox and plans, and look for them.

    Holds the warehouse for the time of a rebuild. Begun anew after a run that died, it goes on where that stopped. Raises NOT_FOUND,
    ERASURE_REFUSED, WAREHOUSE_LOCKED; with `dry_run` nothing is changed, and what has not landed is not counted. The derived tables speak for
    `as_of`, by default now.
    """
    instant = as_of or datetime.now(UTC)
    with contextlib.ExitStack() as held:
        if not dry_run:
            # A rebuild beside would bring the person back from the copy it has taken.
            held.enter_context(only_build(settings))
        held.enter_context(warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS))
        begun = find(settings, who)
        if dry_run:
            person = begun.person if begun else person_to_erase(settings, who)
            return _said(
                person,
                _find(settings, person),
                require_nothing_in_flight(settings, person),
                is_dry_run=True,
            )
        if settings.warehouse_path.exists() and (lack := lacking_room(settings)) is not None:
            raise HandoffError("ERASURE_REFUSED", lack, remedy="Free some space, and erase again.")
        report("waiting for polls under way")
        archive = Archive(settings.archive_dir)
        for system in (*catalog.systems("source"), answers.SYSTEM):
            # Whoever polls has read whom to leave out, or has not begun.
            held.enter_context(archive.writing(system))
        archive.discard_unfinished()
        for copy in ("rebuild", "tests", "replay"):
            discard(copy_settings(settings, copy))
        report("bringing the warehouse up to date")
        _land(settings)
        if begun is None:
            transform(settings, as_of=instant, as_made=True)
            person = person_to_erase(settings, who)
            require_nothing_in_flight(settings, person)
            begun = begin(settings, person)
        return _erase(settings, begun, instant)


def _erase(settings: Settings, begun: Begun, as_of: datetime) -> Erased:
    person = begun.person
    report("looking for what there is")
    plans = require_nothing_in_flight(settings, person)
    found = _find(settings, person)
    report("taking it out of the log and the archive")
    take_from_log(settings, begun, found)
    told = take_from_outbox(settings, person)
    take_from_bookings(settings, person)
    with contextlib.closing(connect(settings)) as connection:
        take_from_archive(settings, connection, found)
        take_from_raw_events(connection, found)
    for path in plans:
        path.unlink()
    # They compare what was with what would have been, person by person, and can be made again.
    shutil.rmtree(pages_folder(settings), ignore_errors=True)
    forget_in_flight(settings)
    report("making the derived tables anew")
    _make_anew(settings, as_of)
    report("searching every file")
    left = remnants(settings, person.texts)
    again = _find(settings, person)
    left += [
        Remnant("log/events.sqlite", record, count) for record, count in again.event_counts.items()
    ]
    left += [
        Remnant(f"log/archive/{system}/{resource}", None, count)
        for (system, resource), count in again.row_counts.items()
    ]
    if not left:
        end(settings, begun)
    return _said(person, found, plans, told=told, left=left)


def _said(
    person: Person,
    found: Found,
    plans: Sequence[Path],
    *,
    is_dry_run: bool = False,
    told: Sequence[str] = (),
    left: Sequence[Remnant] = (),
) -> Erased:
    return Erased(
        person.person_id,
        is_dry_run,
        found.event_counts,
        {
            f"{system}.{resource}": count
            for (system, resource), count in sorted(found.row_counts.items())
        },
        len(found.quarantine_ids),
        len(plans),
        len(person.turns),
        person.kept,
        ids_by_system(person.keys_to_remember),
        list(told),
        list(left),
    )


def _land(settings: Settings) -> None:
    """What has come in and not landed would be found by nobody."""
    land_events(settings)
    for system in catalog.systems("source"):
        land_archive(settings, system)


def _find(settings: Settings, person: Person) -> Found:
    with (
        contextlib.closing(connect(settings)) as connection,
        contextlib.closing(open_reader(settings)) as reader,
    ):
        return find_all(connection, reader, person)


def _make_anew(settings: Settings, as_of: datetime) -> None:
    """A new file with the raw rows that are left, everything derived made of them, in the place of the warehouse: freed pages of the old one
    hold what was deleted."""
    land_events(settings)
    copy = copy_settings(settings, "erasure")
    discard(copy)
    try:
        copy.folder.mkdir(parents=True)
        carry_over(settings, copy)
        copy_attempts(copy)
        load_policy_rows(copy)
        transform(copy, as_of=as_of, full_refresh=True)
        code_hash = code_hash_now(copy)
        keep_models(settings, code_hash, manifest(copy))
        swap_in(settings, copy)
        forget_models(settings, code_hash)
    finally:
        discard(copy)
    # What dlt remembers of its last loads.
    shutil.rmtree(settings.dlt_dir, ignore_errors=True)
    publish(settings)
