"""What the edge counts for Prometheus, one registry per edge; who may read it is decided elsewhere."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar, cast

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ingestion.edge.admission import UnderWay
from ingestion.edge.intake import Item, Outcome
from ingestion.errors.catalog import catalog
from ingestion.log.interface import EventLog

Kind = TypeVar("Kind", Counter, Histogram)

MEDIA_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
# From a form's submission to our log: seconds as a rule, days after an outage of the sender.
LAG_SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400, 604_800)
# What the sender writes must not become a label without end.
_UNKNOWN = "unknown"


class Metrics:
    """Counters of one edge."""

    def __init__(self, log: EventLog, under_way: UnderWay, event_types: Sequence[str]) -> None:
        """`event_types` are the types that become labels; any other is `unknown`."""
        self._registry = CollectorRegistry()
        self._types = frozenset(event_types)
        self._children: dict[tuple[Counter | Histogram, tuple[str, ...]], Counter | Histogram] = {}
        self._accepted = Counter(
            "handoff_events",
            "Items taken at a door, by what became of them.",
            ("door", "type", "status"),
            registry=self._registry,
        )
        self._rejected = Counter(
            "handoff_rejections",
            "Items and requests refused, by error code.",
            ("door", "code"),
            registry=self._registry,
        )
        self._lag = Histogram(
            "handoff_event_lag_seconds",
            "Between an event's time and its receipt in the log.",
            ("type",),
            buckets=LAG_SECONDS,
            registry=self._registry,
        )
        self._requests = Histogram(
            "handoff_request_seconds",
            "Between a request's arrival and its answer.",
            ("route", "method", "status"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Depth(log, under_way))

    def count_outcomes(self, door: str, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        """Count what became of the items of one request."""
        taken: Tally[tuple[str, str]] = Tally()
        for item, outcome in zip(items, outcomes, strict=True):
            kind = self._type_of(item)
            taken[kind, outcome.status] += 1
            if outcome.violations:
                self.count_rejection(door, outcome.violations[0].code)
            if outcome.status == "accepted" and outcome.received_at is not None:
                lag = _lag_seconds(item, outcome.received_at)
                if lag is not None:
                    self._child(self._lag, kind).observe(lag)
        for (kind, status), count in taken.items():
            self._child(self._accepted, door, kind, status).inc(count)

    def count_rejection(self, door: str, code: str) -> None:
        """Count one refusal."""
        self._rejected.labels(door, code if code in catalog() else _UNKNOWN).inc()

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is the pattern that matched, never what was asked for."""
        known = (
            method if method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD") else _UNKNOWN
        )
        self._child(self._requests, route, known, str(status)).observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _child(self, metric: Kind, *labels: str) -> Kind:
        """The metric for these labels; the library's own look-up costs as much as all its counting."""
        found = self._children.get((metric, labels))
        if found is None:
            found = self._children[metric, labels] = metric.labels(*labels)
        return cast(Kind, found)

    def _type_of(self, item: Item) -> str:
        kind = item.event.get("type") if isinstance(item.event, dict) else None
        return kind if isinstance(kind, str) and kind in self._types else _UNKNOWN


class _Depth(Collector):
    """Read when asked for: how much waits, and how far the log has come."""

    def __init__(self, log: EventLog, under_way: UnderWay) -> None:
        self._log = log
        self._under_way = under_way

    def collect(self) -> list[GaugeMetricFamily]:
        waiting = self._log.waiting()
        gauges: list[tuple[str, str, Callable[[], float]]] = [
            ("handoff_log_waiting_events", "Events queued for the disk.", lambda: waiting[0]),
            ("handoff_log_waiting_bytes", "Bytes queued for the disk.", lambda: waiting[1]),
            ("handoff_log_last_seq", "The newest event of the log.", self._log.last_seq),
            (
                "handoff_quarantine_last_id",
                "The newest refusal that was kept.",
                self._log.last_quarantine_id,
            ),
            (
                "handoff_requests_under_way",
                "Requests being answered.",
                lambda: self._under_way.requests,
            ),
            (
                "handoff_body_bytes_under_way",
                "Bytes of their bodies.",
                lambda: self._under_way.body_bytes,
            ),
        ]
        return [GaugeMetricFamily(name, text, value=read()) for name, text, read in gauges]

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing to compare: reading the log only to register would be I/O at import."""
        return []


def _lag_seconds(item: Item, received_at: datetime) -> float | None:
    # Of an accepted event, so its contract has found it an instant.
    told = item.event.get("time") if item.event is not None else None
    if not isinstance(told, str):
        return None
    return max((received_at - datetime.fromisoformat(told.upper())).total_seconds(), 0.0)
