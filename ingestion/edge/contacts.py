"""GET /v1/contacts: who a person is to us, masked unless the caller may see personal values."""

from __future__ import annotations

import orjson
from fastapi import Request
from starlette.responses import Response

from ingestion.edge.bodies import JSON
from ingestion.edge.decisions import Decisions
from ingestion.edge.gate import Gate
from ingestion.edge.masking import masked
from ingestion.errors.catalog import HandoffError


class Contacts:
    """Reads people from what was published last."""

    def __init__(self, gate: Gate, decisions: Decisions | None) -> None:
        """Without `decisions` nobody is known."""
        self._gate = gate
        self._decisions = decisions

    async def get(self, request: Request) -> Response:
        """One person by `person_id` in the path, or by `email`, or by `system` and `record_id`."""
        caller, allowance = await self._gate.admit(request, "contacts:read", "reads")
        if self._decisions is None:
            raise HandoffError("SERVING_MISSING", "this edge was started without a warehouse")
        found = await self._decisions.person(_who(request))
        content = found if caller.may("pii:read") else masked(found)
        told = content | {
            "is_masked": not caller.may("pii:read"),
            "correlation_id": request.state.trace.correlation_id,
        }
        headers = allowance.headers() | {"cache-control": "no-store"}
        return Response(orjson.dumps(told, default=str), media_type=JSON, headers=headers)


def _who(request: Request) -> str:
    if person_id := request.path_params.get("person_id"):
        return str(person_id)
    asked = request.query_params
    if email := asked.get("email"):
        return email
    if asked.get("system") and asked.get("record_id"):
        return f"{asked['system']}/{asked['record_id']}"
    raise HandoffError(
        "BAD_REQUEST",
        "the request names nobody",
        remedy="Ask /v1/contacts/PERSON_ID, ?email=…, or ?system=salesforce&record_id=00Q….",
    )
