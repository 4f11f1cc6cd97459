"""Polls Google-Calendar-shaped calendars, one per rep; what an event means is staging's
business."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.polling import Session, UpstreamRefusal, bearer, parse_time, session
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("events",)
PAGE = 2_500


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALENDAR_URL is set."""
    return bool(settings.calendar_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Events of every calendar by update time, cancelled ones included; the payload names its
    `calendarId`.

    Args:
        resource: "events".
        since: ISO 8601; events updated at or after it (`updatedMin`), None for all.
        settings: Address, token, and the calendars to read (none named: every one the token sees).

    Source: Calendar API v3, "Events: list" and "CalendarList: list".
    """
    with session(settings, "calendar", bearer(settings, "calendar")) as http:
        named = [name.strip() for name in settings.calendar_ids.split(",") if name.strip()]
        calendars = named or [item["id"] for item in _items(http, "users/me/calendarList", {})]
        rows: list[Extracted] = []
        for calendar in calendars:
            rows += (_extracted(calendar, item) for item in _changed(http, calendar, since))
        # Each calendar is in order of its own; the cursor is common to all of them.
        rows.sort(key=lambda row: row.updated_at)
        for start in range(0, len(rows), PAGE):
            yield rows[start : start + PAGE]


def _changed(http: Session, calendar: str, since: str | None) -> list[dict[str, Any]]:
    path = f"calendars/{quote(calendar, safe='')}/events"
    params: dict[str, Any] = {"maxResults": PAGE, "showDeleted": "true", "orderBy": "updated"}
    if since is None:
        return list(_items(http, path, params))
    instant = parse_time(since).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        return list(_items(http, path, {**params, "updatedMin": instant}))
    except UpstreamRefusal as error:
        # Google answers 410 when `updatedMin` is too long ago: all is read anew, known rows are
        # dropped later.
        if error.status != 410:
            raise
        return list(_items(http, path, params))


def _items(http: Session, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    asked = dict(params)
    while True:
        answer = http.get(path, asked)
        yield from answer.get("items", [])
        if not answer.get("nextPageToken"):
            return
        asked["pageToken"] = answer["nextPageToken"]


def _extracted(calendar: str, item: dict[str, Any]) -> Extracted:
    return Extracted(
        record_id=str(item["id"]),
        updated_at=parse_time(item["updated"]),
        is_deleted=item.get("status") == "cancelled",
        payload={**item, "calendarId": calendar},
    )
