"""The outbox: a SQLite file beside the event log that remembers what was told, to whom, and how each attempt ended.

Here is what puts messages in; what takes them out stands in deliveries.py, what people do to them in desk.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import orjson

from ingestion.durable_file import sync_to_disk
from ingestion.errors.catalog import HandoffError
from ingestion.subscribers.subscription import MESSAGE_KINDS, MessageKind, Subscriber, Subscribers

FILE_NAME = "deliveries.sqlite"
BUSY_MILLISECONDS = 30_000

SCHEMA = """
create table if not exists messages (
    message_id text primary key,
    base_id text not null,
    decision_id text not null,
    kind text not null,
    subject text not null,
    happened_us integer not null,
    told_us integer not null,
    data blob,
    personal blob,
    consented text not null default '[]',
    trace_parent text,
    told_as text
) strict;
create index if not exists messages_of_base on messages (base_id);
create index if not exists messages_of_decision on messages (decision_id);
create index if not exists messages_of_subject on messages (subject, kind);
create table if not exists subscriptions (
    subscriber text not null,
    kind text not null,
    since_us integer not null,
    primary key (subscriber, kind)
) strict;
create table if not exists deliveries (
    delivery_id integer primary key,
    subscriber text not null,
    message_id text not null,
    kind text not null,
    subject text not null,
    state text not null,
    attempts integer not null default 0,
    due_us integer not null,
    created_us integer not null,
    ended_us integer,
    code text,
    detail text,
    unique (subscriber, message_id)
) strict;
create index if not exists pending_by_subject on deliveries (subscriber, subject, delivery_id) where state = 'pending';
create index if not exists pending_by_due on deliveries (subscriber, due_us) where state = 'pending';
create index if not exists ended_by_state on deliveries (subscriber, state, delivery_id) where state <> 'pending';
create table if not exists attempts (
    attempt_id integer primary key,
    delivery_id integer not null,
    subscriber text not null,
    kind text not null,
    message_id text not null,
    number integer not null,
    started_us integer not null,
    seconds real not null,
    outcome text not null,
    code text,
    status integer,
    detail text,
    answer blob
) strict;
create index if not exists attempts_of_subscriber on attempts (subscriber, started_us);
create table if not exists endpoints (
    subscriber text primary key,
    state text not null default 'enabled',
    reason text,
    changed_us integer not null,
    failing_since_us integer,
    dead_in_a_row integer not null default 0,
    holds integer not null default 0,
    held_until_us integer not null default 0,
    probe_due_us integer not null default 0
) strict;
create table if not exists marks (name text primary key, value text not null) strict;
"""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that is to be told: `message_id` follows from the decision and from what makes it news.

    `subject` is the person and the key of order. `happened_at` settles for whom it is new; `until` is when the next decision of this kind
    about the subject happened. `aliases` are ids the subject had, or could have had, before its records were merged. `personal` goes
    out for `consented` destinations alone.
    """

    message_id: str
    decision_id: str
    kind: MessageKind
    subject: str
    happened_at: datetime
    data: dict[str, Any]
    until: datetime | None = None
    trace_parent: str | None = None
    aliases: tuple[str, ...] = ()
    personal: dict[str, Any] | None = None
    consented: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What came of telling: messages that were new, and the deliveries they made."""

    messages: int
    deliveries: int


def microseconds(at: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return round(at.timestamp() * 1_000_000)


def instant(value: int) -> datetime:
    """The instant of so many microseconds since 1970."""
    return datetime.fromtimestamp(value / 1_000_000, UTC)


class Outbox:
    """One connection to the file, for one thread; the file is made when it is not there."""

    def __init__(self, path: Path) -> None:
        """Open it; raises LOG_UNAVAILABLE when it cannot be read or written."""
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_fresh = not path.exists()
            if is_fresh:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
                sync_to_disk(path.parent)
            self.connection = apsw.Connection(str(path))
            self.connection.set_busy_timeout(BUSY_MILLISECONDS)
            self.connection.execute("pragma journal_mode = wal")
            # What is told and what was delivered are commits that survive a power cut, as in the event log.
            self.connection.execute("pragma synchronous = full")
            # What is deleted here names people: it is overwritten.
            self.connection.execute("pragma secure_delete = on")
            with self.transaction():
                self.connection.execute(SCHEMA)
        except (apsw.Error, OSError) as error:
            raise HandoffError("LOG_UNAVAILABLE", f"{path}: {error}") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; waits for another process that is writing."""
        self.connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self.connection.execute("rollback")
            raise
        self.connection.execute("commit")

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a select."""
        return self.connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def version(self) -> int:
        """A number that changes when another connection has committed; costs microseconds to ask."""
        return int(self.connection.execute("pragma data_version").get)

    def mark(self, name: str) -> str | None:
        """A remembered text, None when there is none."""
        found = self.rows("select value from marks where name = ?", name)
        return str(found[0][0]) if found else None

    def subscribe(self, subscribers: Subscribers, now: datetime) -> dict[tuple[str, str], datetime]:
        """Since when each subscriber is told each kind: from now on for what is new in the configuration.

        Whoever is taken out and put back later begins anew.
        """
        wanted = {(each.name, kind) for each in subscribers.by_name.values() for kind in each.kinds}
        known = {
            (name, kind): since
            for name, kind, since in self.rows(
                "select subscriber, kind, since_us from subscriptions"
            )
        }
        if wanted != known.keys():
            with self.transaction():
                for name, kind in wanted - known.keys():
                    self.connection.execute(
                        "insert or ignore into subscriptions values (?, ?, ?)",
                        (name, kind, microseconds(now)),
                    )
                for name, kind in known.keys() - wanted:
                    self.connection.execute(
                        "delete from subscriptions where subscriber = ? and kind = ?", (name, kind)
                    )
        return {
            (name, kind): instant(since)
            for name, kind, since in self.rows(
                "select subscriber, kind, since_us from subscriptions"
            )
        }

    def news(self, messages: Sequence[tuple[str, str]]) -> list[bool]:
        """Of (message id, decision id), whether each is not what its decision was told as last."""
        select = "select base_id from messages where decision_id = ? order by told_us desc, rowid desc limit 1"
        cursor = self.connection.cursor()
        answers = []
        for message_id, decision_id in messages:
            found = cursor.execute(select, (decision_id,)).fetchone()
            answers.append(found is None or found[0] != message_id)
        return answers

    def tell(
        self,
        messages: Iterable[Message],
        subscribers: Subscribers,
        now: datetime,
        *,
        marks: dict[str, str] | None = None,
    ) -> Told:
        """Put in what is new, with a delivery for everybody who is told it, in the order in which it happened; one transaction with `marks`.

        What a decision was told as last is not told again, nor what was told of a person under an id it had before a merge.
        """
        since = self.subscribe(subscribers, now)
        ordered = sorted(
            messages,
            key=lambda each: (each.happened_at, MESSAGE_KINDS.index(each.kind), each.message_id),
        )
        told = delivered = 0
        with self.transaction():
            for message in ordered:
                receivers = [
                    each
                    for each in subscribers.by_name.values()
                    if message.kind in each.kinds
                    and message.happened_at >= since[each.name, message.kind]
                ]
                if not receivers or not self.news([(message.message_id, message.decision_id)])[0]:
                    continue
                told_as = self._told_before_merge(message)
                message_id = self._keep(message, now, told_as)
                if told_as is not None:
                    continue
                told += 1
                for each in receivers:
                    self._address(message, message_id, each, now)
                    delivered += 1
            for name, value in (marks or {}).items():
                self.connection.execute(
                    "insert into marks values (?, ?) on conflict (name) do update set value = excluded.value",
                    (name, value),
                )
        return Told(told, delivered)

    def subjects_with_personal_fields(self) -> list[str]:
        """Subjects of whom personal fields are still on their way."""
        return [
            subject
            for (subject,) in self.rows(
                "select distinct messages.subject from deliveries join messages using (message_id) "
                "where deliveries.state = 'pending' and messages.personal is not null"
            )
        ]

    def set_consented(self, consented: dict[str, Collection[str]]) -> None:
        """For each subject the destinations it may be written to now: personal fields of what is on its way follow."""
        with self.transaction():
            for subject, destinations in consented.items():
                self.connection.execute(
                    "update messages set consented = ? where subject = ? and personal is not null",
                    (orjson.dumps(sorted(destinations)).decode(), subject),
                )

    def forget_personal_fields(self, subjects: Collection[str]) -> int:
        """Delete the personal fields of these people, and what receivers answered to messages about them; returns messages changed."""
        changed = 0
        with self.transaction():
            for subject in subjects:
                self.connection.execute(
                    "update messages set personal = null where subject = ? and personal is not null",
                    (subject,),
                )
                changed += self.connection.changes()
                self.connection.execute(
                    "update attempts set answer = null, detail = null where message_id in "
                    "(select message_id from messages where subject = ?)",
                    (subject,),
                )
        return changed

    def erase(self, subjects: Collection[str]) -> list[str]:
        """Delete all that was told of these people and all that waits to be, from the disk too; returns the subscribers that were told of them."""
        told: set[str] = set()
        with self.transaction():
            for subject in subjects:
                told.update(
                    name
                    for (name,) in self.rows(
                        "select distinct subscriber from deliveries where subject = ? and attempts > 0",
                        subject,
                    )
                )
                self.connection.execute(
                    "delete from attempts where delivery_id in (select delivery_id from deliveries where subject = ?)",
                    (subject,),
                )
                for table in ("deliveries", "messages"):
                    self.connection.execute(f"delete from {table} where subject = ?", (subject,))
        # What was deleted before that was so, and what moved between pages.
        self.connection.execute("vacuum")
        with contextlib.suppress(apsw.BusyError):
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return sorted(told)

    def _told_before_merge(self, message: Message) -> str | None:
        until = microseconds(message.until) if message.until else (1 << 62)
        for alias in message.aliases:
            if alias == message.subject:
                continue
            found = self.rows(
                "select message_id from messages where subject = ? and kind = ? and happened_us >= ? and happened_us < ? limit 1",
                alias,
                message.kind,
                microseconds(message.happened_at),
                until,
            )
            if found:
                return str(found[0][0])
        return None

    def _keep(self, message: Message, now: datetime, told_as: str | None) -> str:
        # A decision that comes back to what it was before is news again, under another id.
        [(before,)] = self.rows(
            "select count(*) from messages where base_id = ?", message.message_id
        )
        message_id = message.message_id if not before else f"{message.message_id}.{before + 1}"
        self.connection.execute(
            "insert into messages values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message_id,
                message.message_id,
                message.decision_id,
                message.kind,
                message.subject,
                microseconds(message.happened_at),
                microseconds(now),
                orjson.dumps(message.data) if told_as is None else None,
                orjson.dumps(message.personal) if message.personal and told_as is None else None,
                orjson.dumps(sorted(message.consented)).decode(),
                message.trace_parent,
                told_as,
            ),
        )
        return message_id

    def _address(
        self, message: Message, message_id: str, subscriber: Subscriber, now: datetime
    ) -> None:
        self.connection.execute(
            "insert into deliveries (subscriber, message_id, kind, subject, state, due_us, created_us) "
            "values (?, ?, ?, ?, 'pending', ?, ?)",
            (
                subscriber.name,
                message_id,
                message.kind,
                message.subject,
                microseconds(now),
                microseconds(now),
            ),
        )
