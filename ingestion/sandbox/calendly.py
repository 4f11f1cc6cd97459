"""The simulated Calendly over HTTP: one organization, its members, their scheduled events and
invitees; read only.

Shapes follow developer.calendly.com: collections of `count` 20, at most 100, with
`pagination.next_page_token`; errors have `title` and `message`; every answer has X-RateLimit-*.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.draft import Record
from ingestion.sandbox.world import World

DEFAULT_PAGE, LARGEST_PAGE = 20, 100
# Of a paid plan, per user and minute.
RATE_LIMIT = "500"


class CalendlyApi:
    """Routes of the simulated API v2."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        """Serves the bookings of `world` to holders of `tokens`."""
        self.world = world
        self.tokens = tokens

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        for path, handler in (
            ("/users/me", self.me),
            ("/organization_memberships", self.memberships),
            ("/scheduled_events", self.events),
            ("/scheduled_events/{event_uuid}/invitees", self.invitees),
        ):
            router.add_api_route(path, handler, methods=["GET"])
        return router

    @property
    def organization(self) -> str:
        """The address of the one organization."""
        return str(self.world.calendly["organization_memberships"][0]["organization"])

    def _may(self, request: Request) -> bool:
        return request.headers.get("authorization") == f"Bearer {self.tokens.calendly_token}"

    async def me(self, request: Request) -> Response:
        """The token's owner, an admin of the organization."""
        if not self._may(request):
            return _unauthenticated()
        user = self.world.calendly["organization_memberships"][0]["user"]
        return _json({"resource": {**user, "current_organization": self.organization}})

    async def memberships(self, request: Request) -> Response:
        """Members with their e-mail address and time zone."""
        if not self._may(request):
            return _unauthenticated()
        if request.query_params.get("organization") != self.organization:
            return _invalid("organization", "is invalid")
        return _page(request, self.world.calendly["organization_memberships"])

    async def events(self, request: Request) -> Response:
        """Scheduled events by the time they begin."""
        if not self._may(request):
            return _unauthenticated()
        query = request.query_params
        if query.get("organization") != self.organization:
            return _error(403, "Permission Denied", "You do not have permission")
        try:
            bounds = {
                name: datetime.fromisoformat(query[name])
                for name in ("min_start_time", "max_start_time")
                if query.get(name)
            }
        except ValueError:
            return _invalid("min_start_time", "must be a valid date in ISO8601 format")
        sort = query.get("sort", "start_time:asc")
        if sort not in ("start_time:asc", "start_time:desc"):
            return _invalid("sort", "is invalid")
        events: dict[str, Record] = {}
        for invitee in self.world.calendly["invitees"]:
            event: Record = invitee["scheduled_event"]
            events[event["uri"]] = event
        found = [
            event
            for event in events.values()
            if query.get("status") in (None, event["status"])
            and (at := datetime.fromisoformat(event["start_time"]))
            and ("min_start_time" not in bounds or at >= bounds["min_start_time"])
            and ("max_start_time" not in bounds or at < bounds["max_start_time"])
        ]
        found.sort(
            key=lambda event: (event["start_time"], event["uri"]), reverse=sort.endswith("desc")
        )
        return _page(request, found)

    async def invitees(self, event_uuid: str, request: Request) -> Response:
        """Those invited to one event, by the time they booked."""
        if not self._may(request):
            return _unauthenticated()
        found = [
            {name: value for name, value in invitee.items() if name != "scheduled_event"}
            for invitee in self.world.calendly["invitees"]
            if invitee["event"].endswith(f"/{event_uuid}")
        ]
        if not found:
            return _error(404, "Resource Not Found", "The server could not find the resource.")
        found.sort(key=lambda invitee: (invitee["created_at"], invitee["uri"]))
        return _page(request, found)


def _page(request: Request, rows: list[Record]) -> Response:
    query = request.query_params
    try:
        count = int(query.get("count", DEFAULT_PAGE))
        offset = int(base64.urlsafe_b64decode(query.get("page_token", "MA==")).decode())
    except (ValueError, binascii.Error):
        return _invalid("page_token", "is invalid")
    if not 1 <= count <= LARGEST_PAGE:
        return _invalid("count", f"must be between 1 and {LARGEST_PAGE}")
    page = rows[offset : offset + count]
    token = None
    if offset + count < len(rows):
        token = base64.urlsafe_b64encode(str(offset + count).encode()).decode()
    request.scope.setdefault("sandbox", {})["rows"] = len(page)
    pagination = {
        "count": len(page),
        "next_page": token and str(request.url.include_query_params(page_token=token)),
        "previous_page": None,
        "next_page_token": token,
        "previous_page_token": None,
    }
    return _json({"collection": page, "pagination": pagination})


def _json(content: Any, status: int = 200) -> Response:
    limits = {
        "x-ratelimit-limit": RATE_LIMIT,
        "x-ratelimit-remaining": RATE_LIMIT,
        "x-ratelimit-reset": "60",
    }
    return Response(orjson.dumps(content), status, limits, media_type="application/json")


def _error(status: int, title: str, message: str, details: list[Record] | None = None) -> Response:
    body: Record = {"title": title, "message": message}
    return _json(body | ({"details": details} if details else {}), status)


def _invalid(parameter: str, message: str) -> Response:
    told: list[Record] = [{"parameter": parameter, "message": message}]
    return _error(400, "Invalid Argument", "The supplied parameters are invalid.", told)


def _unauthenticated() -> Response:
    return _error(401, "Unauthenticated", "The access token is invalid")
