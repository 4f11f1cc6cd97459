"""Describes the plain routes, which FastAPI cannot describe by itself: parameters, bodies, answers and scopes."""

from __future__ import annotations

from typing import Any

from ingestion.connectors import catalog
from ingestion.edge.bodies import BATCH, EVENT, JSON
from ingestion.edge.openapi_schemas import INSTANT, KEY, TEXT, WHOLE, any_of, ref, schemas
from ingestion.edge.problems import MEDIA_TYPE as PROBLEM
from ingestion.edge.scopes import SCOPES
from ingestion.settings import Settings

_LIMIT_HEADERS = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "RateLimit-Limit": "what may be spent in the window",
        "RateLimit-Remaining": "what is left of it",
        "RateLimit-Reset": "seconds until the window is over",
        "RateLimit-Policy": "the limit's name, q = quota, w = window in seconds",
    }.items()
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}
_HANDSHAKE: dict[str, Any] = {
    "summary": "CloudEvents' handshake: whether an origin may send here",
    "responses": {
        "200": {
            "description": "It may.",
            "headers": {
                "WebHook-Allowed-Origin": {"schema": TEXT},
                "WebHook-Allowed-Rate": {"schema": TEXT},
            },
        },
        "4XX": {"description": "It may not.", "content": {PROBLEM: {"schema": ref("Problem")}}},
    },
}


def add_routes(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """`document` with every plain route in it, as OpenAPI 3.1 has them."""
    document["paths"] |= _paths(settings)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas())
    components["securitySchemes"] = {
        "oauth2": {
            "type": "oauth2",
            "description": "A client of `handoff clients add`.",
            "flows": {"clientCredentials": {"tokenUrl": "/oauth/token", "scopes": SCOPES}},
        },
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A fixed key of HANDOFF_API_KEYS: it sends, and reads nothing personal.",
        },
    }
    return document


