"""When reps are taken, of Google calendars: `freeBusy` says it, and events where it takes more than that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from ingestion import time_zones
from ingestion.connectors.busy import Interval, is_marked, merged
from ingestion.connectors.calendar.google import calendar_ids, opened, pages
from ingestion.connectors.polling import Session, parse_time
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

# Most calendars of one question ("calendarExpansionMax"); longer times are refused (timeRangeTooLong).
MOST_CALENDARS, LONGEST = 50, timedelta(days=30)
MOST_EVENTS = 2_500


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALENDAR_URL is set."""
    return bool(settings.calendar_url)


def busy(
    settings: Settings,
    calendars: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    markers: Sequence[str] = (),
    leaving_out: str | None = None,
) -> list[Interval]:
    """Taken times of `calendars`; UPSTREAM_REJECTED when one of them says nothing.

    Google counts what is shown as busy (`transparency: opaque`) and was not declined, tentative and
    unanswered invitations too, whole days from midnight to midnight in the calendar's zone. It does
    not tell which are tentative. Whole days with one of `markers`, and what is left out, are found
    among the events, which needs the right to read them.

    Source: "Freebusy: query"; scope calendar.freebusy or calendar.readonly. "Events: list".
    """
    found: list[Interval] = []
    with opened(settings) as http:
        asked = list(calendars) or calendar_ids(http, settings)
        if leaving_out is not None:
            # Free/busy joins what meets: our own event can only be left out among events.
            for name in asked:
                for event, zone in _events(http, name, start, end):
                    if event["id"] != leaving_out and (
                        event.get("transparency") != "transparent" or _is_marked_day(event, markers)
                    ):
                        found += _interval(name, event, zone)
            return merged(found, start, end)
        for first in range(0, len(asked), MOST_CALENDARS):
            part = asked[first : first + MOST_CALENDARS]
            since = start
            while since < end:
                until = min(since + LONGEST, end)
                answer = http.request(
                    "POST",
                    "freeBusy",
                    json={
                        "timeMin": since.isoformat(),
                        "timeMax": until.isoformat(),
                        "timeZone": "UTC",
                        "calendarExpansionMax": MOST_CALENDARS,
                        "items": [{"id": name} for name in part],
                    },
                )
                told = answer.get("calendars", {})
                for name in part:
                    one = told.get(name, {"errors": [{"reason": "notFound"}]})
                    if one.get("errors"):
                        # Whoever takes that for free books over everything.
                        reason = one["errors"][0].get("reason")
                        raise HandoffError("UPSTREAM_REJECTED", f"calendar: {name}: {reason}")
                    found += (
                        Interval(name, parse_time(taken["start"]), parse_time(taken["end"]))
                        for taken in one.get("busy", [])
                    )
                since = until
        if markers:
            for name in asked:
                for event, zone in _events(http, name, start, end):
                    if _is_marked_day(event, markers):
                        found += _interval(name, event, zone)
    return merged(found, start, end)


def _events(
    http: Session, name: str, start: datetime, end: datetime
) -> Iterator[tuple[dict[str, Any], str]]:
    """Events of a calendar within [start, end), and the zone of its whole days."""
    asked = {
        "timeMin": start.isoformat(),
        "timeMax": end.isoformat(),
        "singleEvents": "true",
        "maxResults": MOST_EVENTS,
    }
    for page in pages(http, f"calendars/{quote(name, safe='')}/events", asked):
        for event in page["items"]:
            if event.get("status") != "cancelled":
                yield event, str(page.get("timeZone") or "UTC")


def _is_marked_day(event: dict[str, Any], markers: Sequence[str]) -> bool:
    return "date" in event["start"] and is_marked([str(event.get("summary", ""))], markers)


def _interval(name: str, event: dict[str, Any], zone: str) -> list[Interval]:
    """When an event takes its calendar's owner; never, if they declined it."""
    own: dict[str, Any] = next((one for one in event.get("attendees", []) if one.get("self")), {})
    answer = own.get("responseStatus")
    if answer == "declined":
        return []
    first, last = (_moment(event[side], zone) for side in ("start", "end"))
    is_tentative = event.get("status") == "tentative" or answer in ("tentative", "needsAction")
    return [Interval(name, first, last, is_tentative)]


def _moment(told: dict[str, str], zone: str) -> datetime:
    if "dateTime" in told:
        return parse_time(told["dateTime"])
    day = datetime.fromisoformat(told["date"])
    return day.replace(tzinfo=time_zones.zone(zone)).astimezone(UTC)
