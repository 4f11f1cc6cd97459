"""A rebuilt world that form submits of its own people come into, landed and decided as the worker does, with the file held open."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from benchmarks import worlds
from benchmarks.records import form_submit

if TYPE_CHECKING:
    from ingestion.settings import Settings
    from orchestration.transform import Scope, Transformed


class Arriving:
    """Batches into the warehouse of `settings`, a minute apart; the numbers of events go on from one to the next."""

    def __init__(self, settings: Settings) -> None:
        from ingestion.landing.warehouse import connect
        from orchestration.warm_warehouse import WarmWarehouse

        self._settings = settings
        self._warm = WarmWarehouse(settings)
        self.now: datetime = worlds.AS_OF
        self._submits = 0
        with connect(settings) as connection:
            [(self._seq,)] = connection.execute(
                "select max(seq) from raw_events.activities"
            ).fetchall()
            self._people: list[str] = [
                person
                for (person,) in connection.execute(
                    "select distinct record_id from raw_events.contacts where system = 'web'"
                    " order by hash(record_id) limit 100000"
                ).fetchall()
            ]

    def batch(self, count: int, scope: Scope = "decisions") -> tuple[float, Transformed]:
        """Land `count` form submits and bring `scope` up to them; returns seconds of both, and what dbt said."""
        from ingestion.landing.raw_tables import EVENTS, event_tables
        from ingestion.landing.warehouse import open_raw
        from orchestration.transform import transform

        table = self._submitted(count)
        schemas, hints = event_tables()
        started = time.perf_counter()
        self._warm.take()
        with open_raw(self._settings, EVENTS, schemas, hints) as raw:
            raw.append({"activities": table})
        done = transform(self._settings, as_of=self.now, scope=scope)
        seconds = time.perf_counter() - started
        if done.scope != scope or done.is_full_refresh:
            raise AssertionError(f"a batch became more than that: {done.reason}")
        return seconds, done

    def _submitted(self, count: int) -> Any:
        """Form submits of as many people, as the raw table has them."""
        from ingestion.landing.events import to_table
        from ingestion.log.interface import LogEntry

        self.now += timedelta(minutes=1)
        entries = []
        for _ in range(count):
            self._seq += 1
            self._submits += 1
            event = form_submit(10**9 + self._submits, 0, "contact_sales", self.now)
            event["data"]["contact_id"] = self._people[self._submits % len(self._people)]
            del event["data"]["email"]
            entries.append(LogEntry(self._seq, self.now, event))
        unfit: list[str] = []
        table = to_table("activity", entries, unfit)
        if unfit:
            raise AssertionError(f"not as the contract has it: {unfit}")
        return table