def _paths(settings: Settings) -> dict[str, Any]:
    limits = (
        f"At most {settings.max_body_bytes} bytes (HANDOFF_MAX_BODY_BYTES) and"
        f" {settings.max_batch_items} items (HANDOFF_MAX_BATCH_ITEMS), else 413."
    )
    batch = {"type": "array", "items": ref("Event"), "maxItems": settings.max_batch_items}
    system = _parameter("system", "path", "the sender", enum=catalog.systems("webhook"))
    return {
        "/v1/events": {
            "post": {
                "summary": "Append one CloudEvent or a batch",
                "description": "202 means on disk. `source` and `id` are the idempotency key for ever: the"
                " same content again is answered `duplicate`, other content 409. An item of a batch that"
                " cannot be taken never sinks the others.",
                "security": [{"oauth2": ["events:write"]}, {"key": []}],
                "requestBody": {
                    "description": limits,
                    "required": True,
                    "content": {
                        EVENT: {"schema": ref("Event")},
                        BATCH: {"schema": batch},
                        JSON: {"schema": {"anyOf": [ref("Event"), batch]}},
                    },
                },
                "responses": _answers(
                    {
                        "202": _answer("All of it is on disk.", any_of("Accepted", "Results")),
                        "207": _answer("Some of it is on disk.", ref("Results")),
                    }
                ),
            },
            "options": _HANDSHAKE,
        },
        "/v1/events/{id}/status": {
            "get": {
                "summary": "How far an event has come",
                "security": [{"oauth2": ["events:read"]}, {"key": []}],
                "parameters": [
                    _parameter("id", "path", "the event's id"),
                    _parameter("source", "query", "the event's source", required=True),
                ],
                "responses": _answers({"200": _answer("Its stages.", ref("Status"))}),
            }
        },
        "/webhooks/{system}": {
            "post": {
                "summary": "Take one signed delivery of a system",
                "description": "Signed as the system signs; Salesforce also sends text/xml.",
                "parameters": [system],
                "requestBody": {
                    "description": limits,
                    "required": True,
                    "content": {JSON: {}, "text/xml": {}},
                },
                "responses": _answers(
                    {
                        "200": {"description": "Taken, in the words the sender must hear."},
                        "202": _answer("All of it is on disk.", any_of("Accepted", "Results")),
                        "207": _answer("Some of it is on disk.", ref("Results")),
                    }
                ),
            },
            "options": _HANDSHAKE | {"parameters": [system]},
        },
        "/webhooks/{system}/health": {
            "get": {
                "summary": "What has become of a system's deliveries lately",
                "security": [{"oauth2": ["webhooks:read"]}],
                "parameters": [system],
                "responses": _answers({"200": _answer("Counts.", ref("WebhookHealth"))}),
            }
        },
        "/v1/contacts": {
            "get": {
                "summary": "A person by address or by a system's record",
                "description": "Personal values are masked without the scope pii:read.",
                "security": [{"oauth2": ["contacts:read"]}],
                "parameters": [
                    _parameter("email", "query", "any address of the person"),
                    _parameter("system", "query", "with record_id"),
                    _parameter("record_id", "query", "the record in that system"),
                ],
                "responses": _answers({"200": _answer("The person.", ref("Person"))}),
            }
        },
        "/v1/contacts/{person_id}": {
            "get": {
                "summary": "A person by our id",
                "security": [{"oauth2": ["contacts:read"]}],
                "parameters": [_parameter("person_id", "path", "as in marts.dim_people")],
                "responses": _answers({"200": _answer("The person.", ref("Person"))}),
            }
        },
        "/v1/quarantine": {
            "get": {
                "summary": "What was refused, oldest first",
                "security": [{"oauth2": ["quarantine:read"]}],
                "parameters": [
                    _parameter("after", "query", "ids above this", schema={**WHOLE, "minimum": 0}),
                    _parameter(
                        "limit",
                        "query",
                        "at most 100",
                        schema={**WHOLE, "minimum": 1, "maximum": 100},
                    ),
                ],
                "responses": _answers({"200": _answer("A page.", ref("QuarantinePage"))}),
            }
        },
        "/v1/quarantine/{quarantine_id}": {
            "get": {
                "summary": "One refusal, with what was sent",
                "security": [{"oauth2": ["quarantine:read"]}],
                "parameters": [
                    _parameter("quarantine_id", "path", "its id", schema={**WHOLE, "minimum": 1})
                ],
                "responses": _answers({"200": _answer("The refusal.", ref("Refusal"))}),
            }
        },
        "/v1/quarantine/{quarantine_id}/replay": {
            "post": {
                "summary": "Take one refusal through its door again, by the contracts and mappings of today",
                "description": "replay.outcome says what became of it. Once it is replayed, further calls change nothing."
                " What was refused as SCOPE_DENIED needs the scope its sender lacked.",
                "security": [{"oauth2": ["quarantine:replay"]}],
                "parameters": [
                    _parameter("quarantine_id", "path", "its id", schema={**WHOLE, "minimum": 1})
                ],
                "responses": _answers({"200": _answer("What became of it.", ref("Replayed"))}),
            }
        },
        **_scheduling_paths(),
        "/oauth/token": {
            "post": {
                "summary": "An access token for a client's id and secret",
                "description": "RFC 6749, 4.4; the secret by HTTP basic authentication or in the form.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/x-www-form-urlencoded": {"schema": ref("TokenRequest")}
                    },
                },
                "responses": _answers(
                    {
                        "200": _answer("The token.", ref("Token")),
                        "400": _answer("RFC 6749, 5.2.", ref("TokenError")),
                        "401": _answer("RFC 6749, 5.2.", ref("TokenError")),
                    }
                ),
            }
        },
        "/.well-known/oauth-authorization-server": {
            "get": {
                "summary": "Where tokens are to be had (RFC 8414)",
                "responses": {"200": _answer("The metadata.", {"type": "object"})},
            }
        },
        "/metrics": {
            "get": {
                "summary": "Prometheus' text format",
                "description": "For this machine, or with the scope metrics:read.",
                "security": [{}, {"oauth2": ["metrics:read"]}],
                "responses": _answers(
                    {
                        "200": {
                            "description": "The metrics.",
                            "content": {"text/plain": {"schema": TEXT}},
                        }
                    }
                ),
            }
        },
    }


