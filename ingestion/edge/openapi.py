"""Describes the plain routes, which FastAPI cannot describe by itself: parameters, bodies, answers and scopes."""

from __future__ import annotations

from functools import cache
from typing import Any

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.edge.bodies import BATCH, EVENT, JSON
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
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_INSTANT = {"type": "string", "format": "date-time"}


def add_routes(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """`document` with every plain route in it, as OpenAPI 3.1 has them."""
    document["paths"] |= _paths(settings)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(_schemas())
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
    batch = {"type": "array", "items": _ref("Event"), "maxItems": settings.max_batch_items}
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
                        EVENT: {"schema": _ref("Event")},
                        BATCH: {"schema": batch},
                        JSON: {"schema": {"anyOf": [_ref("Event"), batch]}},
                    },
                },
                "responses": _answers(
                    {
                        "202": _answer("All of it is on disk.", _any_of("Accepted", "Results")),
                        "207": _answer("Some of it is on disk.", _ref("Results")),
                    }
                ),
            }
        },
        "/v1/events/{id}/status": {
            "get": {
                "summary": "How far an event has come",
                "security": [{"oauth2": ["events:read"]}, {"key": []}],
                "parameters": [
                    _parameter("id", "path", "the event's id"),
                    _parameter("source", "query", "the event's source", required=True),
                ],
                "responses": _answers({"200": _answer("Its stages.", _ref("Status"))}),
            }
        },
        "/webhooks/{system}": {
            "post": {
                "summary": "Take one signed delivery of a system",
                "parameters": [
                    _parameter("system", "path", "the sender", enum=catalog.systems("webhook"))
                ],
                "requestBody": {"description": limits, "required": True, "content": {JSON: {}}},
                "responses": _answers(
                    {
                        "202": _answer("All of it is on disk.", _any_of("Accepted", "Results")),
                        "207": _answer("Some of it is on disk.", _ref("Results")),
                    }
                ),
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
                "responses": _answers({"200": _answer("The person.", _ref("Person"))}),
            }
        },
        "/v1/contacts/{person_id}": {
            "get": {
                "summary": "A person by our id",
                "security": [{"oauth2": ["contacts:read"]}],
                "parameters": [_parameter("person_id", "path", "as in marts.dim_people")],
                "responses": _answers({"200": _answer("The person.", _ref("Person"))}),
            }
        },
        "/v1/quarantine": {
            "get": {
                "summary": "What was refused, oldest first",
                "security": [{"oauth2": ["quarantine:read"]}],
                "parameters": [
                    _parameter("after", "query", "ids above this", schema={**_WHOLE, "minimum": 0}),
                    _parameter(
                        "limit",
                        "query",
                        "at most 100",
                        schema={**_WHOLE, "minimum": 1, "maximum": 100},
                    ),
                ],
                "responses": _answers({"200": _answer("A page.", _ref("QuarantinePage"))}),
            }
        },
        "/v1/quarantine/{quarantine_id}": {
            "get": {
                "summary": "One refusal, with what was sent",
                "security": [{"oauth2": ["quarantine:read"]}],
                "parameters": [
                    _parameter("quarantine_id", "path", "its id", schema={**_WHOLE, "minimum": 1})
                ],
                "responses": _answers({"200": _answer("The refusal.", _ref("Refusal"))}),
            }
        },
        "/oauth/token": {
            "post": {
                "summary": "An access token for a client's id and secret",
                "description": "RFC 6749, 4.4; the secret by HTTP basic authentication or in the form.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/x-www-form-urlencoded": {"schema": _ref("TokenRequest")}
                    },
                },
                "responses": _answers(
                    {
                        "200": _answer("The token.", _ref("Token")),
                        "400": _answer("RFC 6749, 5.2.", _ref("TokenError")),
                        "401": _answer("RFC 6749, 5.2.", _ref("TokenError")),
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
                            "content": {"text/plain": {"schema": _TEXT}},
                        }
                    }
                ),
            }
        },
    }


