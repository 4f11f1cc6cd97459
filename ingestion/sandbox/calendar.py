"""The simulated Google Calendar over HTTP: one calendar per rep, events with incremental reads and
conditional writes.

Shapes follow the Calendar API v3 reference, "Events: list" (updatedMin includes deleted events
whatever showDeleted says; orderBy=startTime needs singleEvents; ≤ 2500 a page), "CalendarList:
list", and "Events: insert, get, patch, delete" (ids of the caller's; If-Match).
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingestion.sandbox.calendar_store import CalendarRefused, CalendarStore, moment
from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.draft import Record
from ingestion.sandbox.spelling import google_time
from ingestion.sandbox.world import World

DEFAULT_PAGE, LARGEST_PAGE = 250, 2_500
MOST_FREE_BUSY, LONGEST_FREE_BUSY = 50, timedelta(days=90)


class CalendarApi:
    """Routes of the simulated calendars."""

    def __init__(self, world: World, tokens: Tokens, store: CalendarStore) -> None:
        """Serves the calendars of `world` to holders of `tokens`; writes go to `store`."""
        self.world = world
        self.store = store
        self.tokens = tokens

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        router.add_api_route("/users/me/calendarList", self.calendar_list, methods=["GET"])
        router.add_api_route("/calendars/{calendar_id}/events", self.events, methods=["GET"])
        router.add_api_route("/calendars/{calendar_id}/events", self.insert, methods=["POST"])
        one = "/calendars/{calendar_id}/events/{event_id}"
        router.add_api_route(one, self.event, methods=["GET", "PATCH", "DELETE"])
        router.add_api_route("/freeBusy", self.free_busy, methods=["POST"])
        return router

    def _may(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.tokens.calendar_token}"

    async def calendar_list(self, request: Request) -> Response:
        """Every rep's calendar; the id is the rep's e-mail address."""
        if not self._may(request):
            return _unauthorised()
        items = [
            {
                "kind": "calendar#calendarListEntry",
                "id": rep.email,
                "summary": rep.name,
                "timeZone": rep.time_zone,
                "accessRole": "writer",
                "selected": True,
            }
            for rep in self.world.reps
        ]
        request.scope.setdefault("sandbox", {})["rows"] = len(items)
        return _json({"kind": "calendar#calendarList", "items": items})

    async def free_busy(self, request: Request) -> Response:
        """When calendars are taken; one that cannot be read has `errors` in place of an answer.

        Source: "Freebusy: query" (at most 50 calendars; timeRangeEmpty, timeRangeTooLong).
        """
        if not self._may(request):
            return _unauthorised()
        try:
            asked = orjson.loads(await request.body())
            start, end = _at(asked["timeMin"]), _at(asked["timeMax"])
            names = [str(item["id"]) for item in asked["items"]]
            if start.tzinfo is None or end.tzinfo is None:
                raise ValueError("no offset")
        except (ValueError, KeyError, TypeError):
            return _error(400, "badRequest", "Bad Request")
        if end <= start:
            return _error(400, "timeRangeEmpty", "The specified time range is empty.")
        if end - start > LONGEST_FREE_BUSY:
            return _error(400, "timeRangeTooLong", "The requested time range is too long.")
        answers: Record = {}
        for number, name in enumerate(names):
            rows = self.world.calendar.get(name.lower())
            if rows is None or number >= MOST_FREE_BUSY:
                reason = "notFound" if rows is None else "tooManyCalendarsRequested"
                answers[name] = {"errors": [{"domain": "global", "reason": reason}], "busy": []}
                continue
            answers[name] = {
                "busy": [
                    {"start": google_time(first), "end": google_time(last)}
                    for first, last in _busy(rows, start, end)
                ]
            }
        return _json(
            {
                "kind": "calendar#freeBusy",
                "timeMin": google_time(start),
                "timeMax": google_time(end),
                "calendars": answers,
            }
        )

    async def insert(self, calendar_id: str, request: Request) -> Response:
        """A new event, under the caller's id where it brings one.

        Source: "Events: insert".
        """
        if not self._may(request):
            return _unauthorised()
        try:
            return _json(self.store.insert(calendar_id, await _object(request)))
        except CalendarRefused as refused:
            return _error(refused.status, refused.reason, refused.message)

    async def event(self, calendar_id: str, event_id: str, request: Request) -> Response:
        """One event: read, changed in part, or called off.

        Source: "Events: get", "Events: patch", "Events: delete".
        """
        if not self._may(request):
            return _unauthorised()
        try:
            if request.method == "GET":
                return _json(self.store.find(calendar_id, event_id))
            if request.method == "DELETE":
                self.store.delete(calendar_id, event_id)
                return Response(status_code=204)
            told = await _object(request)
            return _json(
                self.store.patch(calendar_id, event_id, told, request.headers.get("if-match"))
            )
        except CalendarRefused as refused:
            return _error(refused.status, refused.reason, refused.message)

    async def events(self, calendar_id: str, request: Request) -> Response:
        """Events of one calendar, by update time unless orderBy=startTime."""
        if not self._may(request):
            return _unauthorised()
        rows = self.world.calendar.get(calendar_id.lower())
        if rows is None:
            return _error(404, "notFound", "Not Found")
        query = request.query_params
        updated_min = query.get("updatedMin")
        show_deleted = query.get("showDeleted", "false").lower() == "true" or bool(updated_min)
        try:
            bounds = {
                name: datetime.fromisoformat(query[name])
                for name in ("updatedMin", "timeMin", "timeMax")
                if query.get(name)
            }
            if any(at.tzinfo is None for at in bounds.values()):
                raise ValueError("no offset")
            offset = int(base64.urlsafe_b64decode(query.get("pageToken", "MA==")).decode())
            largest = min(max(int(query.get("maxResults", DEFAULT_PAGE)), 1), LARGEST_PAGE)
        except (ValueError, binascii.Error):
            return _error(400, "badRequest", "Bad Request")
        by_start = query.get("orderBy") == "startTime"
        if by_start and query.get("singleEvents", "false").lower() != "true":
            return _error(
                400,
                "badRequest",
                "The requested ordering is not available for the particular query.",
            )
        found = [
            row
            for row in rows
            if (show_deleted or row["status"] != "cancelled")
            and ("updatedMin" not in bounds or _at(row["updated"]) >= bounds["updatedMin"])
            and ("timeMin" not in bounds or moment(row["end"]) > bounds["timeMin"])
            and ("timeMax" not in bounds or moment(row["start"]) < bounds["timeMax"])
        ]
        if by_start:
            found.sort(key=lambda row: (moment(row["start"]), str(row["id"])))
        page = found[offset : offset + largest]
        rep = next(rep for rep in self.world.reps if rep.email == calendar_id.lower())
        answer: Record = {
            "kind": "calendar#events",
            "summary": rep.name,
            "updated": max((str(row["updated"]) for row in rows), default=""),
            "timeZone": rep.time_zone,
            "accessRole": "writer",
            "items": page,
        }
        if offset + largest < len(found):
            answer["nextPageToken"] = base64.urlsafe_b64encode(
                str(offset + largest).encode()
            ).decode()
        else:
            answer["nextSyncToken"] = base64.urlsafe_b64encode(
                f"sync|{answer['updated']}".encode()
            ).decode()
        request.scope.setdefault("sandbox", {})["rows"] = len(page)
        return _json(answer)


def _busy(rows: list[Record], start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Times within [start, end) in which something opaque stands, as few as possible."""
    taken = sorted(
        (max(moment(row["start"]), start), min(moment(row["end"]), end))
        for row in rows
        if row["status"] != "cancelled" and row.get("transparency", "opaque") == "opaque"
    )
    found: list[tuple[datetime, datetime]] = []
    for first, last in taken:
        if first >= last:
            continue
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


async def _object(request: Request) -> Record:
    try:
        told = orjson.loads(await request.body())
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise CalendarRefused(400, "parseError", "Parse Error")
    return told


def _at(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json; charset=UTF-8")


def _error(status: int, reason: str, message: str) -> Response:
    return _json(
        {
            "error": {
                "code": status,
                "message": message,
                "errors": [{"domain": "global", "reason": reason, "message": message}],
            }
        },
        status,
    )


def _unauthorised() -> Response:
    return _error(401, "authError", "Request had invalid authentication credentials.")
