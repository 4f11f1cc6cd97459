"""What is due, and what an attempt's end changes: of the delivery, and of what is believed of the subscriber."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import orjson

from ingestion.errors.catalog import HandoffError
from ingestion.subscribers.attempt import Answer, render
from ingestion.subscribers.outbox import Outbox, instant, microseconds
from ingestion.subscribers.schedule import hold_delay, retry_delay
from ingestion.subscribers.subscription import DeliveryPolicy, Subscriber

# enabled: sent to. disabled: failed for too long, and is probed. gone: answered 410. paused: a person stopped it.
EndpointState = Literal["enabled", "disabled", "gone", "paused"]

MICROSECONDS = 1_000_000

# Ours, and the same however often it is tried: a dead letter at once, and no fault of the subscriber's.
OWN_FAULTS = frozenset({"PAYLOAD_TOO_LARGE", "MESSAGE_UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to attempt now; a probe asks a disabled subscriber whether it is back."""

    delivery_id: int
    subscriber: str
    message_id: str
    kind: str
    subject: str
    attempts: int
    is_probe: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is believed of a subscriber."""

    state: EndpointState = "enabled"
    reason: str | None = None
    changed_us: int = 0
    failing_since_us: int | None = None
    dead_in_a_row: int = 0
    holds: int = 0
    held_until_us: int = 0
    probe_due_us: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over."""

    due: Due
    started_us: int
    answer: Answer


def endpoint(outbox: Outbox, subscriber: str) -> Endpoint:
    """What is believed of a subscriber; everybody begins as enabled."""
    found = outbox.rows(
        "select state, reason, changed_us, failing_since_us, dead_in_a_row, holds, held_until_us, probe_due_us "
        "from endpoints where subscriber = ?",
        subscriber,
    )
    return Endpoint(*found[0]) if found else Endpoint()


def due_now(outbox: Outbox, name: str, now_us: int, room: int, busy: Collection[str]) -> list[Due]:
    """Up to `room` deliveries of a subscriber that may be attempted, of each subject only the oldest that is pending.

    `busy` are its subjects with an attempt under way. While the subscriber fails, one at a time is enough to learn that it is back.
    """
    state = endpoint(outbox, name)
    if state.state == "disabled":
        return [] if busy or now_us < state.probe_due_us else _probe(outbox, name)
    if state.state != "enabled" or now_us < state.held_until_us:
        return []
    if state.failing_since_us is not None:
        room = min(room, 1 - len(busy))
    if room <= 0:
        return []
    found = outbox.rows(
        "select delivery_id, subscriber, message_id, kind, subject, attempts from deliveries as due "
        "where subscriber = ? and state = 'pending' and due_us <= ? and not exists ("
        "select 1 from deliveries as older where older.subscriber = due.subscriber and older.subject = due.subject "
        "and older.state = 'pending' and older.delivery_id < due.delivery_id) "
        "order by due_us, delivery_id limit ?",
        name,
        now_us,
        room + len(busy),
    )
    return [Due(*row) for row in found if row[4] not in busy][:room]


def _probe(outbox: Outbox, name: str) -> list[Due]:
    """The oldest message the subscriber has not got: pending ones first, then dead letters."""
    for state in ("pending", "dead"):
        found = outbox.rows(
            "select delivery_id, subscriber, message_id, kind, subject, attempts from deliveries "
            f"where subscriber = ? and state = '{state}' order by delivery_id limit 1",
            name,
        )
        if found:
            return [replace(Due(*found[0]), is_probe=True)]
    return []


def body_of(outbox: Outbox, due: Due, subscriber: Subscriber) -> tuple[bytes, str | None]:
    """What is sent, and its trace parent; raises PAYLOAD_TOO_LARGE, and MESSAGE_UNKNOWN when it has been deleted."""
    found = outbox.rows(
        "select data, personal, consented, happened_us, trace_parent from messages where message_id = ?",
        due.message_id,
    )
    data, personal, consented, happened_us, trace_parent = found[0] if found else (None,) * 5
    if data is None:
        raise HandoffError("MESSAGE_UNKNOWN", f"the content of {due.message_id} is kept no longer")
    told = orjson.loads(data)
    if subscriber.personal_fields:
        # Fail closed: without consent for the destination the subscriber stands for, the fields are null.
        held = orjson.loads(personal) if personal else {}
        if subscriber.consent_destination not in orjson.loads(consented):
            held = {}
        told["personal"] = {name: held.get(name) for name in subscriber.personal_fields}
    return render(due.kind, instant(happened_us), told), trace_parent


def record(
    outbox: Outbox, ended: list[Ended], policy: DeliveryPolicy, now_us: int, jitter: random.Random
) -> None:
    """Write down how attempts ended; one transaction."""
    with outbox.transaction():
        for each in ended:
            if each.answer.is_delivered:
                _delivered(outbox, each, now_us)
            else:
                _failed(outbox, each, policy, now_us, jitter)


def _delivered(outbox: Outbox, ended: Ended, now_us: int) -> None:
    due = ended.due
    _keep_attempt(outbox, ended, "delivered")
    outbox.connection.execute(
        "update deliveries set state = 'delivered', attempts = attempts + 1, ended_us = ?, code = null, detail = null "
        "where delivery_id = ?",
        (now_us, due.delivery_id),
    )
    if due.attempts or due.is_probe:
        _let_follow(outbox, due, now_us)
    before = endpoint(outbox, due.subscriber)
    if before == Endpoint():
        return
    # A person's word stands: whoever paused it while this was under way wants it paused.
    is_back = before.state == "disabled"
    outbox.connection.execute(
        "update endpoints set failing_since_us = null, dead_in_a_row = 0, holds = 0, held_until_us = 0, "
        "state = ?, reason = ?, changed_us = ? where subscriber = ?",
        (
            "enabled" if is_back else before.state,
            "it answers again" if is_back else before.reason,
            now_us if is_back else before.changed_us,
            due.subscriber,
        ),
    )
    if is_back:
        outbox.connection.execute(
            "update deliveries set due_us = min(due_us, ?) where subscriber = ? and state = 'pending'",
            (now_us, due.subscriber),
        )


