"""Gathers what many callers hand in and commits it in groups on one thread; knows nothing of
storage.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from ingestion.errors.catalog import HandoffError

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """A bounded queue in front of `commit`, which gets a list of items and answers a list of
    results in order.

    While one group is being committed the next one gathers, so a disk that syncs slowly makes
    groups larger, not answers fewer. An item has a `count` (events) and a `size` (bytes); the queue
    is full when either bound would be passed, except that an empty queue takes anything.
    """

    def __init__(
        self,
        commit: Callable[[list[Item]], Sequence[Result]],
        *,
        name: str,
        max_pending: int = 20_000,
        max_pending_bytes: int = 64 * 1024 * 1024,
        max_group: int = 4_096,
    ) -> None:
        """Start the thread, called `name`; a group holds at most `max_group` events or one item."""
        self._commit = commit
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        self._max_group = max_group
        self._queue: deque[tuple[Item, int, int, Future[Result]]] = deque()
        self._pending = 0
        self._pending_bytes = 0
        self._stopping = False
        self._changed = threading.Condition()
        # Daemon: a program that ends without close() must not hang; what it was not told is on disk
        # may be lost.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self, item: Item, count: int, size: int, room_seconds: float = 0.0
    ) -> Future[Result]:
        """Queue `item`; LOG_UNAVAILABLE when stopping, or without room after `room_seconds`."""
        future: Future[Result] = Future()
        with self._changed:
            if room_seconds:
                self._changed.wait_for(
                    lambda: self._stopping or not self._is_full(count, size), room_seconds
                )
            self._refuse_if_unable(count, size)
            self._queue.append((item, count, size, future))
            self._pending += count
            self._pending_bytes += size
            self._changed.notify_all()
        return future

    def check(self) -> None:
        """Raise LOG_UNAVAILABLE when one more event would be refused."""
        with self._changed:
            self._refuse_if_unable(1, 0)

    def waiting(self) -> tuple[int, int]:
        """Events and bytes queued or being committed."""
        with self._changed:
            return self._pending, self._pending_bytes

    def close(self) -> None:
        """Refuse new items, commit those queued, and wait for that."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _refuse_if_unable(self, count: int, size: int) -> None:
        if self._stopping:
            raise HandoffError("LOG_UNAVAILABLE", "the event log is stopping")
        if self._is_full(count, size):
            raise HandoffError(
                "LOG_UNAVAILABLE",
                f"the event log's queue is full: {self._pending} events wait for the disk",
            )

    def _is_full(self, count: int, size: int) -> bool:
        return bool(self._pending) and (
            self._pending + count > self._max_pending
            or self._pending_bytes + size > self._max_pending_bytes
        )

    def _take(self) -> list[tuple[Item, int, int, Future[Result]]]:
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            group: list[tuple[Item, int, int, Future[Result]]] = []
            total = 0
            while self._queue and (not group or total + self._queue[0][1] <= self._max_group):
                group.append(self._queue.popleft())
                total += group[-1][1]
            return group

    def _run(self) -> None:
        while group := self._take():
            try:
                results = self._commit([item for item, _, _, _ in group])
                failure: Exception | None = None
            except Exception as error:
                results, failure = [], error
            with self._changed:
                self._pending -= sum(count for _, count, _, _ in group)
                self._pending_bytes -= sum(size for _, _, size, _ in group)
                self._changed.notify_all()
            for position, (_, _, _, future) in enumerate(group):
                # A caller may have cancelled its future; its event is on disk all the same.
                if not future.set_running_or_notify_cancel():
                    continue
                if failure is not None:
                    future.set_exception(failure)
                else:
                    future.set_result(results[position])
