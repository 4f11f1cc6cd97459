"""What a landing reports, and how it tells its progress; no landing happens here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

# Called with what is being moved ("raw_events", "hubspot.contacts") and how many rows so far.
Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Landed:
    """Rows appended by table; `first_seq`..`last_seq` are log positions (events) or segments
    (polls), None when none.

    `removed` counts rows of loads that had died and were landed anew; `unrepresentable` names
    values a column cannot hold (`contacts.birth_date of seq 7: '…'`): they are null there and
    intact in the log. Of the lanes of the log, `live_events` and `bulk_events` were taken now and
    `bulk_waiting` have to wait.
    """

    rows: dict[str, int]
    first_seq: int | None
    last_seq: int | None
    seconds: float
    removed: dict[str, int] = field(default_factory=dict)
    unrepresentable: tuple[str, ...] = ()
    live_events: int = 0
    bulk_events: int = 0
    bulk_waiting: int = 0

    @property
    def total(self) -> int:
        """Rows appended to all tables."""
        return sum(self.rows.values())
