"""What a person says of two records: that they are one person, or two. Puts it into the event log; decides nothing."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import has_table
from ingestion.log.owner import open_log
from ingestion.settings import Settings
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

Word = Literal["merge", "split"]


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a person as the last published run has it."""

    system: str
    record_id: str
    person_id: str

    @property
    def name(self) -> str:
        """As directives name it."""
        return f"{self.system}:{self.record_id}"


@dataclass(frozen=True, slots=True)
class Directive:
    """A word on two records, and what was written for it: nothing when it was in force already."""

    word: Word
    left: Record
    right: Record
    event: dict[str, Any] | None


def tell_directive(
    settings: Settings,
    word: Word,
    left: str,
    right: str,
    *,
    reason: str | None = None,
    dry_run: bool = False,
) -> Directive:
    """Append that the records `left` and `right` (system:record_id) are one person (`merge`) or two (`split`), for good: the newest word
    on a pair counts.

    Nothing is appended where the last published run holds the word already. Raises NOT_FOUND for a record no run has seen and
    BAD_REQUEST for a record and itself.
    """
    with contextlib.closing(open_serving(settings)) as connection:
        one, other = (_record(connection, told) for told in (left, right))
        if one.name == other.name:
            raise HandoffError(
                "BAD_REQUEST", f"{one.name} was named twice; a directive is about two records"
            )
        if _is_in_force(connection, word, one, other):
            return Directive(word, one, other, None)
    event = directive_event(one.name, other.name, word, "urn:handoff:identity-directive", reason)
    append_directive(settings, event, dry_run=dry_run)
    return Directive(word, one, other, event)


def directive_event(
    left: str, right: str, word: Word, source: str, reason: str | None
) -> dict[str, Any]:
    """The `com.handoff.merge` event of the system `handoff` that says it; `left` and `right` are system:record_id."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": source,
        "type": "com.handoff.merge",
        "subject": f"merge/handoff/{left}",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "system": "handoff",
            "surviving_id": left,
            "merged_ids": [right],
            "unmerge": word == "split",
        },
    }
    if reason:
        event["reviewreason"] = reason
    return event


def append_directive(settings: Settings, event: dict[str, Any], *, dry_run: bool) -> None:
    """Append it to the event log, as any sender's: checked against its contract first."""
    problems = registry.validate_event(event, catalog.known_systems(settings))
    assert not problems, problems
    if not dry_run:
        with contextlib.closing(open_log(settings)) as log:
            log.append([event])


def _record(connection: Any, told: str) -> Record:
    # handoff explain writes hubspot/contact/101, everything else hubspot:101.
    separator = "/" if "/" in told.partition(":")[0] else ":"
    system, _, rest = told.strip().partition(separator)
    for record_type in ("contact", "lead"):
        rest = rest.removeprefix(f"{record_type}/") if separator == "/" else rest
    found = named_rows(
        connection.execute(
            "select system, record_id, person_id from marts.entity_map "
            "where system = $system and record_id = $record_id and record_type not in ('account', 'email', 'visitor') and is_current",
            {"system": system, "record_id": rest},
        )
    )
    if not found:
        raise HandoffError(
            "NOT_FOUND",
            f"no run has seen a person's record '{told}'",
            remedy="Name it as system:record_id, e.g. hubspot:101; `handoff explain ADDRESS` lists the records of a person. "
            "An address that no record stands for (record type email) goes with the records that carry it.",
        )
    return Record(**found[0])


def _is_in_force(connection: Any, word: Word, one: Record, other: Record) -> bool:
    """Whether the last published run holds the word on the two; a warehouse that never published any holds none."""
    if not has_table(connection, "ops", "identity_directives"):
        return False
    found = connection.execute(
        "select count(*) from ops.identity_directives where word = $word and "
        "[left_system || ':' || left_record_id, right_system || ':' || right_record_id] in ([$one, $other], [$other, $one])",
        {"word": word, "one": one.name, "other": other.name},
    ).fetchall()
    return bool(found[0][0])
