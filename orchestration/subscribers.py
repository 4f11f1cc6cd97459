"""Puts what was decided into the outbox of our own webhooks, and how deliveries went into the warehouse; what is told is said by the models
`sync_webhooks__*`, how it is delivered by `ingestion.subscribers`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect, has_table
from ingestion.settings import Settings
from ingestion.subscribers.deliverer import deliver_beside
from ingestion.subscribers.outbox import FILE_NAME, Message, Outbox, Told
from ingestion.subscribers.subscription import Subscribers
from models.policies.subscribers import load_subscribers

if TYPE_CHECKING:
    import duckdb

LEADS, MEETINGS = "sync.sync_webhooks__leads", "sync.sync_webhooks__meetings"
ALIASES = "sync.sync_webhooks__aliases"
# The transform whose decisions were told last, by the instant it finished at.
TOLD_THROUGH = "told_through"

ATTEMPTS_DDL = """
    create schema if not exists raw_webhooks;
    create table if not exists raw_webhooks.attempts (
        attempt_id bigint not null, subscriber varchar not null, kind varchar not null, message_id varchar not null, number bigint not null,
        outcome varchar not null, code varchar, status bigint, seconds double not null, started_at timestamptz not null,
        told_at timestamptz not null
    )
"""

_COPIED_AT_ONCE = 50_000
_NAMED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Telling:
    """One pass: what was told, and whether everything was looked through or only the people of the batch."""

    told: Told
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Batch:
    """The newest transform; `is_next` when the one before it was told, so that only its own people can have news."""

    finished_at: datetime
    since: str
    scope: str
    is_next: bool
    is_known: bool


def outbox_path(settings: Settings) -> Path:
    """The outbox, beside the event log: like it, it cannot be rebuilt."""
    return settings.log_dir / FILE_NAME


def subscribers_of(settings: Settings) -> Subscribers:
    """Who is told what; raises POLICY_INVALID."""
    return load_subscribers(settings.policies)


@contextlib.contextmanager
def delivering(settings: Settings) -> Iterator[None]:
    """Deliver beside whatever this process does, until the block ends."""
    ended = threading.Event()
    thread = deliver_beside(outbox_path(settings), lambda: subscribers_of(settings), ended)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tell(settings: Settings) -> Telling | None:
    """Put into the outbox what the newest transform decided and nobody was told; None while there are no subscribers.

    It costs what the batch holds, but for three cases in which everything since the first subscription is looked through: after a rebuild,
    after a transform whose telling was missed (its process died), and the first time. Told twice it tells nothing.
    """
    subscribers = subscribers_of(settings)
    if not subscribers.by_name or not settings.warehouse_path.exists():
        return None
    now = datetime.now(UTC)
    with (
        contextlib.closing(Outbox(outbox_path(settings))) as outbox,
        contextlib.closing(connect(settings)) as connection,
    ):
        since = min(outbox.subscribe(subscribers, now).values())
        batch = _newest_batch(connection, outbox.mark(TOLD_THROUGH))
        if batch is None:
            return None
        messages: list[Message] = []
        people = _people_of(connection, batch) if batch.is_next else None
        if not batch.is_known:
            messages += _lead_news(connection, outbox, subscribers, since, people)
        if batch.scope == "everything":
            # As many as there are meetings, and fct_meetings was just made whole.
            messages += _meeting_news(connection, outbox, subscribers, since)
        if subscribers.personal_fields():
            messages = _with_personal_fields(connection, subscribers, messages)
            _ask_consent_again(connection, outbox, people)
        told = outbox.tell(
            messages, subscribers, now, marks={TOLD_THROUGH: batch.finished_at.isoformat()}
        )
    return Telling(told, is_whole=people is None and not batch.is_known)


def copy_attempts(settings: Settings) -> int:
    """Bring the attempts that came since the last copy into `raw_webhooks.attempts`; returns how many."""
    if not outbox_path(settings).exists():
        return 0
    import pyarrow as pa

    copied = 0
    schema = pa.schema(
        [
            ("attempt_id", pa.int64()),
            *((name, pa.string()) for name in ("subscriber", "kind", "message_id")),
            ("number", pa.int64()),
            *((name, pa.string()) for name in ("outcome", "code")),
            ("status", pa.int64()),
            ("seconds", pa.float64()),
            *((name, pa.timestamp("us", tz="UTC")) for name in ("started_at", "told_at")),
        ]
    )
    with (
        contextlib.closing(Outbox(outbox_path(settings))) as outbox,
        contextlib.closing(connect(settings)) as connection,
    ):
        connection.execute(ATTEMPTS_DDL)
        [(newest,)] = connection.execute(
            "select coalesce(max(attempt_id), 0) from raw_webhooks.attempts"
        ).fetchall()
        while rows := outbox.rows(
            "select attempt_id, subscriber, attempts.kind, message_id, number, outcome, code, status, seconds, started_us, told_us "
            "from attempts join messages using (message_id) where attempt_id > ? order by attempt_id limit ?",
            newest,
            _COPIED_AT_ONCE,
        ):
            arrays = [
                pa.array(column, type=field.type)
                for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            connection.register("attempts_read", pa.Table.from_arrays(arrays, schema=schema))
            connection.execute("insert into raw_webhooks.attempts select * from attempts_read")
            connection.unregister("attempts_read")
            newest = rows[-1][0]
            copied += len(rows)
    return copied


def _newest_batch(connection: duckdb.DuckDBPyConnection, told_through: str | None) -> _Batch | None:
    after = datetime.fromisoformat(told_through) if told_through else datetime.fromtimestamp(0, UTC)
    newest = connection.execute(
        "select finished_at, since, scope, is_full_refresh from ops.transforms order by finished_at desc limit 1"
    ).fetchall()
    if not newest:
        return None
    [(finished_at, since, scope, is_full_refresh)] = newest
    [(untold,)] = connection.execute(
        "select count(*) from ops.transforms where finished_at > ?", [after]
    ).fetchall()
    is_next = told_through is not None and untold == 1 and not is_full_refresh
    return _Batch(finished_at, since, scope, is_next, is_known=untold == 0)


def _people_of(connection: duckdb.DuckDBPyConnection, batch: _Batch) -> list[str]:
    """Whom the batch touched, and who was dealt a lead because somebody else was."""
    found = connection.execute(
        "select person_id from intermediate.int_batch__touched_people"
    ).fetchall()
    if has_table(connection, "intermediate", "people_reassigned"):
        found += connection.execute(
            "select person_id from intermediate.people_reassigned where since = ?", [batch.since]
        ).fetchall()
    return sorted({person_id for (person_id,) in found if person_id is not None})


def _lead_news(
    connection: duckdb.DuckDBPyConnection,
    outbox: Outbox,
    subscribers: Subscribers,
    since: datetime,
    people: Sequence[str] | None,
) -> list[Message]:
    kinds = sorted({"mql.reached", "lead.assigned"} & subscribers.kinds())
    if not kinds or people == []:
        return []
    # Ids first: of most there is no news, and then nothing has to be read of what they say.
    found: list[tuple[Any, ...]] = []
    for named in [""] if people is None else _named(people, "person_id", "crossing_person_id"):
        found += connection.execute(
            "select message_id, decision_id, kind, person_id, happened_at "
            f"from {LEADS} where happened_at >= $since and list_contains($kinds, kind) {named}",
            {"since": since, "kinds": kinds},
        ).fetchall()
    news = outbox.news([(message_id, decision_id) for message_id, decision_id, *_ in found])
    fresh = {row[0] for row, is_news in zip(found, news, strict=True) if is_news}
    if not fresh:
        return []
    # When the next decision about the same person happened: what was told before a merge lies in between.
    happened: dict[tuple[str, str], list[datetime]] = defaultdict(list)
    for _, _, kind, person_id, happened_at in found:
        happened[kind, person_id].append(happened_at)
    told_of = sorted({person_id for message_id, _, _, person_id, _ in found if message_id in fresh})
    aliases = _aliases(connection, told_of)
    rows = _said(connection, LEADS, told_of, "crossing_person_id")
    return [
        Message(
            message_id=message_id,
            decision_id=decision_id,
            kind=kind,
            subject=person_id,
            happened_at=happened_at,
            data=orjson.loads(payload),
            until=min((at for at in happened[kind, person_id] if at > happened_at), default=None),
            trace_parent=trace_parent,
            aliases=aliases.get(person_id, ()),
        )
        for message_id, decision_id, kind, person_id, payload, trace_parent, happened_at in rows
        if message_id in fresh
    ]


def _meeting_news(
    connection: duckdb.DuckDBPyConnection, outbox: Outbox, subscribers: Subscribers, since: datetime
) -> list[Message]:
    kinds = sorted({"meeting.booked", "meeting.outcome"} & subscribers.kinds())
    if not kinds:
        return []
    found = connection.execute(
        f"select message_id, decision_id, person_id from {MEETINGS} "
        "where happened_at >= $since and list_contains($kinds, kind)",
        {"since": since, "kinds": kinds},
    ).fetchall()
    news = outbox.news([(message_id, decision_id) for message_id, decision_id, _ in found])
    fresh = {row[0]: row[2] for row, is_news in zip(found, news, strict=True) if is_news}
    if not fresh:
        return []
    return [
        Message(
            message_id=message_id,
            decision_id=decision_id,
            kind=kind,
            subject=person_id,
            happened_at=happened_at,
            data=orjson.loads(payload),
        )
        for message_id, decision_id, kind, person_id, payload, _, happened_at in _said(
            connection, MEETINGS, sorted(set(fresh.values()))
        )
        if message_id in fresh
    ]


def _said(
    connection: duckdb.DuckDBPyConnection, model: str, people: Sequence[str], *columns: str
) -> Iterator[tuple[Any, ...]]:
    """What the model says of these people; with the names of the columns that hold who they are after the first."""
    trace_parent = "trace_parent" if model == LEADS else "null"
    for named in _named(people, "person_id", *columns):
        yield from connection.execute(
            f"select message_id, decision_id, kind, person_id, cast(payload as varchar), {trace_parent}, happened_at "
            f"from {model} where true {named}"
        ).fetchall()


def _aliases(
    connection: duckdb.DuckDBPyConnection, people: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    rows = f"select person_id, alias_person_id from {ALIASES} where alias_person_id <> person_id"
    return _by_person(connection, rows, people)


def _by_person(
    connection: duckdb.DuckDBPyConnection, rows: str, people: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The second column of `rows` for each of `people`, sorted; who has none is not there."""
    found: dict[str, list[str]] = defaultdict(list)
    for named in _named(people, "person_id"):
        for person_id, value in connection.execute(f"{rows}{named}").fetchall():
            found[person_id].append(value)
    return {person_id: tuple(sorted(values)) for person_id, values in found.items()}


