"""/v1/scheduling: slots, holds and bookings for programs; masked unless the caller may see personal values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from ingestion import time_zones
from ingestion.connectors.delivered import Delivered
from ingestion.contracts.instants import parse_instant
from ingestion.edge.bodies import JSON, media_type_of, read_body
from ingestion.edge.booking_desk import BookingDesk
from ingestion.edge.callers import Caller
from ingestion.edge.gate import Gate
from ingestion.edge.masking import masked
from ingestion.edge.problems import problem_response
from ingestion.edge.strict_json import read_items
from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.bookings import Bookings, Slot, SlotRefused, Wish
from ingestion.scheduling.hosts import Invitee
from ingestion.scheduling.store import Booking, Change, Decision, Key

ROUTE = "scheduling"
MAX_BODY_BYTES = 16_384
WEEK, LONGEST_ASKED = timedelta(days=7), timedelta(days=62)
MOST_SLOTS = 1_000
BOOKING_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
LONGEST_EMAIL = 320
OUTCOMES = ("held", "no_show")
# Beyond, sums of times overflow; nobody meets there.
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_TEXT = 255


class Scheduling:
    """The doors of the booking desk."""

    def __init__(self, desk: BookingDesk, gate: Gate) -> None:
        """`desk` answers whom `gate` lets in."""
        self._desk = desk
        self._gate = gate

    async def get_slots(self, request: Request) -> Response:
        """Free slots of whom a person should meet, between `from` and `to`, in a zone."""
        _, headers = await self._admit(request, "scheduling:read")
        asked = request.query_params
        zone = _zone(asked.get("zone", "UTC"), "zone")
        now = self._desk.now()
        start = _instant(asked.get("from"), "from") or now
        end = _instant(asked.get("to"), "to") or max(start, now) + WEEK
        if not start < end <= start + LONGEST_ASKED:
            raise HandoffError(
                "BAD_REQUEST",
                f"{end.isoformat()} is not after {start.isoformat()}, or more than {LONGEST_ASKED.days} days",
                remedy="Give from and to in order, RFC 3339 with a zone.",
                path="/to",
            )

        def answer(bookings: Bookings) -> list[Slot]:
            meeting = bookings.meeting_type(asked.get("meeting_type", ""))
            person_id = asked.get("person_id") or None
            if person_id is None and (email := asked.get("email")):
                person_id = bookings.hosts.invitee(_email(email, "email")).person_id
            return bookings.slots(meeting, person_id, start, end, MOST_SLOTS)

        slots = await self._desk.ask(answer)
        content = {
            "meeting_type": asked.get("meeting_type"),
            "time_zone": zone,
            "slots": shown_slots(slots, zone),
            "correlation_id": request.state.trace.correlation_id,
        }
        return Response(orjson.dumps(content), media_type=JSON, headers=headers)

    async def post_hold(self, request: Request) -> Response:
        """Keep a slot for some minutes; `hold_id` makes it a booking."""
        caller, headers = await self._admit(request, "scheduling:write")
        body = await _body(
            request, {"meeting_type", "starts_at", "time_zone", "email", "person_id"}
        )
        email = body.text("email")
        address = None if email is None else _email(email, "email")
        person_id = _short(body.text("person_id"), "person_id")

        def answer(bookings: Bookings) -> Decision:
            invitee = None if address is None else bookings.hosts.invitee(address)
            return bookings.hold(_wish(body, invitee, person_id), caller.name)

        return await self._decided(request, caller, headers, answer, 201)

    async def post_booking(self, request: Request) -> Response:
        """Book a slot, or one that is held; repeated with its key the answer is the first one."""
        caller, headers = await self._admit(request, "scheduling:write")
        body = await _body(
            request, {"meeting_type", "starts_at", "time_zone", "email", "name", "hold_id"}
        )
        hold_id = body.text("hold_id")
        key = _key(request, caller, body)
        if key is None and hold_id is not None:
            key = Key(caller.name, f"hold {hold_id:.80}", _hash(request, body))
        if key is None:
            raise HandoffError(
                "BAD_REQUEST",
                "the request has neither an Idempotency-Key nor a hold_id",
                remedy="Send a key of your own in the header Idempotency-Key: repeated with it, a booking is made once.",
                path="/Idempotency-Key",
            )
        email = _email(body.required_text("email"), "email")
        name = _short(body.text("name"), "name")
        found_key = key

        def answer(bookings: Bookings) -> Decision:
            known = bookings.hosts.invitee(email)
            invitee = Invitee(email, name or known.name, known.person_id)
            if hold_id is not None:
                return bookings.book_hold(_booking_id(hold_id), invitee, found_key, caller.name)
            return bookings.book(_wish(body, invitee), found_key, caller.name)

        return await self._decided(request, caller, headers, answer, 201)

    async def get_booking(self, request: Request) -> Response:
        """One booking as it is now, with every change of it."""
        caller, headers = await self._admit(request, "scheduling:read")

        def answer(bookings: Bookings) -> tuple[Booking, list[Change]]:
            booking = bookings.required(_path_id(request))
            return booking, bookings.store.changes(booking.booking_id)

        booking, changes = await self._desk.ask(answer)
        content = shown_booking(booking, changes[-1]) | {
            "changes": [
                {
                    "revision": change.revision,
                    "state": change.state,
                    "changed_at": change.changed_at,
                    "starts_at": change.starts_at,
                    "ends_at": change.ends_at,
                }
                for change in changes
            ]
        }
        return self._answer(request, caller, headers, content, 200)

    async def post_reschedule(self, request: Request) -> Response:
        """Move a booking to another slot of its host, or leave it as it is."""
        caller, headers = await self._admit(request, "scheduling:write")
        body = await _body(request, {"starts_at", "time_zone"})
        starts_at = _required_instant(body, "starts_at")
        zone = body.text("time_zone")
        key = _key(request, caller, body)

        def answer(bookings: Bookings) -> Decision:
            found = None if zone is None else _zone(zone, "time_zone")
            return bookings.reschedule(_path_id(request), starts_at, found, caller.name, key)

        return await self._decided(request, caller, headers, answer, 200)

    async def post_cancel(self, request: Request) -> Response:
        """Call a booking off, or let go of a hold."""
        caller, headers = await self._admit(request, "scheduling:write")
        body = await _body(request, {"reason"}, may_be_empty=True)
        reason = _short(body.text("reason"), "reason")
        key = _key(request, caller, body)

        def answer(bookings: Bookings) -> Decision:
            return bookings.cancel(_path_id(request), caller.name, reason, key)

        return await self._decided(request, caller, headers, answer, 200)

    async def post_outcome(self, request: Request) -> Response:
        """Say whether the meeting was held or the person did not come."""
        caller, headers = await self._admit(request, "scheduling:write")
        body = await _body(request, {"outcome"})
        outcome = body.chosen("outcome", OUTCOMES)
        key = _key(request, caller, body)

        def answer(bookings: Bookings) -> Decision:
            return bookings.record_outcome(
                _path_id(request), "held" if outcome == "held" else "no_show", caller.name, key
            )

        return await self._decided(request, caller, headers, answer, 200)

    async def _admit(self, request: Request, scope: str) -> tuple[Caller, dict[str, str]]:
        caller, allowance = await self._gate.admit(request, scope, ROUTE)
        return caller, allowance.headers() | {"cache-control": "no-store"}

    async def _decided(
        self,
        request: Request,
        caller: Caller,
        headers: dict[str, str],
        answer: Callable[[Bookings], Decision],
        status: int,
    ) -> Response:
        try:
            decision = await self._desk.ask(answer)
        except SlotRefused as refused:
            return problem_response(
                refused,
                request.state.trace.correlation_id,
                slots=shown_slots(refused.slots, "UTC"),
            )
        content = shown_booking(decision.booking, decision.change)
        return self._answer(request, caller, headers, content, status)

    def _answer(
        self,
        request: Request,
        caller: Caller,
        headers: dict[str, str],
        content: dict[str, Any],
        status: int,
    ) -> Response:
        clear = caller.may("pii:read")
        told = (content if clear else masked(content)) | {
            "is_masked": not clear,
            "correlation_id": request.state.trace.correlation_id,
        }
        return Response(orjson.dumps(told), status, media_type=JSON, headers=headers)


def shown_slots(slots: Sequence[Slot], zone: str) -> list[dict[str, Any]]:
    """Slots as JSON: in UTC, and with their offset in `zone`."""
    place = time_zones.zone(zone)
    return [
        {
            "starts_at": slot.starts_at,
            "ends_at": slot.ends_at,
            "local_starts_at": slot.starts_at.astimezone(place).isoformat(),
            "host_count": len(slot.host_ids),
        }
        for slot in slots
    ]


def shown_booking(booking: Booking, change: Change) -> dict[str, Any]:
    """A booking as JSON at a change of it; what has become of the calendar is told as of now."""
    place = time_zones.zone(change.time_zone)
    return {
        "booking_id": booking.booking_id,
        "state": change.state,
        "revision": change.revision,
        "meeting_type": booking.meeting_type,
        "starts_at": change.starts_at,
        "ends_at": change.ends_at,
        "time_zone": change.time_zone,
        "local_starts_at": change.starts_at.astimezone(place).isoformat(),
        "host": {
            "rep_id": booking.host_id,
            "rep_name": booking.host_name,
            "rep_email": booking.host_email,
            "time_zone": booking.host_time_zone,
        },
        "invitee": {
            "person_id": booking.person_id,
            "email": booking.email,
            "name": booking.name,
        },
        "location": booking.location,
        "expires_at": booking.expires_at if change.state == "hold" else None,
        "changed_at": change.changed_at,
        "calendar": {
            "system": None if booking.calendar is None else booking.calendar.system,
            "status": booking.calendar_status,
            "has_conflict": booking.has_conflict,
        },
    }


def _wish(body: Delivered, invitee: Invitee | None, person_id: str | None = None) -> Wish:
    return Wish(
        meeting_type=body.required_text("meeting_type"),
        starts_at=_required_instant(body, "starts_at"),
        time_zone=_zone(body.text("time_zone") or "UTC", "time_zone"),
        invitee=invitee,
        person_id=person_id,
    )


async def _body(
    request: Request, known: Collection[str], *, may_be_empty: bool = False
) -> Delivered:
    """The JSON object that was sent; SCHEMA_INVALID for another value, or a member nobody knows."""
    raw = await read_body(request, MAX_BODY_BYTES)
    if not raw and may_be_empty:
        return Delivered({})
    if media_type_of(request) != JSON:
        raise HandoffError("UNSUPPORTED_MEDIA_TYPE", f"the body must be {JSON}")
    items, is_array = read_items(raw)
    if is_array or len(items) != 1:
        raise HandoffError("SCHEMA_INVALID", "the body must be one JSON object", path="")
    if items[0].violations:
        first = items[0].violations[0]
        raise HandoffError(first.code, first.message, path=first.path)
    if not isinstance(items[0].value, dict):
        raise HandoffError("SCHEMA_INVALID", "the body must be one JSON object", path="")
    body = Delivered(items[0].value)
    for name in body.value:
        if name not in known:
            raise body.error(
                name, f"unknown member {name!r:.80}; known: {', '.join(sorted(known))}"
            )
    return body


def _key(request: Request, caller: Caller, body: Delivered) -> Key | None:
    """The caller's idempotency key, None without one.

    Source: draft-ietf-httpapi-idempotency-key-header, section 2.
    """
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    # The draft has it as a quoted string; most clients send it bare.
    text = given.strip().removeprefix('"').removesuffix('"')
    if not KEY.fullmatch(text):
        raise HandoffError(
            "BAD_REQUEST",
            f"Idempotency-Key {given!r:.80} cannot be taken",
            remedy="Send 1 to 255 visible ASCII characters, such as a UUID.",
            path="/Idempotency-Key",
        )
    return Key(caller.name, text, _hash(request, body))


def _hash(request: Request, body: Delivered) -> str:
    canonical = orjson.dumps([request.url.path, body.value], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def _path_id(request: Request) -> str:
    return _booking_id(request.path_params["booking_id"])


def _booking_id(text: str) -> str:
    if not BOOKING_ID.fullmatch(text):
        raise HandoffError(
            "NOT_FOUND",
            f"there is no booking {text!r:.80}",
            remedy="Give the booking_id of an answer of POST /v1/scheduling/bookings.",
        )
    return text


def _required_instant(body: Delivered, name: str) -> datetime:
    found = _instant(body.required_text(name), name)
    assert found is not None
    return found


def _instant(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        # A + of an address that was not encoded arrives as a blank.
        found = parse_instant(text.replace(" ", "+"))
        if not FIRST <= found < LAST:
            raise ValueError(f"{text!r:.80} is in no year in which anybody meets")
    except ValueError as error:
        raise HandoffError(
            "BAD_REQUEST",
            f"{name}: {error!s:.200}",
            remedy="Give RFC 3339 with a zone, e.g. 2026-11-02T09:00:00Z.",
            path=f"/{name}",
        ) from error
    return found


def _zone(text: str, name: str) -> str:
    try:
        time_zones.zone(text)
    except ValueError as error:
        raise HandoffError(
            "BAD_REQUEST", str(error), remedy="Give an IANA name.", path=f"/{name}"
        ) from None
    return text


def _email(text: str, name: str) -> str:
    found = text.strip().lower()
    # Whether somebody reads it only a message can tell.
    if not EMAIL.fullmatch(found) or len(found) > LONGEST_EMAIL or _CONTROL.search(found):
        raise HandoffError(
            "BAD_REQUEST",
            f"{text!r:.80} is no e-mail address",
            remedy="Give the address at which the person is reached.",
            path=f"/{name}",
        )
    return found


def _short(text: str | None, name: str) -> str | None:
    if text is not None and (len(text) > LONGEST_TEXT or _CONTROL.search(text)):
        raise HandoffError(
            "BAD_REQUEST",
            f"{name} is longer than {LONGEST_TEXT} characters, or has control characters",
            remedy="Shorten it.",
            path=f"/{name}",
        )
    return text
