"""The shape in which every source hands over a polled record; how it was fetched is the source's
business."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from ingestion.erasure.named import Named
from ingestion.settings import Settings


@dataclass(frozen=True, slots=True)
class Extracted:
    """One version of one record as the outside system shows it; `updated_at` is aware, UTC, and
    the cursor.

    `cursor`: where the rows come in another order than that of `updated_at`, what they come in
    order of. `is_snapshot`: the payload is the record's whole present state and may come back to what it was
    without a new `updated_at`, as a mark that is taken back does; then what it came back to is news.
    """

    record_id: str
    updated_at: datetime
    is_deleted: bool
    payload: dict[str, Any]
    is_snapshot: bool = False
    cursor: datetime | None = None

    @property
    def place(self) -> datetime:
        """Where a poll that broke off after this row goes on."""
        return self.cursor or self.updated_at


class Known(Protocol):
    """What the archive holds of one resource."""

    def one(self, record_id: str) -> dict[str, Any] | None:
        """Payload of the newest version of a record."""
        ...

    def newest(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Payload of the newest version of each record whose id begins with `prefix`."""
        ...


class Source(Protocol):
    """What `ingestion.connectors.<system>.source` offers: its resources, where their rows name people, and
    their pages in cursor order."""

    RESOURCES: tuple[str, ...]
    NAMED: Mapping[str, Named]

    def configured(self, settings: Settings) -> bool:
        """Whether the settings name the system's address; an unconfigured system is skipped."""
        ...

    def extract(
        self, resource: str, since: str | None, settings: Settings
    ) -> Iterable[list[Extracted]]:
        """Yield pages of `resource` changed at or after `since` (ISO 8601), oldest change first."""
        ...


@runtime_checkable
class ResumingSource(Protocol):
    """A source that goes on from what is archived, where the system dates no changes."""

    def extract_from(
        self, resource: str, known: Known, settings: Settings
    ) -> Iterable[list[Extracted]]:
        """Yield pages of what changed since what is `known`."""
        ...
