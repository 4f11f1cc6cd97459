"""/book/{token}: one lead chooses, books, moves and cancels one meeting; what the pages look like stands in booking_page.py."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import wraps
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Request
from starlette.responses import Response

from ingestion import time_zones
from ingestion.connectors.appointments import icalendar_text
from ingestion.contracts.instants import parse_instant
from ingestion.edge.bodies import read_body
from ingestion.edge.booking_desk import BookingDesk
from ingestion.edge.booking_links import BookingLinks, Link
from ingestion.edge.booking_look import HEADERS
from ingestion.edge.booking_page import (
    Shown,
    booked_page,
    choosing_page,
    confirming_page,
    over_page,
    refused_page,
)
from ingestion.edge.oauth import FORM, MAX_FORM_BYTES
from ingestion.edge.problems import RETRY_AFTER_SECONDS, Refused
from ingestion.edge.rate_limits import RateLimits
from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.bookings import Bookings, Slot, SlotRefused, Wish
from ingestion.scheduling.hosts import MeetingType
from ingestion.scheduling.store import Booking, Key, LinkUsed

ROUTE = "booking"
HTML, ICS = "text/html; charset=utf-8", "text/calendar; charset=utf-8"
WEEK = timedelta(days=7)
_SAID = {
    "booked": "The meeting is booked.",
    "moved": "The meeting was moved.",
    "cancelled": "The meeting is cancelled.",
}
_HEADINGS = {
    "LINK_INVALID": "This link does not work",
    "LINK_EXPIRED": "This link has run out",
    "RATE_LIMITED": "Too many requests",
}

Door = Callable[["BookingDoors", Request], Awaitable[Response]]


def _in_words(door: Door) -> Door:
    """The door, whose refusals are pages for people."""

    @wraps(door)
    async def answer(self: BookingDoors, request: Request) -> Response:
        try:
            return await door(self, request)
        except HandoffError as error:
            return _refusal(request, error)

    return answer


class BookingDoors:
    """The pages of one edge."""

    def __init__(self, desk: BookingDesk, links: BookingLinks, limits: RateLimits) -> None:
        """`limits` count requests by the address they come from: who has a link has no other name."""
        self._desk = desk
        self._links = links
        self._limits = limits

    @_in_words
    async def get(self, request: Request) -> Response:
        """The link's booking; without one the times to choose from, or one of them to confirm."""
        link = await self._enter(request)
        asked = request.query_params
        shown, booking = await self._desk.ask(self._shown, request, link)
        note = _SAID.get(asked.get("done", ""), "")
        shown = replace(shown, note=note)
        if booking is not None and booking.is_open:
            if "move" not in asked:
                return _html(booked_page(shown, booking))
            return await self._choose(request, link, shown, booking)
        if (
            booking is not None
            and "again" not in asked
            and "at" not in asked
            and "from" not in asked
        ):
            return _html(over_page(shown, booking))
        return await self._choose(request, link, shown, None)

    @_in_words
    async def post(self, request: Request) -> Response:
        """Book, move or cancel; the answer leads back to the link, so that a reload asks nothing twice."""
        link = await self._enter(request)
        form = await _form(request)
        shown, booking = await self._desk.ask(self._shown, request, link, form.get("zone"))
        try:
            done = await self._desk.ask(_act, form, link, booking, shown.zone)
        except SlotRefused as refused:
            moved = booking if booking is not None and booking.is_open else None
            sorry = replace(
                shown, note="That time has just been taken. These are free:", is_bad=True
            )
            times = [slot.starts_at for slot in refused.slots]
            today = _today(shown.zone, self._desk.now())
            page = choosing_page(sorry, times, today, today, today + WEEK, moved)
            return _html(page, refused.entry.status)
        query = urlencode({"zone": shown.zone, "done": done})
        return Response(status_code=303, headers={**HEADERS, "location": f"{shown.path}?{query}"})

    @_in_words
    async def get_ics(self, request: Request) -> Response:
        """The booking as an iCalendar file (RFC 5545)."""
        link = await self._enter(request)

        def answer(bookings: Bookings) -> str:
            booking = bookings.store.open_of_link(link.link_id)
            if booking is None:
                raise HandoffError("NOT_FOUND", "nothing is booked with this link")
            return icalendar_text(bookings.appointment(booking), method="PUBLISH")

        text = await self._desk.ask(answer)
        headers = {**HEADERS, "content-disposition": 'attachment; filename="meeting.ics"'}
        return Response(text, headers=headers, media_type=ICS)

    async def _enter(self, request: Request) -> Link:
        """The link of the address; LINK_INVALID, LINK_EXPIRED, RATE_LIMITED."""
        address = request.client.host if request.client else "unknown"
        await self._limits.count(ROUTE, address)
        link = self._links.read(request.path_params["token"], self._desk.now())
        request.state.caller = f"link {link.link_id}"
        return link

    def _shown(
        self, bookings: Bookings, request: Request, link: Link, zone: str | None = None
    ) -> tuple[Shown, Booking | None]:
        booking = bookings.store.open_of_link(link.link_id) or bookings.store.newest_of_link(
            link.link_id
        )
        meeting = _meeting_of(bookings, link)
        chosen = zone or request.query_params.get("zone", "")
        host_name, host_zone = None, "UTC"
        if booking is not None and booking.is_open:
            host_name, host_zone = booking.host_name, booking.time_zone
        else:
            hosts = bookings.hosts.hosts_for(link.invitee.person_id)
            if hosts:
                host_zone = hosts[0].time_zone
            if len(hosts) == 1:
                host_name = hosts[0].name
        if chosen not in time_zones.names():
            chosen = host_zone
        path = request.url.path.removesuffix("/meeting.ics")
        return Shown(path, meeting, link.invitee, chosen, host_name), booking

    async def _choose(
        self, request: Request, link: Link, shown: Shown, moved: Booking | None
    ) -> Response:
        asked = request.query_params
        if "at" in asked:
            at = _instant(asked["at"])
            return _html(confirming_page(shown, at, secrets.token_hex(16), moved))
        place = time_zones.zone(shown.zone)
        now = self._desk.now()
        today = now.astimezone(place).date()
        last_day = (now + shown.meeting.horizon).astimezone(place).date()
        first_day = min(max(_date(asked.get("from")) or today, today), last_day)

        def answer(bookings: Bookings, first: date) -> list[Slot]:
            start, end = (
                datetime.combine(day, time(), place).astimezone(UTC)
                for day in (first, first + WEEK)
            )
            if moved is not None:
                return bookings.slots_to_move(moved, start, end)
            return bookings.slots(shown.meeting, link.invitee.person_id, start, end)

        slots = await self._desk.ask(answer, first_day)
        while not slots and "from" not in asked and first_day + WEEK <= last_day:
            # Whoever opens the link sees the first times there are.
            first_day += WEEK
            slots = await self._desk.ask(answer, first_day)
        times = [slot.starts_at for slot in slots]
        return _html(choosing_page(shown, times, first_day, today, last_day, moved))


