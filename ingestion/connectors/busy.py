"""When somebody cannot be met, in the shape every calendar answers it; how it is found out is the
calendar's business."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ingestion.settings import Settings


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open time in UTC in which the owner of `calendar` is taken; `is_tentative` when that is
    not certain, which counts as taken all the same."""

    calendar: str
    start: datetime
    end: datetime
    is_tentative: bool = False


class BusySource(Protocol):
    """What `ingestion.connectors.<system>.busy` offers."""

    def configured(self, settings: Settings) -> bool:
        """Whether the settings name the system's address."""
        ...

    def busy(
        self,
        settings: Settings,
        calendars: Sequence[str],
        start: datetime,
        end: datetime,
        *,
        markers: Sequence[str] = (),
        leaving_out: str | None = None,
    ) -> list[Interval]:
        """Taken times of `calendars` (none named: of all) within [start, end), merged, by calendar
        and start; a calendar nobody can say anything of is an error, never free.

        A whole day shown as free is taken all the same when its title or category has one of
        `markers`. `leaving_out` is a booking of ours whose own event does not count.
        """
        ...


def is_marked(texts: Iterable[str], markers: Sequence[str]) -> bool:
    """Whether one of `markers` is among the words of a text, whatever their case."""
    return any(
        re.search(rf"(?<!\w){re.escape(marker)}(?!\w)", text, re.IGNORECASE)
        for marker in markers
        for text in texts
    )


def merged(intervals: Iterable[Interval], start: datetime, end: datetime) -> list[Interval]:
    """The times within [start, end) as few intervals: those that meet or overlap are one, tentative
    ones stand only where nothing certain does."""
    by_calendar: dict[str, list[Interval]] = {}
    for interval in intervals:
        first, last = max(interval.start, start), min(interval.end, end)
        if first < last:
            clipped = Interval(interval.calendar, first, last, interval.is_tentative)
            by_calendar.setdefault(interval.calendar, []).append(clipped)
    found: list[Interval] = []
    for calendar in sorted(by_calendar):
        certain = _joined([one for one in by_calendar[calendar] if not one.is_tentative])
        doubtful = _joined([one for one in by_calendar[calendar] if one.is_tentative])
        left = [part for one in doubtful for part in _without(one, certain)]
        found += sorted([*certain, *left], key=lambda one: one.start)
    return found


def _joined(intervals: list[Interval]) -> list[Interval]:
    found: list[Interval] = []
    for one in sorted(intervals, key=lambda one: one.start):
        if found and one.start <= found[-1].end:
            last = found[-1]
            found[-1] = Interval(
                last.calendar, last.start, max(last.end, one.end), last.is_tentative
            )
        else:
            found.append(one)
    return found


def _without(one: Interval, certain: list[Interval]) -> list[Interval]:
    parts: list[Interval] = []
    start = one.start
    for other in certain:
        if other.end <= start or other.start >= one.end:
            continue
        if start < other.start:
            parts.append(Interval(one.calendar, start, other.start, True))
        start = max(start, other.end)
    if start < one.end:
        parts.append(Interval(one.calendar, start, one.end, True))
    return parts
