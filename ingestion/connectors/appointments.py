"""A meeting as calendars are told of it, and as iCalendar text; how a calendar is written to is the calendar's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from ingestion.settings import Settings

DOMAIN = "handoff"
REVISION = "X-HANDOFF-REVISION"
# Which booking an event is of and which of its revisions: what a repeated write is known by.
BOOKING_PROPERTY, REVISION_PROPERTY = "handoff_booking", "handoff_revision"


@dataclass(frozen=True, slots=True)
class Appointment:
    """A meeting of `organizer` with one attendee; `booking_id` makes its UID, `revision` grows with
    each change. `time_zone` (IANA) is the organizer's."""

    booking_id: str
    revision: int
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    title: str
    organizer_email: str
    organizer_name: str
    attendee_email: str | None
    attendee_name: str | None
    booked_at: datetime
    changed_at: datetime
    description: str | None = None
    location: str | None = None
    reminders: Sequence[timedelta] = ()

    @property
    def uid(self) -> str:
        """The event's UID (RFC 5545, 3.8.4.7); what stands before the @ is the booking."""
        return f"{self.booking_id}@{DOMAIN}"


class AppointmentBook(Protocol):
    """What `ingestion.connectors.<system>.appointments` offers."""

    def write(
        self, settings: Settings, calendar_id: str, appointment: Appointment, etag: str | None
    ) -> str | None:
        """Have the calendar hold `appointment`, made or changed; the version it has now.

        `etag` is the version known, None for a new one. What a person changed of it meanwhile beside
        its time and title stays. Repeated, it changes nothing.
        """
        ...

    def remove(
        self, settings: Settings, calendar_id: str, booking_id: str, etag: str | None
    ) -> None:
        """Have the calendar hold it no more; nothing happens where it is gone."""
        ...


def icalendar_text(appointment: Appointment, *, method: str | None = None) -> str:
    """The appointment as an iCalendar object; `method` PUBLISH makes it one to hand out.

    Times are in UTC: a local time that comes twice would say either.

    Source: RFC 5545; RFC 5546, 3.2.1 (PUBLISH).
    """
    import icalendar

    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//Handoff//Scheduling//EN")
    calendar.add("version", "2.0")
    if method is not None:
        calendar.add("method", method)
    event = icalendar.Event()
    fill_event(event, appointment)
    for before in appointment.reminders:
        alarm = icalendar.Alarm()
        alarm.add("action", "DISPLAY")
        alarm.add("description", appointment.title)
        alarm.add("trigger", -before)
        event.add_component(alarm)
    calendar.add_component(event)
    return str(calendar.to_ical().decode())


def fill_event(event: Any, appointment: Appointment) -> None:
    """Write what is ours into a VEVENT, in place of what stood there; of description, place and
    attendees only what is not there."""
    import icalendar

    organizer = icalendar.vCalAddress(f"mailto:{appointment.organizer_email}")
    organizer.params["CN"] = icalendar.vText(appointment.organizer_name)
    values: dict[str, Any] = {
        "uid": appointment.uid,
        "dtstamp": appointment.changed_at.replace(microsecond=0),
        "created": appointment.booked_at.replace(microsecond=0),
        "last-modified": appointment.changed_at.replace(microsecond=0),
        "dtstart": appointment.starts_at,
        "dtend": appointment.ends_at,
        "summary": appointment.title,
        "status": "CONFIRMED",
        "transp": "OPAQUE",
        # It begins with 0 (RFC 5545, 3.8.7.4).
        "sequence": appointment.revision - 1,
        "organizer": organizer,
        REVISION.lower(): str(appointment.revision),
    }
    # A person's own words stay.
    for name in ("description", "location"):
        told = getattr(appointment, name)
        if told is not None and name not in event:
            event.add(name, told)
    for name, value in values.items():
        event.pop(name, None)
        event.add(name, value)
    for name in ("duration", "recurrence-id", "rrule"):
        event.pop(name, None)
    if "attendee" not in event:
        for email, shown in (
            (appointment.organizer_email, appointment.organizer_name),
            (appointment.attendee_email, appointment.attendee_name),
        ):
            if email is not None:
                attendee = icalendar.vCalAddress(f"mailto:{email}")
                # Who books has said yes.
                attendee.params["PARTSTAT"] = icalendar.vText("ACCEPTED")
                if shown:
                    attendee.params["CN"] = icalendar.vText(shown)
                event.add("attendee", attendee, encode=0)


def revision_of(text: str) -> int | None:
    """The revision an iCalendar object has of a booking of ours; None for what is none."""
    import icalendar

    try:
        events = icalendar.Calendar.from_ical(text).walk("VEVENT")
        return int(str(events[0][REVISION])) if events else None
    except (ValueError, KeyError):
        return None
