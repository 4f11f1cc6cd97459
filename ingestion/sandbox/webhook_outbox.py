"""Every webhook the sandbox sends, with its attempts and their answers, in the sandbox's state file;
sending is webhook_sender.py's."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

State = Literal["queued", "delivered", "refused", "failed", "withheld"]
STATES: dict[str, str] = {
    "queued": "waits for its time or its next attempt",
    "delivered": "answered 2xx",
    "refused": "answered 4xx: trying again would change nothing",
    "failed": "given up after the last attempt",
    "withheld": "kept back by a fault; a replay sends it",
}
ANSWER_KEPT = 2_000

_TABLES = (
    "create table if not exists webhook_deliveries ("
    "world text not null, number integer not null, message_id text not null, system text not null, "
    "persona text, action text not null, type text not null, created_at text not null, "
    "body blob not null, state text not null, due_at text not null, tries integer not null, "
    "is_replay integer not null, primary key (world, number)) without rowid",
    "create unique index if not exists webhook_deliveries_by_id "
    "on webhook_deliveries (world, message_id)",
    "create table if not exists webhook_attempts ("
    "world text not null, number integer not null, attempt integer not null, at text not null, "
    "url text not null, headers text not null, status integer, answer text, error text, "
    "faults text not null, is_replay integer not null, "
    "primary key (world, number, attempt)) without rowid",
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook; `tries` counts the attempts since it was queued last, `due_at` is when the next
    is due."""

    number: int
    id: str
    system: str
    persona: str | None
    action: str
    type: str
    created_at: str
    body: bytes
    state: State
    due_at: str
    tries: int
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One time a webhook was sent, or kept from being: `status` None without an answer."""

    at: datetime
    url: str
    headers: dict[str, str]
    status: int | None
    answer: str | None
    error: str | None
    faults: tuple[str, ...]


def stamp(at: datetime) -> str:
    """An instant as it is kept: of one width and zone, so that text compares as time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


