"""Writes bookings into CalDAV calendars, never over what it has not seen: `If-None-Match` for what is new, `If-Match` for what changes."""

from __future__ import annotations

from urllib.parse import quote

from ingestion.connectors.appointments import (
    DOMAIN,
    Appointment,
    fill_event,
    icalendar_text,
    revision_of,
)
from ingestion.connectors.caldav.client import Calendar, Client, connected
from ingestion.connectors.polling import UpstreamRefusal
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

# Somebody who edits the event at each of our attempts is no person.
ATTEMPTS = 5
_CHANGED, _GONE = 412, (404, 410)


def write(
    settings: Settings, calendar_id: str, appointment: Appointment, etag: str | None
) -> str | None:
    """Have the calendar of an owner's address, or at a path, hold `appointment`; its new etag.

    A write that was carried out and not answered is found by its revision when it is repeated. Where
    a person changed the event meanwhile, their version is taken and our times are put into it.

    Source: RFC 4791, 5.3.2 (PUT) and 5.3.4 (etags); RFC 9110, 13.1.
    """
    with connected(settings) as client:
        path = _path(_calendar(client, settings, calendar_id), appointment.booking_id)
        text = icalendar_text(appointment)
        if etag is not None:
            stored = client.stored(path)
            if stored is not None and stored.etag == etag:
                text = _merged(stored.text, appointment)
        for _ in range(ATTEMPTS):
            condition = ("If-None-Match", "*") if etag is None else ("If-Match", etag)
            try:
                written = client.put(path, text, condition)
                return written or _etag(client, path)
            except UpstreamRefusal as error:
                # RFC 9110, 13.1.1: If-Match fails of what is not there; some servers say 404.
                if error.status not in (_CHANGED, *_GONE):
                    raise
            stored = client.stored(path)
            if stored is None:
                etag, text = None, icalendar_text(appointment)
                continue
            known = revision_of(stored.text)
            if known is not None and known >= appointment.revision:
                return stored.etag
            etag, text = stored.etag, _merged(stored.text, appointment)
    raise HandoffError(
        "UPSTREAM_LOCKED", f"caldav: {path} was changed by somebody else at each of {ATTEMPTS} attempts"
    )  # fmt: skip


def remove(settings: Settings, calendar_id: str, booking_id: str, etag: str | None) -> None:
    """Have the calendar hold the booking no more, also where a person changed it meanwhile."""
    with connected(settings) as client:
        path = _path(_calendar(client, settings, calendar_id), booking_id)
        for _ in range(ATTEMPTS):
            etag = etag or _etag(client, path)
            if etag is None:
                return
            try:
                client.delete(path, etag)
                return
            except UpstreamRefusal as error:
                if error.status in _GONE:
                    return
                if error.status != _CHANGED:
                    raise
            etag = None
    raise HandoffError(
        "UPSTREAM_LOCKED", f"caldav: {path} was changed by somebody else at each of {ATTEMPTS} attempts"
    )  # fmt: skip


def _calendar(client: Client, settings: Settings, calendar_id: str) -> Calendar:
    for calendar in client.calendars(settings):
        if calendar.is_called(calendar_id):
            return calendar
    raise HandoffError("UPSTREAM_REJECTED", f"caldav has no calendar of {calendar_id}")


def _path(calendar: Calendar, booking_id: str) -> str:
    return f"{calendar.path.rstrip('/')}/{quote(booking_id)}-{DOMAIN}.ics"


def _etag(client: Client, path: str) -> str | None:
    stored = client.stored(path)
    return None if stored is None else stored.etag


def _merged(text: str, appointment: Appointment) -> str:
    """A person's version of the event with our times and title in it; their own words, alarms and
    answers stay."""
    import icalendar

    try:
        calendar = icalendar.Calendar.from_ical(text)
        events = calendar.walk("VEVENT")
    except ValueError:
        return icalendar_text(appointment)
    if not events:
        return icalendar_text(appointment)
    fill_event(events[0], appointment)
    return str(calendar.to_ical().decode())
