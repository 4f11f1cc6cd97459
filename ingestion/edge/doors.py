"""Answers the busiest addresses before the framework sees them; any other request is the framework's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion.edge.problems import problem_response
from ingestion.errors.catalog import HandoffError

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where POST to one address goes: `route` is the endpoint as the framework knows it, `post` what answers.

    An address that ends in a parameter takes its name from `parameter`.
    """

    route: Endpoint
    post: Endpoint
    parameter: str | None = None


class Doors:
    """Routing of the framework and its error handlers cost a quarter of the processor's time of a small event; here it is a look-up."""

    def __init__(self, framework: ASGIApp, doors: Mapping[str, Door]) -> None:
        """`doors` by address, of one with a parameter by what stands before it, up to its last slash."""
        self._framework = framework
        self._doors = dict(doors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to a door; pass on everything else."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._framework(scope, receive, send)
            return
        path: str = scope["path"]
        door = self._doors.get(path)
        if door is None or door.parameter is not None:
            base, _, value = path.rpartition("/")
            door = self._doors.get(base + "/")
            if door is None or door.parameter is None or not value:
                await self._framework(scope, receive, send)
                return
            scope["path_params"] = {door.parameter: value}
        scope["endpoint"] = door.route
        request = Request(scope, receive)
        try:
            answer = await door.post(request)
        except HandoffError as error:
            answer = problem_response(error, request.state.trace.correlation_id)
        await answer(scope, receive, send)
