"""Writes bookings into Google calendars under ids of our choice, so that a repeated write finds the first one."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ingestion.connectors.appointments import BOOKING_PROPERTY, REVISION_PROPERTY, Appointment
from ingestion.connectors.calendar.google import opened
from ingestion.connectors.polling import Session, UpstreamRefusal
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

ATTEMPTS = 5
_TAKEN, _CHANGED, _GONE = 409, 412, (404, 410)
# Invitations and what becomes of them go to the attendee by Google.
_TOLD = {"sendUpdates": "all"}


def write(
    settings: Settings, calendar_id: str, appointment: Appointment, etag: str | None
) -> str | None:
    """Have the calendar hold `appointment` as the event whose id is the booking's; its new etag.

    409 to an insert means that it was written before, answered or not: then, as when somebody changed
    it meanwhile (412), what there is is read, and patched unless it is this revision already. A patch
    names our own fields only, so a person's notes and answers stay.

    Source: "Events: insert" (id: 5 to 1,024 of 0-9 and a-v), "Events: patch", "Get specific versions
    of resources" (If-Match).
    """
    with opened(settings) as http:
        events = _path(calendar_id)
        one = f"{events}/{appointment.booking_id}"
        for _ in range(ATTEMPTS):
            try:
                if etag is None:
                    made = http.request(
                        "POST", events, params=_TOLD, json=_event(appointment, is_new=True)
                    )
                else:
                    made = http.request(
                        "PATCH",
                        one,
                        params=_TOLD,
                        json=_event(appointment, is_new=False),
                        headers={"if-match": etag},
                    )
                return str(made["etag"])
            except UpstreamRefusal as error:
                if error.status not in (_TAKEN, _CHANGED, *_GONE) or (
                    etag is None and error.status in _GONE
                ):
                    raise
            there = _get(http, one)
            if there is None:
                etag = None
                continue
            if there.get("status") != "cancelled" and _revision(there) >= appointment.revision:
                return str(there["etag"])
            etag = str(there["etag"])
    raise HandoffError(
        "UPSTREAM_LOCKED",
        f"calendar: {one} was changed by somebody else at each of {ATTEMPTS} attempts",
    )


def remove(settings: Settings, calendar_id: str, booking_id: str, etag: str | None) -> None:
    """Have the calendar hold the booking no more, whatever was changed of it meanwhile."""
    del etag
    with opened(settings) as http:
        try:
            http.answer("DELETE", f"{_path(calendar_id)}/{booking_id}", params=_TOLD)
        except UpstreamRefusal as error:
            # 410 is "deleted", as a repeated delete is answered.
            if error.status not in _GONE:
                raise


def _path(calendar_id: str) -> str:
    return f"calendars/{quote(calendar_id, safe='')}/events"


def _get(http: Session, one: str) -> dict[str, Any] | None:
    try:
        return dict(http.get(one))
    except UpstreamRefusal as error:
        if error.status in _GONE:
            return None
        raise


def _revision(event: dict[str, Any]) -> int:
    told = event.get("extendedProperties", {}).get("private", {}).get(REVISION_PROPERTY, "0")
    return int(told) if str(told).isdigit() else 0


def _event(appointment: Appointment, *, is_new: bool) -> dict[str, Any]:
    event: dict[str, Any] = {
        "status": "confirmed",
        "summary": appointment.title,
        "start": _moment(appointment.starts_at.isoformat(), appointment.time_zone),
        "end": _moment(appointment.ends_at.isoformat(), appointment.time_zone),
        "extendedProperties": {
            "private": {
                BOOKING_PROPERTY: appointment.booking_id,
                REVISION_PROPERTY: str(appointment.revision),
            }
        },
    }
    if not is_new:
        return event
    attendees = [{"email": appointment.organizer_email, "responseStatus": "accepted"}]
    if appointment.attendee_email is not None:
        invited = {"email": appointment.attendee_email, "responseStatus": "accepted"}
        if appointment.attendee_name:
            invited["displayName"] = appointment.attendee_name
        attendees.append(invited)
    event |= {"id": appointment.booking_id, "transparency": "opaque", "attendees": attendees}
    if appointment.description is not None:
        event["description"] = appointment.description
    if appointment.location is not None:
        event["location"] = appointment.location
    if appointment.reminders:
        event["reminders"] = {
            "useDefault": False,
            "overrides": [
                {"method": "popup", "minutes": int(before.total_seconds() // 60)}
                for before in appointment.reminders
            ],
        }
    return event


def _moment(text: str, time_zone: str) -> dict[str, str]:
    return {"dateTime": text, "timeZone": time_zone}