@cache
def _schemas() -> dict[str, Any]:
    """The events by type, as their contracts have them, and the answers."""
    found: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for record in registry.RECORD_TABLES:
        name = "".join(part.capitalize() for part in record.split("_"))
        document = registry.event_schema(record, registry.newest_version(record))
        found[name] = document
        mapping[registry.event_type(record)] = f"#/components/schemas/{name}"
    violation = {"code": _TEXT, "path": _TEXT, "detail": _TEXT}
    accepted = {
        "status": {"enum": ["accepted", "duplicate"]},
        "source": _TEXT,
        "id": _TEXT,
        "seq": _WHOLE,
        "received_at": _INSTANT,
        "correlation_id": _TEXT,
    }
    result = {
        "index": _WHOLE,
        "status": {"enum": ["accepted", "duplicate", "conflict", "rejected"]},
        "source": {"type": ["string", "null"]},
        "id": {"type": ["string", "null"]},
        "seq": _WHOLE,
        "received_at": _INSTANT,
        "code": _TEXT,
        "path": {"type": ["string", "null"]},
        "detail": _TEXT,
        "remedy": _TEXT,
        "http_status": _WHOLE,
        "quarantine_id": _WHOLE,
        "errors": {"type": "array", "items": _object(violation)},
    }
    refusal = {
        "quarantine_id": _WHOLE,
        "received_at": _INSTANT,
        "door": _TEXT,
        "code": _TEXT,
        "path": _TEXT,
        "message": _TEXT,
        "source": {"type": ["string", "null"]},
        "id": {"type": ["string", "null"]},
        "type": {"type": ["string", "null"]},
        "contract_version": {"type": ["string", "null"]},
        "correlation_id": _TEXT,
    }
    found |= {
        "Event": {
            "oneOf": [{"$ref": reference} for reference in mapping.values()],
            "discriminator": {"propertyName": "type", "mapping": mapping},
        },
        "Accepted": _object(accepted, *accepted),
        "Results": _object(
            {
                "results": {"type": "array", "items": _object(result, "index", "status")},
                "correlation_id": _TEXT,
            },
            "results",
            "correlation_id",
        ),
        "Status": _object(
            {
                "source": _TEXT,
                "id": _TEXT,
                "status": {"enum": ["accepted", "landed", "decided", "pushed", "quarantined"]},
                "seq": _WHOLE,
                "received_at": _INSTANT,
                "pushes": {"type": "array", "items": {"type": "object"}},
                "rejections": {"type": "array", "items": {"type": "object"}},
                "correlation_id": _TEXT,
            },
            "source",
            "id",
            "status",
            "correlation_id",
        ),
        "Person": _object(
            {
                "person": {"type": "object"},
                "as_of": _INSTANT,
                "score": {"type": "number"},
                **{
                    rows: {"type": "array", "items": {"type": "object"}}
                    for rows in (
                        "records",
                        "contributions",
                        "mqls",
                        "assignments",
                        "consents",
                        "pushes",
                    )
                },
                "is_masked": {"type": "boolean"},
                "correlation_id": _TEXT,
            },
            "is_masked",
            "correlation_id",
        ),
        "Refusal": _object(refusal | {"payload": {}}, "quarantine_id", "code", "payload"),
        "QuarantinePage": _object(
            {
                "entries": {"type": "array", "items": _object(refusal, "quarantine_id", "code")},
                "next_after": _WHOLE,
            },
            "entries",
        ),
        "TokenRequest": _object(
            {
                "grant_type": {"const": "client_credentials"},
                "scope": _TEXT,
                "client_id": _TEXT,
                "client_secret": _TEXT,
            },
            "grant_type",
        ),
        "Token": _object(
            {
                "access_token": _TEXT,
                "token_type": {"const": "Bearer"},
                "expires_in": _WHOLE,
                "scope": _TEXT,
            },
            "access_token",
            "token_type",
            "expires_in",
        ),
        "TokenError": _object({"error": _TEXT, "error_description": _TEXT}, "error"),
        "Problem": _object(
            {
                "type": _TEXT,
                "title": _TEXT,
                "status": _WHOLE,
                "detail": _TEXT,
                "code": _TEXT,
                "remedy": _TEXT,
                "retryable": {"type": "boolean"},
                "runbook": _TEXT,
                "correlation_id": _TEXT,
                "path": _TEXT,
                "quarantine_id": _WHOLE,
                "errors": {"type": "array", "items": _object(violation)},
            },
            "type",
            "title",
            "status",
            "detail",
            "code",
            "correlation_id",
        ),
    }
    return found


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _any_of(*names: str) -> dict[str, Any]:
    return {"anyOf": [_ref(name) for name in names]}


def _parameter(
    name: str,
    where: str,
    description: str,
    *,
    required: bool | None = None,
    schema: dict[str, Any] | None = None,
    enum: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    shape = schema or (_TEXT | {"enum": list(enum)} if enum else _TEXT)
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
    refused = {PROBLEM: {"schema": _ref("Problem")}}
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
