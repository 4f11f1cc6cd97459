"""Reads the log of marketing e-mails: sent, delivered, opened, clicked, bounced, unsubscribed.

The dated APIs leave it out ("Events API": it "doesn't include marketing email events"), so it is
read where it is, at email/public/v1/events; HubSpot keeps v1 until September 2027. Events come newest
first, between two instants; an offset stands for the place in that answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.hubspot.crm_objects import contacts_of_addresses, milliseconds
from ingestion.connectors.polling import Session

PATH = "email/public/v1/events"
PAGE = 1_000
# Nobody sent an e-mail by HubSpot before.
BEGINNING = datetime(2006, 1, 1, tzinfo=UTC)
# A window is held in memory to turn it round: one that gave more makes the next ones shorter.
WINDOW_EVENTS = 20_000
SHORTEST, LONGEST = timedelta(minutes=10), timedelta(days=4_000)


def email_events(
    http: Session, version: str, after: datetime | None, until: datetime
) -> Iterator[list[Extracted]]:
    """Pages of events from `after` to `until`, oldest first, each with `contactId`, the contact its
    recipient is of (null: HubSpot knows none)."""
    start, length = after or BEGINNING, LONGEST if after is None else timedelta(days=1)
    known: dict[str, str | None] = {}
    while start <= until:
        end = min(start + length, until + timedelta(milliseconds=1))
        events = _between(http, start, end)
        if events is None and end - start > SHORTEST:
            length = max((end - start) / 4, SHORTEST)
            continue
        if events is None:
            events = _between(http, start, end, WINDOW_EVENTS * 1_000) or []
        events.sort(key=lambda event: (event["created"], str(event["id"])))
        for at in range(0, len(events), PAGE):
            page = events[at : at + PAGE]
            contacts_of_addresses(http, version, map(_recipient, page), known)
            yield [_extracted(event, known) for event in page]
        start = end
        if len(events) < WINDOW_EVENTS // 4:
            length = min(length * 2, LONGEST)


def _between(
    http: Session, start: datetime, end: datetime, most: int = WINDOW_EVENTS
) -> list[dict[str, Any]] | None:
    """Events of [start, end), newest first; None when there are more than `most`."""
    params: dict[str, Any] = {
        "startTimestamp": milliseconds(start),
        # Inclusive in HubSpot.
        "endTimestamp": milliseconds(end) - 1,
        "limit": PAGE,
    }
    events: list[dict[str, Any]] = []
    while True:
        answer = http.get(PATH, params)
        events += answer["events"]
        if not answer.get("hasMore"):
            return events
        if len(events) >= most:
            return None
        params["offset"] = answer["offset"]


def _recipient(event: dict[str, Any]) -> str:
    return str(event.get("recipient") or "").strip().lower()


def _extracted(event: dict[str, Any], known: dict[str, str | None]) -> Extracted:
    return Extracted(
        record_id=str(event["id"]),
        updated_at=datetime.fromtimestamp(event["created"] / 1_000, tz=UTC),
        is_deleted=False,
        payload={**event, "contactId": known.get(_recipient(event))},
    )