def _named(people: Sequence[str], *columns: str) -> Iterator[str]:
    """Conditions that name the people one by one, so many at a time: the index is asked for values, and for a subquery under a view it is
    not (docs/decisions/0014)."""
    for start in range(0, len(people), _NAMED_AT_ONCE):
        part = people[start : start + _NAMED_AT_ONCE]
        names = ", ".join("'" + person_id.replace("'", "''") + "'" for person_id in part)
        yield "".join(f" and {column} in ({names})" for column in columns)


def _with_personal_fields(
    connection: duckdb.DuckDBPyConnection, subscribers: Subscribers, messages: Sequence[Message]
) -> list[Message]:
    """The fields anybody asks for; whether they go out is asked of consent, per subscriber and attempt."""
    if not messages:
        return []
    people = sorted({message.subject for message in messages})
    held = {
        person_id: {"email": email, "phone": phone, "first_name": first, "last_name": last}
        for named in _named(people, "person_id")
        for person_id, email, phone, first, last in connection.execute(
            f"select person_id, email, phone, first_name, last_name from marts.dim_people where not is_deleted {named}"
        ).fetchall()
    }
    reps = {
        rep_id: {"rep_name": name, "rep_email": email}
        for rep_id, name, email in connection.execute(
            "select rep_id, name, email from marts.dim_reps"
        ).fetchall()
    }
    consented = _consented(connection, people)
    wanted = subscribers.personal_fields()
    told = []
    for message in messages:
        rep = reps.get(str(message.data.get("rep_id")), {})
        fields = {**held.get(message.subject, {}), **rep}
        kept = {name: value for name, value in fields.items() if name in wanted}
        told.append(
            replace(message, personal=kept or None, consented=consented.get(message.subject, ()))
        )
    return told


def _ask_consent_again(
    connection: duckdb.DuckDBPyConnection, outbox: Outbox, people: Collection[str] | None
) -> None:
    """Of what is still on its way: a no that came meanwhile takes the personal fields out of it."""
    waiting = outbox.subjects_with_personal_fields()
    if people is not None:
        waiting = sorted(set(waiting).intersection(people))
    if waiting:
        consented = _consented(connection, waiting)
        outbox.set_consented({person_id: consented.get(person_id, ()) for person_id in waiting})


def _consented(
    connection: duckdb.DuckDBPyConnection, people: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    rows = "select person_id, destination from intermediate.int_consents__destinations where is_consented"
    return _by_person(connection, rows, people)


def tell_or_say_why(settings: Settings) -> tuple[Telling | None, str]:
    """`tell`, and what kept it from telling: the CRM is not kept waiting for a file that somebody mistyped."""
    try:
        return tell(settings), ""
    except HandoffError as error:
        return None, f"{error.code}: {error.message}"
