"""Polls a system into the archive and lands the archive's segments; what a record means is the
models' business."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ingestion.connectors import catalog
from ingestion.connectors.extracted import Extracted, ResumingSource
from ingestion.erasure.keys import ErasedKeys
from ingestion.erasure.late import erased_keys, rows_left
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive, Segment
from ingestion.landing.landed import Landed, Progress
from ingestion.landing.raw_tables import create_system_tables, system_tables
from ingestion.landing.warehouse import open_raw
from ingestion.settings import Settings

# Search indexes lag and resources are read one after the other, so a change can surface after a
# newer one;
# rows seen twice are dropped by their hash.
OVERLAP = timedelta(minutes=5)
SEGMENT_ROWS = 20_000
LOAD_ROWS = 200_000


def configured_systems(settings: Settings) -> tuple[str, ...]:
    """Systems with a source whose address is set; the others are skipped by whoever polls them
    all."""
    return tuple(
        system
        for system in catalog.systems("source")
        if catalog.source(system).configured(settings)
    )


def poll(
    settings: Settings,
    system: str,
    progress: Progress | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Landed:
    """Fetch what changed in `system`, archive it, land it; a second poll without news adds nothing.

    A resource that fails does not hold up the others: their rows land first, then the failure is
    raised. Raises what `archive_news` raises.
    """
    failure = archive_news(settings, system, progress, clock=clock)
    landed = land_archive(settings, system, progress)
    if failure is not None:
        raise failure
    return landed


def archive_news(
    settings: Settings,
    system: str,
    progress: Progress | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> HandoffError | None:
    """Fetch what changed in `system` into the archive; the warehouse is not opened, however long
    the system takes.

    Answers the first failure of a resource (UPSTREAM_UNAVAILABLE, ...): what the others said is
    archived all the same. Raises SYSTEM_UNKNOWN and SYSTEM_NOT_CONFIGURED.
    """
    source = catalog.source(system)
    if not source.configured(settings):
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"{system} is not configured: HANDOFF_{system.upper()}_URL is not set",
        )
    archive = Archive(settings.archive_dir)
    failures: list[HandoffError] = []
    with archive.writing(system):
        keys = erased_keys(settings)
        for resource in source.RESOURCES:
            try:
                _archive_resource(settings, archive, system, resource, keys, progress, clock)
            except HandoffError as error:
                failures.append(error)
    return failures[0] if failures else None


def land_archive(settings: Settings, system: str, progress: Progress | None = None) -> Landed:
    """Land the segments of `system` that are not in the warehouse; with a new warehouse, all of
    them."""
    started = time.perf_counter()
    archive = Archive(settings.archive_dir)
    schemas, hints = system_tables(system)
    rows: dict[str, int] = {}
    landed: list[int] = []
    with open_raw(settings, f"raw_{system}", schemas, hints) as raw:
        create_system_tables(settings, raw.connection)
        pending: list[tuple[str, Segment]] = []
        for resource in schemas:
            after = raw.greatest("segment", [resource])
            pending += [(resource, found) for found in archive.segments(system, resource, after)]
        for batch in _batches(pending):
            report = raw.append(_tables(archive, batch))
            for resource, count in report.rows.items():
                rows[resource] = rows.get(resource, 0) + count
                if progress:
                    progress(f"raw_{system}.{resource}", rows[resource])
            landed += [segment.seq for _, segment in batch]
        removed = dict(raw.removed)
    return Landed(
        rows,
        min(landed, default=None),
        max(landed, default=None),
        time.perf_counter() - started,
        removed,
    )


def _archive_resource(
    settings: Settings,
    archive: Archive,
    system: str,
    resource: str,
    keys: ErasedKeys | None,
    progress: Progress | None,
    clock: Callable[[], datetime],
) -> None:
    cursor = archive.cursor(system, resource)
    since = None if cursor is None else (cursor - OVERLAP).isoformat()
    waiting: list[Extracted] = []
    fetched = 0
    source = catalog.source(system)
    try:
        pages = (
            source.extract_from(resource, archive.known(system, resource), settings)
            if isinstance(source, ResumingSource)
            else source.extract(resource, since, settings)
        )
        for page in pages:
            # What a system still shows of somebody erased here is not taken up again.
            waiting += rows_left(system, resource, source.NAMED[resource], keys, page)
            fetched += len(page)
            if progress:
                progress(f"{system}.{resource}", fetched)
            if len(waiting) >= SEGMENT_ROWS:
                archive.append(system, resource, waiting, clock())
                waiting = []
    finally:
        # Pages come in cursor order, so what arrived before a failure is safe to keep and continue
        # from.
        archive.append(system, resource, waiting, clock())


def _batches(pending: list[tuple[str, Segment]]) -> list[list[tuple[str, Segment]]]:
    batches: list[list[tuple[str, Segment]]] = []
    size = LOAD_ROWS
    for resource, segment in pending:
        if size + segment.rows > LOAD_ROWS:
            batches.append([])
            size = 0
        batches[-1].append((resource, segment))
        size += segment.rows
    return batches


def _tables(archive: Archive, batch: list[tuple[str, Segment]]) -> dict[str, object]:
    import pyarrow as pa

    parts: dict[str, list[pa.Table]] = {}
    for resource, segment in batch:
        parts.setdefault(resource, []).append(archive.read(segment))
    return {resource: pa.concat_tables(tables) for resource, tables in parts.items()}
