"""Polls Google-Calendar-shaped calendars, one per rep; what an event means is staging's
business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ingestion.connectors.calendar.google import calendar_ids, opened, pages
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import Session, UpstreamRefusal, parse_time, time_text
from ingestion.erasure.named import Named
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("events",)
# Whose calendar it is stands among the attendees.
NAMED: Mapping[str, Named] = {
    "events": Named((("address", "organizer.email"), ("address", "attendees[].email")), least=2)
}
PAGE = 2_500


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALENDAR_URL is set."""
    return bool(settings.calendar_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Events of every calendar by update time, cancelled ones included; the payload names its
    `calendarId`, and the zone its whole days are of (`calendarTimeZone`).

    Args:
        resource: "events".
        since: ISO 8601; events updated at or after it (`updatedMin`), None for all.
        settings: Address, token, and the calendars to read (none named: every one the token sees).

    Source: Calendar API v3, "Events: list" and "CalendarList: list".
    """
    with opened(settings) as http:
        rows: list[Extracted] = []
        for calendar in calendar_ids(http, settings):
            rows += _changed(http, calendar, since)
        # Each calendar is in order of its own; the cursor is common to all of them.
        yield from batched(by_time(rows), PAGE)


def _changed(http: Session, calendar: str, since: str | None) -> list[Extracted]:
    path = f"calendars/{quote(calendar, safe='')}/events"
    params: dict[str, Any] = {
        "maxResults": PAGE,
        "showDeleted": "true",
        "orderBy": "updated",
        # What repeats comes as its occurrences, each with `recurringEventId` and
        # `originalStartTime`; those called off as well.
        "singleEvents": "true",
    }
    if since is None:
        return _read(http, path, params, calendar)
    instant = time_text(parse_time(since))
    try:
        return _read(http, path, {**params, "updatedMin": instant}, calendar)
    except UpstreamRefusal as error:
        # Google answers 410 when `updatedMin` is too long ago: all is read anew, known rows are
        # dropped later.
        if error.status != 410:
            raise
        return _read(http, path, params, calendar)


def _read(http: Session, path: str, params: dict[str, Any], calendar: str) -> list[Extracted]:
    return [
        _extracted(calendar, page.get("timeZone"), item)
        for page in pages(http, path, params)
        for item in page["items"]
    ]


def _extracted(calendar: str, zone: str | None, item: dict[str, Any]) -> Extracted:
    return Extracted(
        record_id=str(item["id"]),
        updated_at=parse_time(item["updated"]),
        is_deleted=item.get("status") == "cancelled",
        payload={**item, "calendarId": calendar, "calendarTimeZone": zone},
    )
