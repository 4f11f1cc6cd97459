"""`handoff ingest`: files of events or rows go through the same door as the edge, into the event
log."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.contracts.lifecycle import end_of, sunset
from ingestion.contracts.violations import Violation
from ingestion.errors.catalog import HandoffError
from ingestion.landing.ingest_report import FileReport, IngestReport
from ingestion.landing.joined_rows import Partners, joined, read_partners
from ingestion.landing.landed import Progress
from ingestion.landing.mapping import (
    Mapping,
    RowError,
    Whole,
    plain_mapping,
    read_mapping,
    resolve,
)
from ingestion.landing.row_files import ReadRow, is_parquet, read_header, read_rows
from ingestion.log.interface import EventLog, Lane, Rejection
from ingestion.log.owner import open_log
from ingestion.settings import Settings

DOOR = "file"
JSONL = (".jsonl", ".ndjson", ".json")
CSV = (".csv", ".tsv", ".txt")
BATCH_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row on its way: an `event`, or the reason (`code`, `path`, `message`) why it is none."""

    line: int
    payload: bytes
    event: dict[str, Any] | None = None
    code: str = ""
    path: str = ""
    message: str = ""
    remedy: str | None = None
    set_aside: tuple[str, ...] = ()
    # How the row is read, for the day it is read again: kept with it in quarantine.
    context: str | None = None


# Reads a file that may be ingested: its rows, each checked against its contract.
_Read = Callable[[], Iterator[Candidate]]


