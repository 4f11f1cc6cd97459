"""What people do to deliveries: look at them, send them again, stop and start a subscriber, try it out."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.subscribers.attempt import Answer, Sender, render
from ingestion.subscribers.deliveries import MICROSECONDS, Endpoint, EndpointState, endpoint
from ingestion.subscribers.outbox import Outbox, instant, microseconds
from ingestion.subscribers.subscription import DeliveryPolicy, Subscriber, Subscribers

# Figures of latency and success are about the newest attempts; how many those may be bounds what a look costs.
NEWEST_ATTEMPTS = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """How deliveries to one subscriber stand.

    `pending` counts `failing` in: those that failed at least once. `success_rate` (0..1), `p50_seconds` and `p95_seconds` are over the newest
    attempts of the last seven days; None without any.
    """

    subscriber: str
    state: str
    reason: str | None
    since: datetime | None
    delivered: int
    pending: int
    failing: int
    dead: int
    success_rate: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    oldest_pending_at: datetime | None
    held_until: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up, with the newest answer."""

    subscriber: str
    message_id: str
    kind: str
    subject: str
    attempts: int
    code: str | None
    detail: str | None
    answer: str | None
    told_at: datetime
    given_up_at: datetime
    can_be_replayed: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """Deliveries that are (or, in a dry run, would be) sent again, by subscriber, and those whose content is kept no longer."""

    by_subscriber: dict[str, int]
    forgotten: int


def standings(outbox: Outbox, subscribers: Subscribers, now: datetime) -> list[Standing]:
    """One row per subscriber, also of those that are configured no more and have something pending or dead."""
    counted = {
        (name, state): count
        for name, state, count in outbox.rows(
            "select subscriber, state, count(*) from deliveries group by subscriber, state"
        )
    }
    left = {name for (name, state) in counted if state != "delivered"}
    return [
        _standing(outbox, subscribers, name, counted, now)
        for name in sorted({*subscribers.by_name, *left})
    ]


def _standing(
    outbox: Outbox,
    subscribers: Subscribers,
    name: str,
    counted: dict[tuple[str, str], int],
    now: datetime,
) -> Standing:
    held = endpoint(outbox, name)
    state: str = held.state
    reason = held.reason
    if name not in subscribers.by_name:
        state, reason = "not configured", "subscribers.yml does not name it"
    elif state == "enabled" and held.failing_since_us is not None:
        state, reason = (
            "failing",
            f"since {instant(held.failing_since_us).isoformat(timespec='seconds')}",
        )
    attempts = outbox.rows(
        "select seconds, outcome from attempts where subscriber = ? and started_us > ? order by started_us desc limit ?",
        name,
        microseconds(now) - 7 * 86_400 * MICROSECONDS,
        NEWEST_ATTEMPTS,
    )
    taken = sorted(seconds for seconds, outcome in attempts if outcome == "delivered")
    [(failing, oldest)] = outbox.rows(
        "select coalesce(sum(attempts > 0), 0), min(created_us) from deliveries where subscriber = ? and state = 'pending'",
        name,
    )
    [(since,)] = outbox.rows("select min(since_us) from subscriptions where subscriber = ?", name)
    is_held = held.state == "enabled" and held.held_until_us > microseconds(now)
    return Standing(
        subscriber=name,
        state=state,
        reason=reason if state != "enabled" else None,
        since=None if since is None else instant(since),
        delivered=counted.get((name, "delivered"), 0),
        pending=counted.get((name, "pending"), 0),
        failing=failing,
        dead=counted.get((name, "dead"), 0),
        success_rate=len(taken) / len(attempts) if attempts else None,
        p50_seconds=_percentile(taken, 0.5),
        p95_seconds=_percentile(taken, 0.95),
        oldest_pending_at=None if oldest is None else instant(oldest),
        held_until=instant(held.held_until_us) if is_held else None,
    )


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank: a figure that was measured."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def dead_letters(outbox: Outbox, subscriber: str | None, limit: int) -> list[DeadLetter]:
    """The newest dead letters, of one subscriber or of all."""
    found = outbox.rows(
        "select deliveries.subscriber, message_id, deliveries.kind, deliveries.subject, attempts, code, detail, told_us, ended_us, "
        "messages.data is not null, (select answer from attempts where attempts.delivery_id = deliveries.delivery_id "
        "order by attempt_id desc limit 1) "
        "from deliveries join messages using (message_id) where state = 'dead' and (?1 is null or deliveries.subscriber = ?1) "
        "order by ended_us desc, delivery_id desc limit ?2",
        subscriber,
        limit,
    )
    return [
        DeadLetter(
            subscriber=row[0],
            message_id=row[1],
            kind=row[2],
            subject=row[3],
            attempts=row[4],
            code=row[5],
            detail=row[6],
            answer=None if row[10] is None else row[10].decode("utf-8", errors="replace"),
            told_at=instant(row[7]),
            given_up_at=instant(row[8]),
            can_be_replayed=bool(row[9]),
        )
        for row in found
    ]


