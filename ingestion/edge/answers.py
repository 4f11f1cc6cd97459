"""What a sender hears of each item it sent, and of a body that could not be taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from ingestion.contracts.violations import Violation
from ingestion.edge.bodies import JSON
from ingestion.edge.deprecation import deprecation_headers
from ingestion.edge.intake import Outcome, reject
from ingestion.edge.problems import problem_response
from ingestion.edge.trace import Trace
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog


async def answer_rejected_body(
    log: EventLog, body: bytes, error: HandoffError, door: str, trace: Trace
) -> Response:
    """Keep the body in quarantine and answer why it was not taken."""
    kept = await reject(log, body, error, door=door, trace=trace)
    return problem_response(error, trace.correlation_id, quarantine_id=kept)


def answer_one(outcome: Outcome, trace: Trace) -> Response:
    """202 when the item is on disk, else its first violation as a problem document."""
    if outcome.is_kept:
        content = _result(outcome) | {"correlation_id": trace.correlation_id}
        answer = Response(orjson.dumps(content), status_code=202, media_type=JSON)
    else:
        answer = problem_response(
            outcome.error(),
            trace.correlation_id,
            quarantine_id=outcome.quarantine_id,
            source=outcome.source,
            id=outcome.event_id,
            errors=[_violation(violation) for violation in outcome.violations],
            deprecation=outcome.end and outcome.end.as_dict(),
        )
    return _with_end(answer, [outcome])


def answer_batch(outcomes: Sequence[Outcome], trace: Trace) -> Response:
    """202 when every item is on disk, else 207 as in RFC 4918: the answer differs by item."""
    content = {
        "results": [{"index": index} | _result(outcome) for index, outcome in enumerate(outcomes)],
        "correlation_id": trace.correlation_id,
    }
    status = 202 if all(outcome.is_kept for outcome in outcomes) else 207
    answer = Response(orjson.dumps(content), status_code=status, media_type=JSON)
    return _with_end(answer, outcomes)


def _with_end(answer: Response, outcomes: Sequence[Outcome]) -> Response:
    """The headers of the contract that ends first among those the items name."""
    ends = [outcome.end for outcome in outcomes if outcome.end is not None]
    if ends:
        first = min(ends, key=lambda end: (end.sunset_on, end.deprecated_on, end.record))
        answer.headers.update(deprecation_headers(first))
    return answer


def _result(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "status": outcome.status,
        "source": outcome.source,
        "id": outcome.event_id,
    }
    if outcome.seq is not None:
        result |= {"seq": outcome.seq, "received_at": outcome.received_at}
    if outcome.end is not None:
        result["deprecation"] = outcome.end.as_dict()
    if outcome.violations:
        error = outcome.error()
        result |= {
            "code": error.code,
            "path": error.path,
            "detail": error.message,
            "remedy": error.remedy,
            "http_status": error.entry.status,
            "quarantine_id": outcome.quarantine_id,
            "errors": [_violation(violation) for violation in outcome.violations],
        }
    return result


def _violation(violation: Violation) -> dict[str, str]:
    return {"code": violation.code, "path": violation.path, "detail": violation.message}
