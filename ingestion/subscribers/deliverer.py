"""Delivers what is due, in one process at a time: bounded requests at once, each subject in order, results on disk before the next ones."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from ingestion.errors.catalog import HandoffError
from ingestion.subscribers.attempt import Answer, Sender
from ingestion.subscribers.deliveries import (
    MICROSECONDS,
    Due,
    Ended,
    body_of,
    due_now,
    next_due,
    prune,
    record,
)
from ingestion.subscribers.outbox import Outbox
from ingestion.subscribers.subscription import Subscriber, Subscribers

LOCK_NAME = "deliveries.lock"
# What is asked of the file when nothing is due costs microseconds; it is how soon a new message leaves.
LOOK_SECONDS = 0.1
# How often the configuration is looked at, and another deliverer's lock.
RELOAD_SECONDS = 2.0
PRUNE_SECONDS = 3_600.0
MOST_AT_ONCE = 32

_log = structlog.get_logger(__name__)


@dataclass
class Delivered:
    """What one round of deliveries came to."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    by_subscriber: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@contextlib.contextmanager
def only_deliverer(folder: Path) -> Iterator[None]:
    """Be the one process that delivers; raises DELIVERER_RUNNING naming the other's pid. The kernel ends the lock with its holder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / LOCK_NAME).open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise HandoffError("DELIVERER_RUNNING", f"process {holder} is delivering") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class Deliverer:
    """Takes what is due out of an outbox; to be used by whoever holds `only_deliverer`."""

    def __init__(
        self,
        outbox: Outbox,
        load: Callable[[], Subscribers],
        *,
        clock: Callable[[], float] = time.time,
        jitter: random.Random | None = None,
    ) -> None:
        """`load` reads the configuration and may raise; what was read last stays in use then. `clock` gives Unix time."""
        self._outbox = outbox
        self._load = load
        self._clock = clock
        self._jitter = jitter or random.Random()
        self._subscribers = load()
        self._sender = Sender(self._subscribers.policy, clock)
        # Read, and not in use before everything under way has ended.
        self._next: Subscribers | None = None
        self._under_way: dict[asyncio.Task[Ended], Due] = {}
        self._loaded_at = time.monotonic()
        self._pruned_at = float("-inf")

    def once(self) -> Delivered:
        """Attempt everything that is due, and what becomes due meanwhile, until nothing is; what waits for a later time stays."""
        return asyncio.run(self._until(lambda busy: not busy))

    def run(self, stop: threading.Event) -> Delivered:
        """Deliver until `stop` is set; attempts under way are finished first."""
        return asyncio.run(self._until(lambda busy: stop.is_set()))

    async def _until(self, is_over: Callable[[bool], bool]) -> Delivered:
        done = Delivered()
        seen = -1
        try:
            while True:
                await self._reload()
                version = self._outbox.version()
                if version != seen or self._is_something_due():
                    seen = version
                    self._start()
                if is_over(bool(self._under_way)):
                    break
                if not self._under_way:
                    await asyncio.sleep(LOOK_SECONDS)
                    continue
                await self._finish(done, asyncio.FIRST_COMPLETED)
            while self._under_way:
                await self._finish(done, asyncio.ALL_COMPLETED)
        finally:
            for task in self._under_way:
                task.cancel()
            self._under_way.clear()
            await self._sender.close()
        return done

    def _is_something_due(self) -> bool:
        earliest = next_due(self._outbox, self._subscribers.by_name)
        return earliest is not None and earliest <= self._now_us()

    def _start(self) -> None:
        if self._next is not None:
            return
        policy = self._subscribers.policy
        for name, subscriber in self._subscribers.by_name.items():
            busy = {due.subject for due in self._under_way.values() if due.subscriber == name}
            room = min(policy.concurrency - len(busy), MOST_AT_ONCE - len(self._under_way))
            if room <= 0:
                continue
            for due in due_now(self._outbox, name, self._now_us(), room, busy):
                self._under_way[asyncio.ensure_future(self._attempt(due, subscriber))] = due

    async def _attempt(self, due: Due, subscriber: Subscriber) -> Ended:
        started_us = self._now_us()
        try:
            body, trace_parent = body_of(self._outbox, due, subscriber)
        except HandoffError as error:
            return Ended(due, started_us, Answer(0.0, error.code, detail=error.message))
        answer = await self._sender.send(subscriber, due.message_id, body, trace_parent)
        return Ended(due, started_us, answer)

    async def _finish(self, done: Delivered, when: str) -> None:
        # Not longer than a look: a message for another subscriber must not wait for a slow one.
        finished, _ = await asyncio.wait(self._under_way, timeout=LOOK_SECONDS, return_when=when)
        if not finished:
            return
        # Others that end in this moment share the commit.
        ended = [task.result() for task in finished]
        record(self._outbox, ended, self._subscribers.policy, self._now_us(), self._jitter)
        for task in finished:
            del self._under_way[task]
        for each in ended:
            if each.answer.is_delivered:
                done.delivered += 1
                done.by_subscriber[each.due.subscriber] += 1
            else:
                done.failed += 1
                _log.warning(
                    "delivery_failed",
                    subscriber=each.due.subscriber,
                    message_id=each.due.message_id,
                    attempt=each.due.attempts + 1,
                    code=each.answer.code,
                    detail=each.answer.detail,
                )
        # What they held back may go now.
        self._start()

    async def _reload(self) -> None:
        if time.monotonic() - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = time.monotonic()
            prune(
                self._outbox, self._subscribers.policy, datetime.fromtimestamp(self._clock(), UTC)
            )
        if time.monotonic() - self._loaded_at >= RELOAD_SECONDS:
            self._loaded_at = time.monotonic()
            try:
                subscribers = self._load()
            except HandoffError as error:
                _log.error("subscribers_unreadable", code=error.code, message=error.message)
            else:
                self._next = subscribers if subscribers != self._subscribers else None
        if self._next is not None and not self._under_way:
            await self._sender.close()
            self._subscribers, self._next = self._next, None
            self._sender = Sender(self._subscribers.policy, self._clock)

    def _now_us(self) -> int:
        return round(self._clock() * MICROSECONDS)


def deliver_beside(
    path: Path, load: Callable[[], Subscribers], stop: threading.Event
) -> threading.Thread:
    """A thread that delivers until `stop` is set, whenever there are subscribers and no other process delivers.

    It never raises: whatever ends it is logged and it begins again, as the process it stands in has other work.
    """

    def run() -> None:
        while not stop.is_set():
            try:
                if load().by_name:
                    with only_deliverer(path.parent), contextlib.closing(Outbox(path)) as outbox:
                        Deliverer(outbox, load).run(stop)
            except HandoffError as error:
                if error.code != "DELIVERER_RUNNING":
                    _log.error("deliverer_stopped", code=error.code, message=error.message)
            except Exception as error:
                _log.error("deliverer_stopped", code="INTERNAL", exc_info=error)
            stop.wait(RELOAD_SECONDS)

    thread = threading.Thread(target=run, name="deliverer", daemon=True)
    thread.start()
    return thread