def replay_messages(
    outbox: Outbox,
    message_ids: Sequence[str],
    subscriber: str | None,
    now: datetime,
    *,
    dry_run: bool,
) -> Replayed:
    """Send these messages again, to everybody who was told them or to one; raises MESSAGE_UNKNOWN before anything is changed."""
    chosen: list[int] = []
    for message_id in message_ids:
        found = outbox.rows(
            "select delivery_id from deliveries where message_id = ?1 and (?2 is null or subscriber = ?2)",
            message_id,
            subscriber,
        )
        if not found:
            whom = f" to {subscriber}" if subscriber else ""
            raise HandoffError("MESSAGE_UNKNOWN", f"no message '{message_id}' was told{whom}")
        chosen += [delivery_id for (delivery_id,) in found]
    return _replay(outbox, chosen, now, dry_run=dry_run)


def replay_since(
    outbox: Outbox,
    subscriber: str,
    since: datetime,
    now: datetime,
    *,
    dead_only: bool,
    dry_run: bool,
) -> Replayed:
    """Send one subscriber again what it was told since an instant; dead letters alone where asked for."""
    states = "('dead')" if dead_only else "('dead', 'delivered')"
    found = outbox.rows(
        f"select delivery_id from deliveries where subscriber = ? and state in {states} and created_us >= ?",
        subscriber,
        microseconds(since),
    )
    return _replay(outbox, [delivery_id for (delivery_id,) in found], now, dry_run=dry_run)


def _replay(
    outbox: Outbox, delivery_ids: Sequence[int], now: datetime, *, dry_run: bool
) -> Replayed:
    """Back among what is pending, in the order they had: older ones of a subject go before what waits already."""
    by_subscriber: dict[str, int] = {}
    forgotten = 0
    with outbox.transaction():
        for delivery_id in delivery_ids:
            [(name, has_content)] = outbox.rows(
                "select subscriber, data is not null from deliveries join messages using (message_id) where delivery_id = ?",
                delivery_id,
            )
            if not has_content:
                forgotten += 1
                continue
            by_subscriber[name] = by_subscriber.get(name, 0) + 1
            if not dry_run:
                outbox.connection.execute(
                    "update deliveries set state = 'pending', attempts = 0, due_us = ?, ended_us = null, code = null, detail = null "
                    "where delivery_id = ?",
                    (microseconds(now), delivery_id),
                )
    return Replayed(by_subscriber, forgotten)


def enable(outbox: Outbox, subscriber: str, now: datetime) -> Endpoint:
    """Send to it again, and at once what waits; answers what was believed of it."""
    return _set_state(outbox, subscriber, "enabled", "enabled by hand", now)


def pause(outbox: Outbox, subscriber: str, reason: str, now: datetime) -> Endpoint:
    """Send nothing to it until it is enabled; what it would be told waits. Answers what was believed of it."""
    return _set_state(outbox, subscriber, "paused", reason, now)


def _set_state(
    outbox: Outbox, subscriber: str, state: EndpointState, reason: str, now: datetime
) -> Endpoint:
    with outbox.transaction():
        before = endpoint(outbox, subscriber)
        outbox.connection.execute(
            "insert or replace into endpoints (subscriber, state, reason, changed_us) values (?, ?, ?, ?)",
            (subscriber, state, reason, microseconds(now)),
        )
        if state == "enabled":
            outbox.connection.execute(
                "update deliveries set due_us = min(due_us, ?) where subscriber = ? and state = 'pending'",
                (microseconds(now), subscriber),
            )
    return before


def ping(subscriber: Subscriber, policy: DeliveryPolicy) -> tuple[str, Answer]:
    """Send a signed `ping` now, past the outbox, and answer its id and what came of it."""
    message_id = f"ping-{uuid.uuid4()}"
    body = render("ping", datetime.now(UTC), {"subscriber": subscriber.name})

    async def send() -> Answer:
        sender = Sender(policy, time.time)
        try:
            return await sender.send(subscriber, message_id, body)
        finally:
            await sender.close()

    return message_id, asyncio.run(send())


def as_json(value: Any) -> Any:
    """A dataclass of this module with its instants as ISO 8601."""
    from dataclasses import asdict

    return {
        name: held.isoformat() if isinstance(held, datetime) else held
        for name, held in asdict(value).items()
    }
