"""Polls CalDAV calendars: objects that changed, with what of them takes place, and the state of each
calendar; what a meeting is is staging's business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.caldav.client import (
    Calendar,
    Client,
    Listed,
    StoredObject,
    TokenRefused,
    connected,
)
from ingestion.connectors.caldav.occurrences import expand
from ingestion.connectors.extracted import Extracted, Known
from ingestion.erasure.named import Named
from ingestion.settings import Settings

RESOURCES: tuple[str, ...] = ("objects",)
NAMED: Mapping[str, Named] = {
    "objects": Named(
        (
            ("address", "occurrences[].attendees[].email"),
            ("address", "occurrences[].organizer"),
            ("address", "ended[].attendees[].email"),
            ("address", "ended[].organizer"),
        ),
        is_whole=True,
    )
}
# What repeats is told so far back and, to the end of a month, so far ahead.
BACK, AHEAD = timedelta(days=90), timedelta(days=180)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALDAV_URL is set."""
    return bool(settings.caldav_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Everything, as if nothing were known; CalDAV dates no changes, so `since` says nothing."""
    del since
    return extract_from(resource, _Nothing(), settings)


def extract_from(
    resource: str,
    known: Known,
    settings: Settings,
    now: datetime | None = None,
) -> Iterator[list[Extracted]]:
    """Pages of what changed since what is `known`: objects, then what is gone, and at last the
    calendars themselves, each with the token to go on from.

    A record is what has a path: `kind` is `object` (`uid`, `ics`, `etag`, `owner`, `occurrences`),
    `gone`, or `calendar` (`token` or `ctag`); `ended` are occurrences that the version before had,
    were still ahead, and are not there any more. A poll that ends before it has told a calendar's state
    is repeated from the state before.

    Args:
        resource: "objects".
        known: The newest versions in the archive.
        settings: Address, account and calendars.
        now: Instant that the window is around; tests set it.

    Source: RFC 6578 (tokens), RFC 4791 (objects), the `getctag` of calendarserver.org.
    """
    del resource
    at = (now or datetime.now(UTC)).replace(microsecond=0)
    told: list[Extracted] = []
    ends: list[tuple[Calendar, dict[str, Any]]] = []
    uids: set[str | None] = set()
    with connected(settings) as client:
        for calendar in client.calendars(settings):
            change = _change(client, calendar, known, at)
            ends += ((calendar, change.were[path]) for path in change.listed.gone)
            for stored in client.objects(calendar, sorted(change.listed.etags)):
                page = [_object(calendar, one, change) for one in stored]
                uids.update(row.payload["uid"] for row in page)
                yield page
            if change.is_news:
                told.append(Extracted(_state_id(calendar), at, False, change.state))
    if ends:
        # What was moved to another calendar has gone from one and is in the other.
        paths = {before["path"] for _, before in ends}
        uids.update(
            payload.get("uid")
            for path, payload in known.newest("").items()
            if payload["kind"] == "object" and path not in paths
        )
    gone = [
        Extracted(
            before["path"], at, True, _gone(calendar, before, at, moved=before["uid"] in uids)
        )
        for calendar, before in ends
    ]
    if gone or told:
        yield [*gone, *told]


@dataclass(frozen=True, slots=True)
class _Change:
    """What a calendar has that is news, the versions known before, and its new state."""

    listed: Listed
    were: dict[str, dict[str, Any]]
    state: dict[str, Any]
    window: tuple[datetime, datetime]
    at: datetime
    is_news: bool


class _Nothing:
    def one(self, record_id: str) -> dict[str, Any] | None:
        """No version of it."""
        del record_id
        return None

    def newest(self, prefix: str) -> dict[str, dict[str, Any]]:
        """No version of anything."""
        del prefix
        return {}


def _change(client: Client, calendar: Calendar, known: Known, at: datetime) -> _Change:
    window = (at - BACK, _month_after(at + AHEAD))
    before = known.one(_state_id(calendar)) or {}
    state: dict[str, Any] = {
        "kind": "calendar",
        "path": calendar.path,
        "owner": calendar.owner,
        "time_zone": calendar.time_zone,
        "expanded_to": window[1].isoformat(),
        "token": None,
        "ctag": None,
    }
    # Whose it is and its zone are in each object, and of what repeats more is told each month.
    as_before = all(before.get(key) == state[key] for key in ("owner", "time_zone", "expanded_to"))
    listed, were = None, None
    if as_before and before.get("token"):
        with suppress(TokenRefused):
            listed = client.changes(calendar, before["token"])
    if listed is None:
        ctag = client.state(calendar)
        if as_before and not before.get("token") and ctag and before.get("ctag") == ctag:
            return _Change(Listed({}, (), None), {}, before, window, at, False)
        were = known.newest(calendar.path)
        listed = _all(client, calendar, were)
        # Where there are tokens, they alone say what is new.
        state["ctag"] = None if listed.token else ctag
    state["token"] = listed.token
    if were is None:
        were = known.newest(calendar.path) if listed.etags or listed.gone else {}
    # What was archived by a poll that was killed is not told once more.
    etags = {
        path: etag
        for path, etag in listed.etags.items()
        if not _is(were.get(path, {}), etag, state)
    }
    gone = tuple(path for path in listed.gone if were.get(path, {}).get("kind") == "object")
    return _Change(Listed(etags, gone, listed.token), were, state, window, at, state != before)


def _all(client: Client, calendar: Calendar, were: dict[str, dict[str, Any]]) -> Listed:
    """Everything there is, and what was known and is not there any more."""
    try:
        listed = client.changes(calendar, None)
    except TokenRefused:
        listed = client.everything(calendar)
    there = [
        path
        for path, payload in were.items()
        if payload.get("kind") == "object" and payload.get("calendar") == calendar.path
    ]
    gone = tuple(path for path in sorted(there) if path not in listed.etags)
    return Listed(listed.etags, gone, listed.token)


def _is(known: dict[str, Any], etag: str, state: dict[str, Any]) -> bool:
    """Whether the version known is the one the server has, told as it would be now."""
    return (
        bool(etag)
        and known.get("kind") == "object"
        and known.get("etag") == etag
        and known["owner"] == state["owner"]
        and known["calendar_time_zone"] == state["time_zone"]
        and known["expanded_to"] in (None, state["expanded_to"])
    )


def _object(calendar: Calendar, stored: StoredObject, change: _Change) -> Extracted:
    before = change.were.get(stored.path, {})
    payload: dict[str, Any] = {
        "kind": "object",
        "path": stored.path,
        "calendar": calendar.path,
        "owner": calendar.owner,
        "calendar_time_zone": calendar.time_zone,
        "etag": stored.etag,
        "ics": stored.text,
    }
    try:
        payload["uid"], payload["occurrences"] = expand(
            stored.text, calendar.time_zone, change.window
        )
    except (ValueError, OverflowError, KeyError, AttributeError, TypeError) as error:
        # One object that nobody can read must not hold up its calendar; the text is kept.
        payload |= {
            "uid": None,
            "occurrences": [],
            "unreadable": f"{type(error).__name__}: {error}",
        }
    repeats = any(one["recurrence_id"] for one in payload["occurrences"])
    payload["expanded_to"] = change.window[1].isoformat() if repeats else None
    changed_at = stored.modified_at or change.at
    payload["modified_at"] = changed_at.isoformat()
    there = {one["recurrence_id"] for one in payload["occurrences"]}
    payload["ended"] = [
        one
        for one in before.get("occurrences", [])
        if before["uid"] == payload["uid"]
        and one["recurrence_id"] not in there
        and _is_ahead(one, changed_at)
    ]
    return Extracted(stored.path, changed_at, False, payload)


def _gone(
    calendar: Calendar, before: dict[str, Any], at: datetime, *, moved: bool
) -> dict[str, Any]:
    return {
        "kind": "gone",
        "path": before["path"],
        "calendar": calendar.path,
        "owner": calendar.owner,
        "seen_at": at.isoformat(),
        "uid": before["uid"],
        "occurrences": [],
        "ended": [one for one in before["occurrences"] if _is_ahead(one, at) and not moved],
    }


def _is_ahead(occurrence: dict[str, Any], at: datetime) -> bool:
    """What is past by then was not called off by tidying up."""
    return datetime.fromisoformat(occurrence["start"]) > at


def _month_after(at: datetime) -> datetime:
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def _state_id(calendar: Calendar) -> str:
    return f"calendar:{calendar.path}"