class Outbox:
    """The deliveries of one world; safe to use from several threads."""

    def __init__(self, world_key: str, state_path: Path | None) -> None:
        """`state_path` None keeps them in memory."""
        self._world = world_key
        self._lock = threading.RLock()
        if state_path is not None:
            state_path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(
            state_path or ":memory:", check_same_thread=False, isolation_level=None
        )
        self._database.row_factory = sqlite3.Row
        self._database.execute("pragma busy_timeout = 10000")
        if state_path is not None:
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = normal")
        for table in _TABLES:
            self._database.execute(table)

    def close(self) -> None:
        """Closes the state file."""
        with self._lock:
            self._database.close()

    def clear(self) -> None:
        """Forgets every delivery of this world."""
        for table in ("webhook_deliveries", "webhook_attempts"):
            self._run(f"delete from {table} where world = ?", self._world)

    def add(
        self,
        message_id: str,
        system: str,
        persona: str | None,
        action: str,
        kind: str,
        body: bytes,
        now: datetime,
        due_at: datetime,
        state: State = "queued",
    ) -> Delivery:
        """A new delivery."""
        with self._lock:
            [[number]] = self._run(
                "insert into webhook_deliveries select ?, coalesce(max(number), 0) + 1, "
                "?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0 from webhook_deliveries where world = ? "
                "returning number",
                self._world, message_id, system, persona, action, kind, stamp(now), body, state,
                stamp(due_at), self._world,
            )  # fmt: skip
            return self._one(number)

    def find(
        self,
        *,
        ids: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        persona: str | None = None,
        system: str | None = None,
        state: str | None = None,
        after: int = 0,
        newest: int | None = None,
    ) -> list[Delivery]:
        """Deliveries that meet every condition given, oldest first.

        `since` ≤ created < `until`; `after` is a number; `newest` keeps that many of the youngest.
        """
        where, values = ["world = ?", "number > ?"], [self._world, after]
        for column, value in (("persona", persona), ("system", system), ("state", state)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if ids is not None:
            where.append(f"message_id in ({', '.join('?' for _ in ids)})")
            values += ids
        if since is not None:
            where.append("created_at >= ?")
            values.append(stamp(since))
        if until is not None:
            where.append("created_at < ?")
            values.append(stamp(until))
        text = f"select * from webhook_deliveries where {' and '.join(where)} order by number"
        if newest is not None:
            text = f"select * from ({text} desc limit {int(newest)}) order by number"
        return [_delivery(row) for row in self._run(text, *values)]

    def counts(self) -> dict[str, int]:
        """Deliveries by state."""
        rows = self._run(
            "select state, count(*) from webhook_deliveries where world = ? group by 1", self._world
        )
        return {state: count for state, count in rows}

    def next_due(self) -> Delivery | None:
        """The queued delivery that is due first."""
        rows = self._run(
            "select * from webhook_deliveries where world = ? and state = 'queued' "
            "order by due_at, number limit 1",
            self._world,
        )
        return _delivery(rows[0]) if rows else None

    def queue_again(self, number: int, due_at: datetime) -> None:
        """Makes a delivery due once more, as a replay."""
        self._run(
            "update webhook_deliveries set state = 'queued', due_at = ?, tries = 0, is_replay = 1 "
            "where world = ? and number = ?",
            stamp(due_at), self._world, number,
        )  # fmt: skip

    def put_off(self, number: int, due_at: datetime) -> None:
        """Another time for a queued delivery."""
        self._run(
            "update webhook_deliveries set due_at = ? where world = ? and number = ?",
            stamp(due_at), self._world, number,
        )  # fmt: skip

    def record(
        self, delivery: Delivery, attempt: Attempt, state: State, due_at: datetime | None = None
    ) -> int:
        """Keeps an attempt and what became of the delivery; the attempt's number, from 1."""
        answer = attempt.answer[:ANSWER_KEPT] if attempt.answer is not None else None
        with self._lock:
            self._run("begin immediate")
            [[count]] = self._run(
                "insert into webhook_attempts select ?, ?, coalesce(max(attempt), 0) + 1, "
                "?, ?, ?, ?, ?, ?, ?, ? from webhook_attempts where world = ? and number = ? "
                "returning attempt",
                self._world, delivery.number, stamp(attempt.at), attempt.url,
                orjson.dumps(attempt.headers).decode(), attempt.status, answer, attempt.error,
                ",".join(attempt.faults), int(delivery.is_replay), self._world, delivery.number,
            )  # fmt: skip
            self._run(
                "update webhook_deliveries set state = ?, tries = tries + 1, "
                "due_at = coalesce(?, due_at) where world = ? and number = ?",
                state, stamp(due_at) if due_at else None, self._world, delivery.number,
            )  # fmt: skip
            self._run("commit")
        return int(count)

    def attempts(self, number: int) -> list[dict[str, Any]]:
        """Attempts of a delivery, oldest first, JSON-ready."""
        return [
            {
                "attempt": row["attempt"],
                "at": row["at"],
                "url": row["url"],
                "headers": orjson.loads(row["headers"]),
                "status": row["status"],
                "answer": row["answer"],
                "error": row["error"],
                "faults": [name for name in row["faults"].split(",") if name],
                "is_replay": bool(row["is_replay"]),
            }
            for row in self._run(
                "select * from webhook_attempts where world = ? and number = ? order by attempt",
                self._world, number,
            )
        ]  # fmt: skip

    def shown(self, delivery: Delivery, whole: bool = False) -> dict[str, Any]:
        """A delivery as JSON; `whole` with its body and attempts, otherwise with the last one's."""
        attempts = self.attempts(delivery.number)
        last = attempts[-1] if attempts else None
        told: dict[str, Any] = {
            "number": delivery.number,
            "id": delivery.id,
            "system": delivery.system,
            "persona": delivery.persona,
            "action": delivery.action,
            "type": delivery.type,
            "at": delivery.created_at,
            "state": delivery.state,
            "due_at": delivery.due_at if delivery.state == "queued" else None,
            "attempt_count": len(attempts),
            "status": last["status"] if last else None,
            "error": last["error"] if last else None,
            "faults": sorted({name for row in attempts for name in row["faults"]}),
        }
        if whole:
            told |= {"body": orjson.loads(delivery.body), "attempts": attempts}
        return told

    def _one(self, number: int) -> Delivery:
        [row] = self._run(
            "select * from webhook_deliveries where world = ? and number = ?", self._world, number
        )
        return _delivery(row)

    def _run(self, text: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._database.execute(text, values).fetchall()


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        row["number"], row["message_id"], row["system"], row["persona"], row["action"], row["type"],
        row["created_at"], row["body"], row["state"], row["due_at"], row["tries"],
        bool(row["is_replay"]),
    )  # fmt: skip
