"""Polls a system into the archive and lands the archive's segments; what a record means is the
models' business."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from ingestion.connectors import catalog
from ingestion.connectors.extracted import Extracted, ResumingSource
from ingestion.erasure.keys import ErasedKeys
from ingestion.erasure.late import erased_keys, rows_left
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive, Segment
from ingestion.landing.denied import keep_denied
from ingestion.landing.landed import Landed, Progress
from ingestion.landing.raw_tables import create_system_tables, system_tables
from ingestion.landing.warehouse import open_raw
from ingestion.settings import Settings

# Search indexes lag and resources are read one after the other, so a change can surface after a
# newer one;
# rows seen twice are dropped by their hash.
OVERLAP = timedelta(minutes=5)
SEGMENT_ROWS = 20_000
# Where every row costs a request, what a process that dies had not archived costs as many again.
SEGMENT_SECONDS = 60.0
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
    archived all the same. A resource these credentials may not read, where they may read others, is
    no failure: it is `denied`. Raises SYSTEM_UNKNOWN and SYSTEM_NOT_CONFIGURED.
    """
    source = catalog.source(system)
    if not source.configured(settings):
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"{system} is not configured: HANDOFF_{system.upper()}_URL is not set",
        )
    archive = Archive(settings.archive_dir)
    failures: dict[str, HandoffError] = {}
    with archive.writing(system):
        keys = erased_keys(settings)
        for resource in source.RESOURCES:
            try:
                _archive_resource(settings, archive, system, resource, keys, progress, clock)
            except HandoffError as error:
                failures[resource] = error
        failures = _without_denied(settings, system, source.RESOURCES, failures)
    return next(iter(failures.values()), None)


def _without_denied(
    settings: Settings,
    system: str,
    resources: Sequence[str],
    failures: Mapping[str, HandoffError],
) -> dict[str, HandoffError]:
    """The failures that are not a lack of rights; those are remembered, and said when they are new."""
    denied = {name: error for name, error in failures.items() if error.code == "SCOPE_DENIED"}
    if len(failures) == len(resources):
        # Nothing could be read: then it is not the rights to one resource that are missing.
        denied = {}
    for resource in keep_denied(
        settings, system, {name: error.message for name, error in denied.items()}
    ):
        error = denied[resource]
        structlog.get_logger(__name__).warning(
            "resource_denied",
            system=system,
            resource=resource,
            message=error.message,
            remedy=error.remedy,
        )
    return {name: error for name, error in failures.items() if name not in denied}


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
    archived_at = time.monotonic()
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
            if len(waiting) >= SEGMENT_ROWS or time.monotonic() - archived_at >= SEGMENT_SECONDS:
                archive.append(system, resource, waiting, clock())
                waiting, archived_at = [], time.monotonic()
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