def _act(
    bookings: Bookings, form: dict[str, str], link: Link, booking: Booking | None, zone: str
) -> str:
    """Do what a form asks; what to say of it."""
    by = f"link {link.link_id}"
    action = form.get("action")
    if action == "cancel":
        if booking is not None and booking.is_open:
            bookings.cancel(booking.booking_id, by)
        return "cancelled"
    at = _instant(form.get("at", ""))
    if action == "reschedule" and booking is not None:
        bookings.reschedule(booking.booking_id, at, zone, by)
        return "moved"
    if action != "book":
        raise HandoffError("BAD_REQUEST", "the form asks for nothing that is known here")
    name = " ".join(form.get("name", "").split())[:200] or link.invitee.name
    invitee = replace(link.invitee, name=name)
    wish = Wish(link.meeting_type, at, zone, invitee, link_id=link.link_id)
    body = hashlib.sha256(f"{at.isoformat()}|{name}".encode()).hexdigest()
    # A press of the back button and another name or time is another wish, not a conflict.
    key = Key(by, f"{form.get('key', ''):.64}|{body:.16}", body)
    try:
        bookings.book(wish, key, by)
    except LinkUsed:
        # In another window; what is booked is shown.
        return "booked"
    return "booked"


def _meeting_of(bookings: Bookings, link: Link) -> MeetingType:
    found = bookings.hosts.rules().meeting_types.get(link.meeting_type)
    if found is None:
        raise HandoffError("LINK_INVALID", f"{link.meeting_type!r:.80} is not offered any more")
    return found


async def _form(request: Request) -> dict[str, str]:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != FORM:
        raise HandoffError("UNSUPPORTED_MEDIA_TYPE", f"the content type must be {FORM}")
    body = await read_body(request, MAX_FORM_BYTES)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True))
    except ValueError as error:
        raise HandoffError("BAD_REQUEST", f"the form cannot be read: {error}") from error


def _instant(text: str) -> datetime:
    try:
        found = parse_instant(text.replace(" ", "+"))
    except ValueError as error:
        raise HandoffError("BAD_REQUEST", f"{text!r:.80} is no time") from error
    if not 2000 <= found.year < 2100:
        raise HandoffError("BAD_REQUEST", f"{text!r:.80} is in no year in which anybody meets")
    return found


def _date(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return None


def _today(zone: str, now: datetime) -> date:
    return now.astimezone(time_zones.zone(zone)).date()


def _html(text: str, status: int = 200) -> Response:
    return Response(text, status, headers=HEADERS, media_type=HTML)


def _refusal(request: Request, error: HandoffError) -> Response:
    status = error.entry.status
    text = {
        "LINK_INVALID": "It was cut off or changed on its way, or is for something that is not offered any more."
        " Use the whole link as it was sent to you, or ask for a new one.",
        "LINK_EXPIRED": "Ask whoever sent it to you for a new one.",
        "RATE_LIMITED": "Wait a minute, then try again.",
    }.get(error.code)
    if text is None:
        text = (
            "Something does not answer at the moment. Nothing was booked or changed; try again in a minute."
            if status >= 500
            else error.message
        )
    heading = _HEADINGS.get(error.code, "That did not work")
    headers: dict[str, Any] = dict(HEADERS)
    if error.entry.retryable:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, Refused):
        headers |= error.headers
    page = refused_page(heading, text, request.state.trace.correlation_id)
    return Response(page, status, headers=headers, media_type=HTML)
