"""When reps are taken, of Google calendars: `freeBusy` says it, and nothing of what they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ingestion.connectors.busy import Interval, merged
from ingestion.connectors.calendar.google import calendar_ids, opened
from ingestion.connectors.polling import parse_time
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

# Most calendars of one question ("calendarExpansionMax"); longer times are refused (timeRangeTooLong).
MOST_CALENDARS, LONGEST = 50, timedelta(days=30)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALENDAR_URL is set."""
    return bool(settings.calendar_url)


def busy(
    settings: Settings, calendars: Sequence[str], start: datetime, end: datetime
) -> list[Interval]:
    """Taken times of `calendars`; UPSTREAM_REJECTED when one of them says nothing.

    Google counts what is shown as busy (`transparency: opaque`) and was not declined, tentative and
    unanswered invitations too, whole days from midnight to midnight in the calendar's zone. It does
    not tell which are tentative.

    Source: "Freebusy: query"; scope calendar.freebusy or calendar.readonly.
    """
    found: list[Interval] = []
    with opened(settings) as http:
        asked = list(calendars) or calendar_ids(http, settings)
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
    return merged(found, start, end)