def _let_follow(outbox: Outbox, due: Due, now_us: int) -> None:
    """What waited behind it may go."""
    outbox.connection.execute(
        "update deliveries set due_us = min(due_us, ?) where subscriber = ? and subject = ? and state = 'pending'",
        (now_us, due.subscriber, due.subject),
    )


def _failed(
    outbox: Outbox, ended: Ended, policy: DeliveryPolicy, now_us: int, jitter: random.Random
) -> None:
    due, answer = ended.due, ended.answer
    before = endpoint(outbox, due.subscriber)
    is_dead = False
    if not due.is_probe and answer.code != "SUBSCRIBER_GONE":
        attempts = due.attempts + 1
        delay = retry_delay(policy, attempts, answer.retry_after, jitter)
        is_dead = delay is None or answer.code in OWN_FAULTS
        due_us = now_us + round((delay or 0) * MICROSECONDS)
        outbox.connection.execute(
            "update deliveries set state = ?, attempts = ?, due_us = ?, ended_us = ?, code = ?, detail = ? where delivery_id = ?",
            (
                "dead" if is_dead else "pending",
                attempts,
                due_us,
                now_us if is_dead else None,
                answer.code,
                answer.detail,
                due.delivery_id,
            ),
        )
        if is_dead:
            _let_follow(outbox, due, now_us)
        else:
            # What waits behind it is not due before it: looking for what is would find all of that again and again.
            outbox.connection.execute(
                "update deliveries set due_us = max(due_us, ?) where subscriber = ? and subject = ? and state = 'pending'",
                (due_us, due.subscriber, due.subject),
            )
    _keep_attempt(outbox, ended, "dead" if is_dead else "failed")
    if answer.code in OWN_FAULTS:
        return
    failing_since = before.failing_since_us or now_us
    dead_in_a_row = before.dead_in_a_row + is_dead
    holds, held_until = before.holds, before.held_until_us
    if answer.asks_for_less:
        holds += 1
        held_until = now_us + round(hold_delay(holds, answer.retry_after, jitter) * MICROSECONDS)
    state, reason, changed = before.state, before.reason, before.changed_us
    probe_due = now_us + round(policy.probe_seconds * MICROSECONDS)
    if answer.code == "SUBSCRIBER_GONE":
        state, reason, changed = "gone", answer.detail, now_us
    elif (
        state == "enabled" and now_us - failing_since >= policy.disable_after_seconds * MICROSECONDS
    ):
        hours = policy.disable_after_seconds / 3_600
        state, reason, changed = "disabled", f"failed for {hours:g} hours: {answer.detail}", now_us
    elif state == "enabled" and dead_in_a_row >= policy.disable_after_dead_letters:
        reason = f"{dead_in_a_row} dead letters in a row: {answer.detail}"
        state, changed = "disabled", now_us
    outbox.connection.execute(
        "insert or replace into endpoints values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            due.subscriber,
            state,
            reason,
            changed,
            failing_since,
            dead_in_a_row,
            holds,
            held_until,
            probe_due,
        ),
    )


def _keep_attempt(outbox: Outbox, ended: Ended, outcome: str) -> None:
    due, answer = ended.due, ended.answer
    if not outbox.rows("select 1 from deliveries where delivery_id = ?", due.delivery_id):
        # Erased while it was under way.
        return
    outbox.connection.execute(
        "insert into attempts (delivery_id, subscriber, kind, message_id, number, started_us, seconds, outcome, code, status, "
        "detail, answer) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            due.delivery_id,
            due.subscriber,
            due.kind,
            due.message_id,
            due.attempts + 1,
            ended.started_us,
            answer.seconds,
            outcome,
            answer.code,
            answer.status,
            answer.detail or None,
            answer.body or None,
        ),
    )


def next_due(outbox: Outbox, names: Collection[str]) -> int | None:
    """The earliest instant (microseconds) at which something of these subscribers may be due; None when nothing waits."""
    earliest: int | None = None
    for name in names:
        state = endpoint(outbox, name)
        if state.state == "disabled":
            at: int | None = state.probe_due_us
        elif state.state == "enabled":
            [(at,)] = outbox.rows(
                "select min(due_us) from deliveries where subscriber = ? and state = 'pending'",
                name,
            )
            at = None if at is None else max(at, state.held_until_us)
        else:
            at = None
        if at is not None and (earliest is None or at < earliest):
            earliest = at
    return earliest


def prune(outbox: Outbox, policy: DeliveryPolicy, now: datetime) -> int:
    """Delete the content of what ended longer ago than it is kept, and the answers to it; ids and figures stay, so nothing is told twice."""
    before = microseconds(now) - policy.keep_days * 86_400 * MICROSECONDS
    with outbox.transaction():
        outbox.connection.execute(
            "update messages set data = null, personal = null where data is not null and told_us < ? and not exists ("
            "select 1 from deliveries where deliveries.message_id = messages.message_id and (state = 'pending' or ended_us >= ?))",
            (before, before),
        )
        changed = outbox.connection.changes()
        outbox.connection.execute(
            "update attempts set answer = null where answer is not null and started_us < ?",
            (before,),
        )
    return int(changed)
