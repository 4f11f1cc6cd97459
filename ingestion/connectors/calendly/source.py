"""Polls Calendly's API v2: who belongs to the organization, and every invitee with their event; what
a booking means is staging's business.

Source: https://developer.calendly.com/api-docs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.calendly.records import contact_of, last_segment, meeting_id, rep_of
from ingestion.connectors.delivered import Delivered
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.pages import batched, by_time
from ingestion.connectors.polling import Session, bearer, parse_time, session, time_text
from ingestion.erasure.named import NOBODY, Named
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("organization_memberships", "invitees")
NAMED: Mapping[str, Named] = {
    "organization_memberships": NOBODY,
    "invitees": Named((("address", "email"),)),
}
PAGE = 100
# Events are listed by when they begin, not by when they changed: one that began longer ago is not
# looked at again, unless the last news is so old that a first poll may not have come to its end.
LISTED_AGAIN = timedelta(days=14)
LISTED_WHOLE = timedelta(days=30)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALENDLY_URL is set."""
    return bool(settings.calendly_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of `resource`: members oldest change first, invitees by the newest change of their event,
    so that a poll that breaks off is continued.

    Args:
        resource: "organization_memberships", always whole, or "invitees": the document of a webhook
            (the invitee with its `scheduled_event`), and under `handoff` the ids and the contact that
            a webhook would make of it.
        since: ISO 8601. Events that begin up to 14 days before it or later are listed; the
            invitees are read of those that changed at or after it, of those for groups, and of those
            that began within `calendly_recheck_days`. None for all.
        settings: Address and token of an owner or admin of the organization.
    """
    with session(settings, "calendly", bearer(settings, "calendly")) as http:
        # Calendly sends no Retry-After: developer.calendly.com, "Rate limits".
        http.reset_header = "x-ratelimit-reset"
        organization = http.get("users/me")["resource"]["current_organization"]
        if resource == "organization_memberships":
            found = _collected(http, resource, {"organization": organization})
            yield from batched(by_time(map(_member, found)), PAGE)
        else:
            after = None if since is None else parse_time(since)
            recheck = timedelta(days=settings.calendly_recheck_days)
            yield from _invitees(http, organization, after, recheck)


def _invitees(
    http: Session, organization: str, after: datetime | None, recheck: timedelta
) -> Iterator[list[Extracted]]:
    params: dict[str, Any] = {"organization": organization, "sort": "start_time:asc"}
    now = datetime.now(UTC)
    if after is not None and now - after < LISTED_WHOLE:
        params["min_start_time"] = time_text(after - LISTED_AGAIN)
    events = [
        event
        for event in _collected(http, "scheduled_events", params)
        if after is None or _may_have_changed(event, after, now, recheck)
    ]
    # Listed in another order than that of their changes, which is the cursor's.
    for event in sorted(events, key=lambda event: parse_time(event["updated_at"])):
        path = f"scheduled_events/{last_segment(event['uri'])}/invitees"
        found = _collected(http, path, {"sort": "created_at:asc"})
        # Handed over as they come: what was asked for at a request each is not lost with the next.
        yield [_invitee(invitee, event) for invitee in found]


def _may_have_changed(
    event: dict[str, Any], after: datetime, now: datetime, recheck: timedelta
) -> bool:
    """That somebody did not come, or one of a group cancelled, is the invitee's change and need not
    be the event's."""
    if parse_time(event["updated_at"]) >= after:
        return True
    begins = parse_time(event["start_time"])
    if begins <= now:
        return begins >= now - recheck
    return ((event.get("invitees_counter") or {}).get("limit") or 1) > 1


def _collected(http: Session, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    asked = {**params, "count": PAGE}
    while True:
        answer = http.get(path, asked)
        yield from answer["collection"]
        following = answer["pagination"].get("next_page_token")
        if not following:
            return
        asked["page_token"] = following


def _member(membership: dict[str, Any]) -> Extracted:
    user = membership["user"]
    return Extracted(
        record_id=last_segment(user["uri"]),
        updated_at=max(parse_time(membership["updated_at"]), parse_time(user["updated_at"])),
        is_deleted=False,
        payload=membership,
    )


def _invitee(invitee: dict[str, Any], event: dict[str, Any]) -> Extracted:
    payload = {**invitee, "scheduled_event": event}
    event_changed = parse_time(event["updated_at"])
    return Extracted(
        record_id=last_segment(invitee["uri"]),
        updated_at=max(parse_time(invitee["updated_at"]), event_changed),
        cursor=event_changed,
        is_deleted=False,
        payload=payload | {"handoff": _told(payload)},
        # A mark of a no-show can be taken back and leaves no time behind.
        is_snapshot=True,
    )


def _told(payload: dict[str, Any]) -> dict[str, Any] | None:
    """What a webhook would say of the same invitee; None where it could not be read."""
    invitee = Delivered(payload)
    scheduled = invitee.inside("scheduled_event")
    try:
        rep = rep_of(scheduled)
        return {
            "meeting_id": meeting_id(invitee, scheduled),
            "contact": contact_of(invitee),
            "rep_id": None if rep is None else rep["record_id"],
        }
    except HandoffError:
        # One document out of shape is kept as it came; it must not keep the others out.
        return None