def _scheduling_paths() -> dict[str, Any]:
    reads, writes = (
        {"security": [{"oauth2": [f"scheduling:{verb}"]}]} for verb in ("read", "write")
    )
    booking_id = _parameter("booking_id", "path", "of an answer of POST /v1/scheduling/bookings")
    key = _parameter(
        "Idempotency-Key",
        "header",
        "of the caller's choice; the same key and body are answered alike for ever, another body 409",
        schema=KEY,
    )
    page = {"text/html": {"schema": TEXT}}
    html = {
        "4XX": {"description": "A page that says why not.", "content": page},
        "503": {"description": "A page that says to try again.", "content": page},
    }
    token = _parameter("token", "path", "of `handoff schedule link`")

    def posts(
        summary: str, body: str, status: str, *parameters: dict[str, Any], **more: Any
    ) -> Any:
        return {
            "post": {
                "summary": summary,
                **writes,
                "parameters": list(parameters),
                "requestBody": {"required": True, "content": {JSON: {"schema": ref(body)}}},
                "responses": _answers({status: _answer("The booking.", ref("Booking"))}),
                **more,
            }
        }

    return {
        "/v1/scheduling/slots": {
            "get": {
                "summary": "Free slots of whom a person should meet",
                "description": "Of the owner; without one of the reps of the territory. Working hours, holidays, calendars,"
                " buffers, notice, horizon and daily caps are those of the scheduling policy.",
                **reads,
                "parameters": [
                    _parameter("meeting_type", "query", "of the scheduling policy", required=True),
                    _parameter("person_id", "query", "as in marts.dim_people"),
                    _parameter("email", "query", "in place of person_id"),
                    _parameter("from", "query", "default: now", schema=INSTANT),
                    _parameter(
                        "to", "query", "default: a week later; at most 62 days", schema=INSTANT
                    ),
                    _parameter("zone", "query", "IANA zone of local_starts_at; default: UTC"),
                ],
                "responses": _answers({"200": _answer("The slots.", ref("Slots"))}),
            }
        },
        "/v1/scheduling/holds": posts(
            "Keep a slot for some minutes",
            "HoldRequest",
            "201",
            description="Its booking_id is the hold_id of POST /v1/scheduling/bookings. SLOT_TAKEN and"
            " SLOT_NOT_OFFERED carry the next free `slots`.",
        ),
        "/v1/scheduling/bookings": posts(
            "Book a slot, or one that is held",
            "BookingRequest",
            "201",
            key,
            description="With an Idempotency-Key or a hold_id. SLOT_TAKEN and SLOT_NOT_OFFERED carry the next free `slots`.",
        ),
        "/v1/scheduling/bookings/{booking_id}": {
            "get": {
                "summary": "A booking as it is now, with every change of it",
                **reads,
                "parameters": [booking_id],
                "responses": _answers({"200": _answer("The booking.", ref("Booking"))}),
            }
        },
        "/v1/scheduling/bookings/{booking_id}/reschedule": posts(
            "Move a booking to another slot of its host, or leave it as it is",
            "RescheduleRequest",
            "200",
            booking_id,
            key,
        ),
        "/v1/scheduling/bookings/{booking_id}/cancel": posts(
            "Call a booking off, or let go of a hold", "CancelRequest", "200", booking_id, key
        ),
        "/v1/scheduling/bookings/{booking_id}/outcome": posts(
            "Say how a meeting went", "OutcomeRequest", "200", booking_id, key
        ),
        "/book/{token}": {
            "get": {
                "summary": "The page on which one lead books one meeting",
                "parameters": [token],
                "responses": {"200": {"description": "The page.", "content": page}, **html},
            },
            "post": {
                "summary": "What the page's forms send",
                "parameters": [token],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/x-www-form-urlencoded": {"schema": ref("BookingForm")}
                    },
                },
                "responses": {
                    "303": {"description": "Done; back to the page."},
                    **html,
                },
            },
        },
        "/book/{token}/meeting.ics": {
            "get": {
                "summary": "The booked meeting as an iCalendar file",
                "parameters": [token],
                "responses": {
                    "200": {
                        "description": "RFC 5545.",
                        "content": {"text/calendar": {"schema": TEXT}},
                    },
                    **html,
                },
            }
        },
    }


def _parameter(
    name: str,
    where: str,
    description: str,
    *,
    required: bool | None = None,
    schema: dict[str, Any] | None = None,
    enum: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    shape = schema or (TEXT | {"enum": list(enum)} if enum else TEXT)
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": where == "path" if required is None else required,
        "schema": shape,
    }


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": _LIMIT_HEADERS,
        "content": {JSON: {"schema": schema}},
    }


def _answers(own: dict[str, Any]) -> dict[str, Any]:
    refused = {PROBLEM: {"schema": ref("Problem")}}
    return own | {
        "4XX": {
            "description": "Refused; with 429 see Retry-After.",
            "headers": _RETRY_AFTER,
            "content": refused,
        },
        "503": {
            "description": "Nothing was accepted; see Retry-After.",
            "headers": _RETRY_AFTER,
            "content": refused,
        },
    }
