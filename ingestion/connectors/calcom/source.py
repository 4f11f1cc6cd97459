"""Polls Cal.com's API v2 for bookings; what a booking means is staging's business.

Source: https://cal.com/docs/api-reference/v2/bookings/get-all-bookings
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ingestion.connectors.calcom.records import contact_of, rep_of
from ingestion.connectors.delivered import Delivered
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import Session, bearer, parse_time, session, time_text
from ingestion.erasure.named import Named
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("bookings",)
NAMED: Mapping[str, Named] = {
    "bookings": Named(
        (
            ("address", "handoff.contact.email"),
            ("address", "attendees[].email"),
            ("address", "guests[]"),
        ),
        least=0,
    )
}
PAGE = 250
# That somebody was absent stands with the attendee and does not change the booking's `updatedAt`:
# bookings that began this long before are read again once they are over.
RECHECKED = timedelta(days=7)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALCOM_URL is set."""
    return bool(settings.calcom_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of bookings by `updatedAt`, oldest first, cancelled and rejected ones included; under
    `handoff` the ids and the contact that a webhook would make of each.

    Args:
        resource: "bookings".
        since: ISO 8601; bookings changed at or after it, and those over that began in the 7 days
            before it. None for all.
        settings: Address, API key, version of the API, and the organization if it is to be read
            whole.
    """
    headers = bearer(settings, "calcom") | {"cal-api-version": settings.calcom_api_version}
    with session(settings, "calcom", headers) as http:
        organization = settings.calcom_organization_id
        path = f"organizations/{organization}/bookings" if organization else "bookings"
        if since is None:
            rows = list(_listed(http, path, {"sortCreated": "asc"}))
        else:
            after = parse_time(since)
            over = {
                "status": "past",
                "afterStart": time_text(after - RECHECKED),
                "sortStart": "asc",
            }
            rows = [row for row in _listed(http, path, over) if row.updated_at < after]
        yield from batched(by_time(rows), PAGE)
        if since is not None:
            yield from _changed(http, path, parse_time(since))


def _listed(http: Session, path: str, params: dict[str, str]) -> Iterator[Extracted]:
    """Bookings in an order that a change of theirs does not disturb, so that pages can be counted.

    A booking that was never changed may have no `updatedAt`, and no filter by it would find it.
    """
    skip = 0
    while True:
        answer = http.get(path, {**params, "take": PAGE, "skip": skip})
        yield from map(_booking, answer["data"])
        if not _goes_on(answer):
            return
        skip += len(answer["data"])


def _changed(http: Session, path: str, after: datetime) -> Iterator[list[Extracted]]:
    """Bookings by change: each page begins at the last time seen, as one that changes meanwhile moves
    to the end and would let another slip into the page before.

    Where more have one and the same time than a page holds, a page begins with the last booking of
    the one before; when it is not there any more, they are read from the first again.
    """
    skip, expected = 0, None
    while True:
        asked = {"afterUpdatedAt": time_text(after), "sortUpdatedAt": "asc"}
        answer = http.get(path, {**asked, "take": PAGE, "skip": skip})
        page = [_booking(booking) for booking in answer["data"]]
        if expected is not None and (not page or page[0].record_id != expected):
            skip, expected = 0, None
            continue
        if page:
            yield page
        if not _goes_on(answer):
            return
        # A little before, whether `after` includes its bound or not; known rows are dropped later.
        following = page[-1].updated_at - timedelta(milliseconds=1)
        if following > after:
            after, skip, expected = following, 0, None
        else:
            skip, expected = skip + len(page) - 1, page[-1].record_id


def _goes_on(answer: dict[str, Any]) -> bool:
    return bool(answer["data"]) and bool(answer["pagination"]["hasNextPage"])


def _booking(booking: dict[str, Any]) -> Extracted:
    return Extracted(
        record_id=str(booking["uid"]),
        updated_at=parse_time(booking.get("updatedAt") or booking["createdAt"]),
        is_deleted=False,
        payload={**booking, "handoff": _told(Delivered(booking))},
        # A mark of absence can be taken back and leaves no time behind.
        is_snapshot=True,
    )


def _told(booking: Delivered) -> dict[str, Any] | None:
    """What a webhook would say of the same booking; None where it could not be read."""
    try:
        attendees, hosts = booking.objects("attendees"), booking.objects("hosts")
        contact = contact_of(attendees[0]) if attendees else None
        return {"contact": contact, "rep": rep_of(hosts[0]) if hosts else None}
    except HandoffError:
        # One document out of shape is kept as it came; it must not keep the others out.
        return None
