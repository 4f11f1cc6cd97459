"""The booking desk behind the edge's doors: opened by the first who asks, repaired every minute; what callers say and hear stands elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import structlog

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.scheduling.bookings import Bookings
from ingestion.scheduling.calendars import Calendars
from ingestion.scheduling.databases import open_store
from ingestion.scheduling.hosts import Hosts
from ingestion.scheduling.store import BookingStore
from ingestion.settings import Settings

Answer = TypeVar("Answer")
# Databases and calendars are waited for in threads of the desk's own: they must not take those that
# events need.
THREADS = 16
REPAIR_SECONDS = 60.0

logger = structlog.get_logger("handoff.edge")


class BookingDesk:
    """One desk of one edge."""

    def __init__(
        self,
        settings: Settings,
        log: EventLog,
        hosts: Hosts | None,
        clock: Callable[[], datetime],
    ) -> None:
        """Opens nothing: events are taken also while the bookings' database is away. Without `hosts`
        nothing can be booked here."""
        self._settings = settings
        self._log = log
        self._hosts = hosts
        self._clock = clock
        self._opening = threading.Lock()
        self._store: BookingStore | None = None
        self._bookings: Bookings | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="handoff-bookings")

    def now(self) -> datetime:
        """The edge's clock."""
        return self._clock()

    async def ask(self, question: Callable[..., Answer], *values: Any, **named: Any) -> Answer:
        """What `question(bookings, …)` answers, in a thread; SERVING_MISSING without hosts."""
        loop = asyncio.get_running_loop()
        asked = partial(self._ask, question, *values, **named)
        return await loop.run_in_executor(self._pool, asked)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Repair at the start and every minute until the edge stops; then close what was opened."""
        repairing = asyncio.create_task(self._repairing()) if self._hosts is not None else None
        try:
            yield
        finally:
            if repairing is not None:
                repairing.cancel()
            await asyncio.to_thread(self._close)

    def _ask(self, question: Callable[..., Answer], *values: Any, **named: Any) -> Answer:
        return question(self._opened(), *values, **named)

    def _opened(self) -> Bookings:
        if self._hosts is None:
            raise HandoffError("SERVING_MISSING", "this edge was started without a warehouse")
        with self._opening:
            if self._bookings is None:
                self._store = open_store(self._settings)
                self._bookings = Bookings(
                    self._store, self._log, self._hosts, Calendars(self._settings), self._clock
                )
            return self._bookings

    async def _repairing(self) -> None:
        while True:
            try:
                done = await self.ask(Bookings.repair)
                if done.told or done.waiting:
                    logger.info("bookings repaired", told=done.told, waiting=done.waiting)
            except HandoffError as error:
                logger.warning("bookings are not repaired", code=error.code, detail=error.message)
            except Exception:
                # One bad minute is not the end of all repairs.
                logger.exception("bookings are not repaired")
            await asyncio.sleep(REPAIR_SECONDS)

    def _close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._bookings is not None:
            self._bookings.close()
        if self._store is not None:
            self._store.close()
