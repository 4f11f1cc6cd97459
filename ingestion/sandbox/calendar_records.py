"""What stands in the reps' calendars: meetings with prospects and their outcome, internal meetings,
absences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from ingestion import time_zones
from ingestion.sandbox.cast import OWN_DOMAIN, Person, Rep
from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.identifiers import google_event_id
from ingestion.sandbox.spelling import hubspot_time


class CalendarRecords:
    """Collects `events` by rep e-mail."""

    def __init__(self, draft: Draft) -> None:
        """Starts with an empty calendar for every rep."""
        self.draft = draft
        self.events: dict[str, list[Record]] = {rep.email: [] for rep in draft.cast.reps}

    def _slot(self, rep: Rep, day: datetime, rng: Random) -> datetime:
        """A half hour inside the rep's working hours on the next working day on or after `day`."""
        zone = time_zones.zone(rep.time_zone)
        local = day.astimezone(zone)
        while local.weekday() >= 5:
            local += timedelta(days=1)
        begin, end = (
            int(part[:2]) * 2 + (part[3:] == "30") for part in rep.working_hours.split("-")
        )
        half_hours = rng.randrange(begin, end)
        return local.replace(
            hour=half_hours // 2, minute=30 * (half_hours % 2), second=0, microsecond=0
        ).astimezone(UTC)

    def meeting(self, person: Person, rep: Rep, touched: datetime) -> str | None:
        """Books a meeting for about 60 % of worked leads; returns its outcome, None without a
        meeting."""
        rng = self.draft.draw["calendar"]
        if rng.random() > 0.62:
            return None
        booked_at = touched + timedelta(hours=rng.uniform(0.2, 20))
        booked_at = min(booked_at, self.draft.anchor - timedelta(minutes=20))
        starts_at = self._slot(rep, booked_at + timedelta(days=rng.uniform(1, 9)), rng)
        is_past = starts_at + timedelta(minutes=30) < self.draft.anchor - timedelta(hours=1)
        roll = rng.random()
        outcome, status, updated = "", "confirmed", booked_at
        if roll > 0.9:
            status = "cancelled"
            updated = min(booked_at + timedelta(hours=5), self.draft.anchor - timedelta(minutes=2))
        elif is_past:
            outcome = "held" if roll < 0.7 else "no_show" if roll < 0.86 else ""
            updated = starts_at + timedelta(minutes=45) if outcome else booked_at
        sequence = 1 if rng.random() < 0.15 else 0
        self._calendar_event(
            rep, f"Intro call: {person.company.name}", starts_at, 30, booked_at, updated,
            status=status, attendee=person.email, outcome=outcome, sequence=sequence,
        )  # fmt: skip
        return "cancelled" if status == "cancelled" else outcome or "booked"

    def fill(self) -> None:
        """Internal meetings and absences, which busy time and routing must respect."""
        rng = self.draft.draw["calendar"]
        for number, rep in enumerate(self.draft.cast.reps):
            series = google_event_id(Random(f"series {number}"))
            for week in range(-4, 3):
                day = self.draft.anchor + timedelta(days=7 * week + rng.randrange(0, 5))
                starts_at = self._slot(rep, day, rng)
                written = min(starts_at, self.draft.anchor) - timedelta(days=3)
                self._calendar_event(
                    rep, "Pipeline review", starts_at, 60, written, written, series=series
                )
            if number % 4 == 1:
                zone = time_zones.zone(rep.time_zone)
                start = (self.draft.anchor + timedelta(days=3 + number)).astimezone(zone)
                start = start.replace(hour=0, minute=0, second=0, microsecond=0)
                written = self.draft.anchor - timedelta(days=12)
                self._calendar_event(
                    rep, "Out of office", start.astimezone(UTC), 3 * 24 * 60, written, written,
                    event_type="outOfOffice",
                )  # fmt: skip

    def _calendar_event(
        self,
        rep: Rep,
        summary: str,
        starts_at: datetime,
        minutes: int,
        created: datetime,
        updated: datetime,
        *,
        status: str = "confirmed",
        attendee: str | None = None,
        outcome: str = "",
        sequence: int = 0,
        event_type: str = "default",
        series: str | None = None,
    ) -> None:
        event = calendar_event(
            google_event_id(self.draft.draw["calendar"]), rep, summary, starts_at, minutes,
            created, updated, status=status, attendee=attendee, outcome=outcome,
            sequence=sequence, event_type=event_type,
        )  # fmt: skip
        if series:
            # One occurrence of what repeats, as `singleEvents` gives it.
            stamp = starts_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
            event |= {
                "id": f"{series}_{stamp}",
                "iCalUID": f"{series}@google.com",
                "recurringEventId": series,
                "originalStartTime": event["start"],
            }
        self.events[rep.email].append(event)


def calendar_event(
    event_id: str,
    rep: Rep,
    summary: str,
    starts_at: datetime,
    minutes: int,
    created: datetime,
    updated: datetime,
    *,
    status: str = "confirmed",
    attendee: str | None = None,
    outcome: str = "",
    sequence: int = 0,
    event_type: str = "default",
) -> Record:
    """An event of the rep's calendar as the Calendar API shows it; with `attendee`, a meeting with a
    prospect."""
    zone = time_zones.zone(rep.time_zone)
    attendees: list[Record] = [
        {"email": rep.email, "organizer": True, "self": True, "responseStatus": "accepted"}
    ]
    if attendee:
        answer = "declined" if status == "cancelled" else "accepted"
        attendees.append({"email": attendee, "responseStatus": answer})
    return {
        "kind": "calendar#event",
        "id": event_id,
        "etag": f'"{int(updated.timestamp()) * 2}000"',
        "iCalUID": f"{event_id}@{OWN_DOMAIN}",
        "status": status,
        "eventType": event_type,
        "summary": summary,
        "start": {
            "dateTime": starts_at.astimezone(zone).isoformat(timespec="seconds"),
            "timeZone": rep.time_zone,
        },
        "end": {
            "dateTime": (starts_at + timedelta(minutes=minutes))
            .astimezone(zone)
            .isoformat(timespec="seconds"),
            "timeZone": rep.time_zone,
        },
        "organizer": {"email": rep.email, "self": True},
        "creator": {"email": rep.email, "self": True},
        "attendees": attendees,
        "sequence": sequence,
        "created": hubspot_time(created),
        "updated": hubspot_time(updated),
        "extendedProperties": {"private": {"outcome": outcome}} if attendee else {},
    }
