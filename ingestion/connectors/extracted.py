"""The shape in which every source hands over a polled record; how it was fetched is the source's
business."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ingestion.settings import Settings


@dataclass(frozen=True, slots=True)
class Extracted:
    """One version of one record as the outside system shows it; `updated_at` is aware, UTC, and
    the cursor.

    `is_snapshot`: the payload is the record's whole present state and may come back to what it was
    without a new `updated_at`, as a mark that is taken back does; then what it came back to is news.
    """

    record_id: str
    updated_at: datetime
    is_deleted: bool
    payload: dict[str, Any]
    is_snapshot: bool = False


class Source(Protocol):
    """What `ingestion.connectors.<system>.source` offers: its resources and their pages in cursor
    order."""

    RESOURCES: tuple[str, ...]

    def configured(self, settings: Settings) -> bool:
        """Whether the settings name the system's address; an unconfigured system is skipped."""
        ...

    def extract(
        self, resource: str, since: str | None, settings: Settings
    ) -> Iterable[list[Extracted]]:
        """Yield pages of `resource` changed at or after `since` (ISO 8601), oldest change first."""
        ...