def ingest(
    settings: Settings,
    paths: Sequence[Path],
    *,
    record_type: str | None = None,
    mapping: str | Path | None = None,
    system: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> IngestReport:
    """Append every row of `paths` to the event log: JSONL of CloudEvents, or CSV/Parquet of one
    record.

    A file whose columns or system do not fit is refused as a whole before anything of it is
    appended; a row that breaks its contract is kept in quarantine with the reason. A file that
    cannot be read to its end is refused there: what came before stays, and the next file is read.
    Running it again adds nothing. `report.exit_code` is not 0 when anything was refused or
    quarantined. Raises MAPPING_INVALID when the mapping itself is wrong. `now` is what the ends of contracts are judged against; the
    clock's when it is left out.
    """
    started = time.perf_counter()
    rules = None if mapping is None else read_mapping(resolve(str(mapping)), record_type, system)
    if record_type is not None and record_type not in registry.RECORD_TABLES:
        raise HandoffError(
            "SCHEMA_UNKNOWN",
            f"unknown record type {record_type!r}; known: {', '.join(registry.RECORD_TABLES)}",
        )
    reports = [FileReport(Path(path)) for path in paths]
    prepared: list[tuple[FileReport, _Read]] = []
    for report in reports:
        try:
            how = _context(mapping, record_type, system)
            read = _prepare(settings, report.path, rules, record_type, system, how)
            prepared.append((report, partial(_unless_ended, read, now or datetime.now(UTC))))
        except HandoffError as error:
            report.refused = error
    log = open_log(settings) if prepared and not dry_run else None
    correlation_id = uuid.uuid4().hex
    try:
        for report, read in prepared:
            try:
                _ingest_file(log, report, read, correlation_id, progress)
            except HandoffError as error:
                # The log's own faults are no matter of this file: the next one would meet them too.
                if error.entry.status >= 500:
                    raise
                report.refused = error
    finally:
        if log is not None:
            log.close()
    return IngestReport(tuple(reports), time.perf_counter() - started, dry_run)


def _prepare(
    settings: Settings,
    path: Path,
    mapping: Mapping | None,
    record_type: str | None,
    system: str | None,
    context: str,
) -> _Read:
    """Everything that can refuse the file as a whole, before anything of it is appended."""
    if not path.is_file():
        raise HandoffError("FILE_UNREADABLE", f"no file {str(path)!r}", path=str(path))
    if path.stat().st_size == 0:
        raise HandoffError("FILE_UNREADABLE", f"{path} is empty", path=str(path))
    known = catalog.known_systems(settings)
    suffix = path.suffix.lower()
    if suffix in JSONL:
        if system is not None and system not in known:
            raise _unknown_system(path, system, "--system", known)
        if mapping is not None or record_type is not None or system is not None:
            raise HandoffError(
                "FILE_UNREADABLE",
                f"{path} holds events, which say their own type and system; --type, --mapping and "
                "--system are for rows",
                remedy="Leave --type, --mapping and --system out for JSONL.",
                path=str(path),
            )
        _refuse_json_document(path)
        return lambda: _jsonl_candidates(path, known)
    if suffix not in CSV and not is_parquet(path):
        raise HandoffError(
            "FILE_UNREADABLE",
            f"{path}: {suffix or 'a file without a suffix'} is not read; known: "
            f"{', '.join((*JSONL, *CSV, '.parquet'))}",
            path=str(path),
        )
    delimiter = mapping.delimiter if mapping else None
    header = read_header(path, delimiter)
    rules = mapping or plain_mapping(record_type, system, header, path)
    if rules.system and rules.system not in known:
        if not rules.new_system:
            named = rules.name if system is None else "--system"
            raise _unknown_system(path, rules.system, named, known)
        known = (*known, rules.system)
    beside, partners = rules.beside, None
    columns = header
    if beside is not None and not set(beside.columns) <= set(header):
        partners = read_partners(path, beside)
        columns = list(dict.fromkeys((*header, *beside.columns)))
    rules.check_header(columns, path)
    return lambda: _row_candidates(path, header, rules, known, partners, context)


def _unknown_system(path: Path, system: str, named: str, known: Collection[str]) -> HandoffError:
    return HandoffError(
        "SYSTEM_UNKNOWN",
        f"{path}: unknown system {system!r} ({named}); known: {', '.join(known)}",
        path=str(path),
    )


def _refuse_json_document(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4_096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        raise HandoffError(
            "FILE_UNREADABLE",
            f"{path}: line 1: a JSON array; files hold one event per line",
            remedy="Write one event per line, for example with `jq -c '.[]'`.",
            path=str(path),
        )


def _jsonl_candidates(path: Path, known: Collection[str]) -> Iterator[Candidate]:
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            payload = (raw.removeprefix(b"\xef\xbb\xbf") if line == 1 else raw).strip()
            if not payload:
                continue
            yield _jsonl_candidate(line, payload, known)


def _jsonl_candidate(line: int, payload: bytes, known: Collection[str]) -> Candidate:
    try:
        event = _parse_event(payload)
        return _verdict(Candidate(line, payload, event=event), registry.validate_event(event, known))  # fmt: skip
    except HandoffError as error:
        return Candidate(
            line, payload, code=error.code, path=error.path or "", message=error.message
        )


def _parse_event(payload: bytes) -> dict[str, Any]:
    """One CloudEvent, as strictly as at the edge: valid JSON, an object, no key twice."""
    import json

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            ((twice, _),) = Counter(name for name, _ in items).most_common(1)
            raise HandoffError("DUPLICATE_KEY", f"the key {twice!r} occurs twice")
        return found

    def constant(name: str) -> Any:
        raise HandoffError("SCHEMA_INVALID", f"no valid JSON: {name} is no JSON number")

    try:
        event = json.loads(payload, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise HandoffError("SCHEMA_INVALID", f"no valid JSON: {error}") from error
    if not isinstance(event, dict):
        raise HandoffError(
            "SCHEMA_INVALID", f"a CloudEvent is a JSON object, not {type(event).__name__}"
        )
    return event


def _unless_ended(read: _Read, now: datetime) -> Iterator[Candidate]:
    for candidate in read():
        ended = sunset(end_of(candidate.event), now)
        yield _verdict(candidate, [ended]) if ended and not candidate.code else candidate


def _rows(
    path: Path, header: list[str], mapping: Mapping, partners: Partners | None
) -> Iterator[ReadRow]:
    rows = read_rows(path, header, mapping.delimiter)
    if mapping.beside is None or partners is None:
        return rows
    return joined(rows, mapping.beside, partners)


def _row_candidates(
    path: Path,
    header: list[str],
    mapping: Mapping,
    known: Collection[str],
    partners: Partners | None,
    context: str,
) -> Iterator[Candidate]:
    wholes = None
    if mapping.gathers:
        # Read twice: what the last row of a record says belongs into the event of its first.
        rows = _rows(path, header, mapping, partners)
        wholes = mapping.gather(row.values for row in rows if row.values is not None)
    for row in _rows(path, header, mapping, partners):
        if row.values is None:
            yield Candidate(
                row.line,
                row.raw,
                code="SCHEMA_INVALID",
                message=row.fault,
                remedy=row.remedy,
                context=context,
            )
            continue
        yield _row_candidate(row.line, row.values, mapping, known, wholes, context)


def _row_candidate(
    line: int,
    values: dict[str, Any],
    mapping: Mapping,
    known: Collection[str],
    wholes: MappingABC[str, Whole] | None,
    context: str | None,
) -> Candidate:
    # The row as it came, not the event it became: another mapping makes another event of it.
    payload = orjson.dumps(values, default=str)
    try:
        event = mapping.to_event(values, wholes)
    except RowError as error:
        return Candidate(
            line,
            payload,
            code=error.code,
            path=error.path,
            message=error.message,
            remedy=error.remedy,
            context=context,
        )
    violations = registry.validate_event(event, known)
    set_aside: tuple[str, ...] = ()
    if violations:
        # `/data/territories/0` is about the field territories.
        fields = [
            found.path.split("/")[2] for found in violations if found.path.startswith("/data/")
        ]
        lighter = mapping.set_aside(event, fields) if len(fields) == len(violations) else None
        if lighter is not None:
            event, violations = lighter, registry.validate_event(lighter, known)
            set_aside = tuple(dict.fromkeys(fields))
    candidate = Candidate(line, payload, event=event, set_aside=set_aside, context=context)
    return _verdict(candidate, violations)


def retake(settings: Settings, payload: bytes, context: str | None) -> Candidate:
    """What a line kept in quarantine is now: an event of a JSONL file, or a row by its mapping as it is today.

    MAPPING_INVALID when the mapping it was read by is gone or wrong.
    """
    known = catalog.known_systems(settings)
    if context is None:
        return _jsonl_candidate(0, payload, known)
    how = orjson.loads(context)
    values = _values(payload)
    if values is None:
        message = "the line is no row; correct it in its file and ingest that again"
        return Candidate(0, payload, code="SCHEMA_INVALID", message=message)
    rules = (
        read_mapping(resolve(how["mapping"]), how["type"], how["system"])
        if how["mapping"]
        else plain_mapping(how["type"], how["system"], list(values), Path("quarantine"))
    )
    if rules.gathers:
        message = f"{rules.name} makes one event of several rows; ingest the whole file again"
        return Candidate(0, payload, code="SCHEMA_INVALID", message=message)
    if rules.system and rules.new_system:
        known = (*known, rules.system)
    return _row_candidate(0, values, rules, known, None, context)


def _values(payload: bytes) -> dict[str, Any] | None:
    try:
        values = orjson.loads(payload)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _context(mapping: str | Path | None, record_type: str | None, system: str | None) -> str:
    """How rows are read, as JSON; a mapping of one's own by its whole path, as the next call may come from elsewhere."""
    name = None if mapping is None else str(mapping)
    if name is not None and Path(name).is_file():
        name = str(Path(name).resolve())
    return orjson.dumps({"mapping": name, "type": record_type, "system": system}).decode()


def _ingest_file(
    log: EventLog | None,
    report: FileReport,
    read: _Read,
    correlation_id: str,
    progress: Progress | None,
) -> None:
    kept: set[int] = set()
    for batch in _chunks(read(), BATCH_ROWS):
        good: list[Candidate] = []
        bad: list[Candidate] = []
        for candidate in batch:
            (bad if candidate.code else good).append(candidate)
            report.set_aside.update(candidate.set_aside)
        if log is None:
            report.accepted += len(good)
        else:
            noes = [candidate for candidate in good if _is_a_no(candidate)]
            rest = [candidate for candidate in good if not _is_a_no(candidate)]
            bad += _append(log, report, rest, "bulk") + _append(log, report, noes, "live")
        _quarantine(log, report, bad, correlation_id, kept)
        report.rows += len(batch)
        if progress:
            progress(str(report.path), report.rows)


def _is_a_no(candidate: Candidate) -> bool:
    """A consent that is anything but given: whoever it is about must not be written to because it waited its turn."""
    event = _event(candidate)
    return registry.record_of(event["type"]) == "consent" and event["data"]["status"] != "granted"


def _verdict(candidate: Candidate, violations: Sequence[Violation]) -> Candidate:
    if not violations:
        return candidate
    first = violations[0]
    message = "; ".join(f"{found.path}: {found.message}" for found in violations[:3])
    return replace(candidate, code=first.code, path=first.path, message=message)


def _append(
    log: EventLog, report: FileReport, good: list[Candidate], lane: Lane
) -> list[Candidate]:
    """Append what is valid; answers what the log could not take, to be quarantined."""
    if not good:
        return []
    try:
        answers = log.append([_event(candidate) for candidate in good], lane=lane)
    except HandoffError as error:
        # A fault of the log, not of an event: looking for the one at fault would refuse all.
        if error.entry.status >= 500:
            raise
        if len(good) == 1:
            return [replace(good[0], code=error.code, path=error.path or "", message=error.message)]
        # One event that cannot be stored must not take its neighbours along.
        middle = len(good) // 2
        return [
            *_append(log, report, good[:middle], lane),
            *_append(log, report, good[middle:], lane),
        ]
    conflicts = []
    for candidate, answer in zip(good, answers, strict=True):
        if answer.status == "accepted":
            report.accepted += 1
        elif answer.status == "duplicate":
            report.duplicate += 1
        else:
            message = f"id {_event(candidate).get('id')!r} was accepted before with other content"
            conflicts.append(
                replace(candidate, code="IDEMPOTENCY_CONFLICT", path="/id", message=message)
            )
    return conflicts


def _quarantine(
    log: EventLog | None,
    report: FileReport,
    bad: list[Candidate],
    correlation_id: str,
    kept: set[int],
) -> None:
    if not bad:
        return
    messages = [f"{report.path}: line {found.line}: {found.message}" for found in bad]
    ids = (
        list(range(-len(bad), 0))
        if log is None
        else log.quarantine(
            [
                _rejection(found, message, correlation_id)
                for found, message in zip(bad, messages, strict=True)
            ]
        )
    )
    for found, message, kept_as in zip(bad, messages, ids, strict=True):
        if kept_as in kept and log is not None:
            report.duplicate += 1
            continue
        kept.add(kept_as)
        if found.code == "IDEMPOTENCY_CONFLICT":
            report.conflict += 1
        else:
            report.quarantined += 1
        report.add_problem(found.line, found.code, found.path, message, found.remedy)


def _rejection(candidate: Candidate, message: str, correlation_id: str) -> Rejection:
    event = candidate.event or {}

    def text(name: str) -> str | None:
        value = event.get(name)
        return value if isinstance(value, str) else None

    schema = text("dataschema")
    return Rejection(
        door=DOOR,
        code=candidate.code,
        path=candidate.path,
        message=message,
        payload=candidate.payload,
        correlation_id=correlation_id,
        event_source=text("source"),
        event_id=text("id"),
        event_type=text("type"),
        contract_version=schema.rpartition(":")[2] if schema else None,
        context=candidate.context,
    )


def _event(candidate: Candidate) -> dict[str, Any]:
    assert candidate.event is not None
    return candidate.event


def _chunks(candidates: Iterable[Candidate], size: int) -> Iterator[list[Candidate]]:
    chunk: list[Candidate] = []
    fault: HandoffError | None = None
    try:
        for candidate in candidates:
            chunk.append(candidate)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except HandoffError as error:
        # What was read before the file broke is taken before the fault is told.
        fault = error
    if chunk:
        yield chunk
    if fault is not None:
        raise fault
