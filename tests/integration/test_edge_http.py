"""The edge over real HTTP: what is acknowledged, what is refused and how, and what is kept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from ingestion.edge.app import create_app
from ingestion.errors.catalog import HandoffError, catalog
from ingestion.log.interface import EventLog
from ingestion.log.sqlite import SqliteLog
from ingestion.settings import Settings
from tests.serving import served

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
HUBSPOT_SECRET = "hub-secret"
WEB_SECRET = "whsec_" + base64.b64encode(b"w" * 24).decode()
PUBLIC = "https://in.example.com"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def running(settings: Settings, log: EventLog) -> Iterator[str]:
    """The edge on a free port of this machine; yields its address."""
    with served(create_app(settings, log, clock=lambda: NOW)) as url:
        yield url


def settings_of(home: Path, **fields: Any) -> Settings:
    values: dict[str, Any] = {
        "home": home,
        "webhook_secrets_hubspot": f"old-secret,{HUBSPOT_SECRET}",
        "webhook_secrets_web": WEB_SECRET,
        "edge_public_url": PUBLIC,
        "max_body_bytes": 20_000,
    }
    return Settings(**(values | fields))


class Edge:
    """A running edge, its log, and a client."""

    def __init__(self, url: str, log: SqliteLog, client: httpx.Client) -> None:
        self.url, self.log, self.client = url, log, client

    def post(self, body: Any, content_type: str = "application/json", **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(
            "/v1/events", content=content, headers={"content-type": content_type} | headers
        )

    def quarantined(self, quarantine_id: int) -> Any:
        return self.log.read_quarantine(after=quarantine_id - 1, limit=1)[0].rejection


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings = settings_of(tmp_path_factory.mktemp("edge"))
    log = SqliteLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield Edge(url, log, client)
    log.close()


def event(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": name,
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": f"contact/web/{name}",
        "time": "2026-04-01T08:30:00Z",
        "data": {"record_id": name, "system": "web"},
    } | changes


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["code"] == code
    assert document["status"] == status == catalog()[code].status
    assert document["title"] == catalog()[code].title
    assert document["detail"] and document["remedy"] and document["type"]
    assert document["correlation_id"] == answer.headers["traceparent"].split("-")[1]
    assert ("retry-after" in answer.headers) == catalog()[code].retryable
    return document


# -- /v1/events ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/json",
        "application/cloudevents+json; charset=UTF-8",
    ],
)
def test_an_event_is_on_disk_when_it_is_acknowledged(edge: Edge, content_type: str) -> None:
    sent = event(f"one {content_type}")
    answer = edge.post(sent, content_type)
    assert answer.status_code == 202
    result = answer.json()
    assert result["status"] == "accepted"
    (entry,) = edge.log.read(after=result["seq"] - 1, limit=1)
    assert {k: v for k, v in entry.event.items() if k != "traceparent"} == sent
    again = edge.post(sent, content_type)
    assert (again.status_code, again.json()["status"]) == (202, "duplicate")
    assert again.json()["seq"] == result["seq"]


def test_an_id_with_another_body_is_a_conflict_and_is_kept_in_quarantine(edge: Edge) -> None:
    edge.post(event("conflict"))
    changed = event("conflict", time="2026-04-02T00:00:00Z")
    problem = assert_problem(edge.post(changed), 409, "IDEMPOTENCY_CONFLICT")
    kept = edge.quarantined(problem["quarantine_id"])
    assert (kept.code, kept.event_id, json.loads(kept.payload)) == (
        "IDEMPOTENCY_CONFLICT",
        "conflict",
        changed,
    )


BAD_EVENTS = [
    ({"data": {"record_id": "1"}}, "SCHEMA_INVALID", "/data/system"),
    ({"data": {"record_id": 1, "system": "web"}}, "FIELD_MISMATCH", "/data/record_id"),
    ({"data": {"record_id": "1", "system": "web", "x": 1}}, "FIELD_MISMATCH", "/data/x"),
    ({"data": {"record_id": "1", "system": "crmm"}}, "ENUM_UNKNOWN", "/data/system"),
    ({"type": "com.handoff.nonsense"}, "SCHEMA_UNKNOWN", "/type"),
    ({"dataschema": "urn:handoff:contract:contact:9.0.0"}, "SCHEMA_UNKNOWN", "/dataschema"),
    ({"time": "yesterday"}, "FIELD_MISMATCH", "/time"),
    ({"id": ""}, "FIELD_MISMATCH", "/id"),
]


@pytest.mark.parametrize(("change", "code", "path"), BAD_EVENTS)
def test_an_event_that_breaks_its_contract_is_refused_and_kept(
    edge: Edge, change: dict[str, Any], code: str, path: str
) -> None:
    sent = event("broken") | change
    problem = assert_problem(edge.post(sent), 422, code)
    assert problem["path"] == path
    kept = edge.quarantined(problem["quarantine_id"])
    assert (kept.door, kept.code, kept.path) == ("events", code, path)
    assert json.loads(kept.payload) == sent


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"", "SCHEMA_INVALID", ""),
        (b"{", "SCHEMA_INVALID", ""),
        (b'{"id":"1"} x', "SCHEMA_INVALID", ""),
        (b"\xff\xfe", "SCHEMA_INVALID", ""),
        (b"[1,]", "SCHEMA_INVALID", ""),
        (b'{"id":NaN}', "SCHEMA_INVALID", ""),
        (b"null", "SCHEMA_INVALID", ""),
        (b"7", "SCHEMA_INVALID", ""),
        (b'{"id":"a","data":{"x":1,"x":2}}', "DUPLICATE_KEY", "/data/x"),
        (b'{"id":"\\ud800"}', "SCHEMA_INVALID", ""),
        (b'{"id":"a","data":{"n":1e999}}', "FIELD_MISMATCH", "/data/n"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "SCHEMA_INVALID", ""),
        (b"[" * 9_000, "SCHEMA_INVALID", ""),
    ],
)
def test_a_body_that_is_no_good_json_is_refused_and_kept_byte_for_byte(
    edge: Edge, body: bytes, code: str, path: str
) -> None:
    problem = assert_problem(edge.post(body), 422, code)
    assert problem["path"] == path
    assert edge.quarantined(problem["quarantine_id"]).payload == body


def test_one_bad_item_never_sinks_the_rest_of_a_batch(edge: Edge) -> None:
    edge.post(event("batch-taken"))
    items = [
        json.dumps(event("batch-1")),
        '{"id": "batch-2", "id": "batch-2"}',
        json.dumps(event("batch-taken", time="2026-05-01T00:00:00Z")),
        json.dumps(event("batch-3", type="com.handoff.nonsense")),
        "17",
        json.dumps(event("batch-1")),
        json.dumps(event("batch-4")),
    ]
    answer = edge.post(f"[{', '.join(items)}]".encode(), "application/cloudevents-batch+json")
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [result["index"] for result in results] == list(range(7))
    assert [result["status"] for result in results] == [
        "accepted",
        "rejected",
        "conflict",
        "rejected",
        "rejected",
        "duplicate",
        "accepted",
    ]
    assert [result.get("code") for result in results] == [
        None,
        "DUPLICATE_KEY",
        "IDEMPOTENCY_CONFLICT",
        "SCHEMA_UNKNOWN",
        "SCHEMA_INVALID",
        None,
        None,
    ]
    for result, item in zip(results, items, strict=True):
        if result["status"] in ("rejected", "conflict"):
            assert edge.quarantined(result["quarantine_id"]).payload == item.encode()
    assert edge.log.contains("urn:test", "batch-4")


def test_a_batch_of_accepted_and_known_events_is_acknowledged(edge: Edge) -> None:
    batch = [event(f"good-{number}") for number in range(20)]
    first = edge.post(batch, "application/cloudevents-batch+json")
    second = edge.post([*batch, event("good-new")])
    assert (first.status_code, second.status_code) == (202, 202)
    assert [result["status"] for result in second.json()["results"]] == ["duplicate"] * 20 + [
        "accepted"
    ]
    assert edge.post([]).json()["results"] == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/cloudevents+json", [event("shape")]),
        ("application/cloudevents-batch+json", event("shape")),
    ],
)
def test_a_body_of_the_other_shape_than_its_content_type_is_refused(
    edge: Edge, content_type: str, body: Any
) -> None:
    assert_problem(edge.post(body, content_type), 422, "SCHEMA_INVALID")
    assert not edge.log.contains("urn:test", "shape")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_content_is_refused_before_it_is_read(edge: Edge, headers: dict[str, str]) -> None:
    answer = edge.client.post("/v1/events", content=b"{}", headers=headers)
    assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_body_over_the_limit_is_refused(edge: Edge) -> None:
    assert_problem(edge.post(b" " * 20_001), 413, "PAYLOAD_TOO_LARGE")
    chunked = edge.client.post(
        "/v1/events",
        content=iter([b" " * 10_000] * 3),
        headers={"content-type": "application/json"},
    )
    assert_problem(chunked, 413, "PAYLOAD_TOO_LARGE")
    assert edge.post(b" " * 19_999 + b"7").status_code == 422


def test_a_batch_of_more_items_than_the_limit_is_refused_as_a_whole_and_kept(edge: Edge) -> None:
    before = edge.log.last_seq()
    body = b"[" + b",".join([b"0"] * 1_001) + b"]"
    problem = assert_problem(edge.post(body), 413, "PAYLOAD_TOO_LARGE")
    assert problem["detail"] == "the batch holds more than 1000 items"
    assert "HANDOFF_MAX_BATCH_ITEMS" in problem["remedy"]
    assert edge.quarantined(problem["quarantine_id"]).payload == body
    assert edge.log.last_seq() == before
    most = edge.post(b"[" + b",".join([b"0"] * 1_000) + b"]")
    assert (most.status_code, len(most.json()["results"])) == (207, 1_000)


def test_the_limit_is_enforced_on_a_chunked_body_before_its_end(edge: Edge) -> None:
    host, port = edge.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + b"4e20\r\n" + b" " * 20_000 + b"\r\n"
        )
        connection.sendall(b"1\r\n \r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


# -- correlation -----------------------------------------------------------------------------


def test_a_given_trace_goes_into_the_event_the_answer_and_the_problem(edge: Edge) -> None:
    answer = edge.post(event("traced"), traceparent=TRACE)
    assert answer.headers["traceparent"] == TRACE
    assert answer.json()["correlation_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert edge.log.read(answer.json()["seq"] - 1, 1)[0].event["traceparent"] == TRACE
    problem = assert_problem(edge.post(b"{", traceparent=TRACE), 422, "SCHEMA_INVALID")
    assert problem["correlation_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "given",
    [
        None,
        "nonsense",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        TRACE + "-extra",
        TRACE.upper(),
    ],
)
def test_without_a_valid_trace_a_new_one_is_made(edge: Edge, given: str | None) -> None:
    headers = {} if given is None else {"traceparent": given}
    answer = edge.post(event(f"untraced {given}"), **headers)
    made = answer.headers["traceparent"]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", made)
    assert given is None or made not in given
    assert edge.log.read(answer.json()["seq"] - 1, 1)[0].event["traceparent"] == made


def test_an_events_own_trace_is_left_to_it(edge: Edge) -> None:
    answer = edge.post(event("own trace", traceparent=TRACE))
    assert edge.log.read(answer.json()["seq"] - 1, 1)[0].event["traceparent"] == TRACE


# -- callers ---------------------------------------------------------------------------------


def test_with_keys_only_a_bearer_of_one_is_let_in(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, api_keys="first-key,second-key")
    log = SqliteLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url) as client:
        edge = Edge(url, log, client)
        for authorization in (
            None,
            "Bearer",
            "Bearer first-ke",
            "Bearer first-key,second-key",
            "Basic first-key",
            "first-key",
        ):
            headers = {} if authorization is None else {"authorization": authorization}
            answer = edge.post(event("keyed"), **headers)
            assert_problem(answer, 401, "UNAUTHENTICATED")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert log.last_seq() == 0 and log.read_quarantine() == []
        assert edge.post(event("a"), authorization="Bearer second-key").status_code == 202
        assert edge.post(event("b"), authorization="bearer first-key").status_code == 202
    log.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"host": "rebound.example.com"},
    ],
)
def test_without_keys_proxied_and_rebound_callers_are_refused(
    edge: Edge, headers: dict[str, str]
) -> None:
    assert_problem(edge.post(event("proxied"), **headers), 401, "UNAUTHENTICATED")
    assert not edge.log.contains("urn:test", "proxied")


def test_without_keys_a_caller_from_elsewhere_is_refused(tmp_path: Path) -> None:
    import asyncio

    settings = settings_of(tmp_path)
    log = SqliteLog(settings.log_path)
    app = create_app(settings, log)

    async def ask(address: str) -> int:
        transport = httpx.ASGITransport(app, client=(address, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.post("/v1/events", json=event("afar"))).status_code

    answers = {ip: asyncio.run(ask(ip)) for ip in ("10.0.0.7", "203.0.113.9", "::ffff:10.0.0.7")}
    assert set(answers.values()) == {401}
    assert asyncio.run(ask("::ffff:127.0.0.1")) == 202
    log.close()


# -- webhooks --------------------------------------------------------------------------------


def hubspot_headers(body: bytes, secret: str = HUBSPOT_SECRET, at: datetime = NOW) -> Any:
    stamp = str(int(at.timestamp() * 1_000))
    signed = f"POST{PUBLIC}/webhooks/hubspot".encode() + body + stamp.encode()
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return {
        "x-hubspot-signature-v3": base64.b64encode(digest).decode(),
        "x-hubspot-request-timestamp": stamp,
        "content-type": "application/json",
    }


def notification(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "eventId": number,
        "subscriptionId": 7,
        "portalId": 123,
        "appId": 9,
        "occurredAt": 1775044800125,
        "subscriptionType": "contact.propertyChange",
        "attemptNumber": 0,
        "objectId": 51,
        "propertyName": "city",
        "propertyValue": "Berlin",
    } | fields


def send_hubspot(edge: Edge, notifications: Any, **headers: Any) -> httpx.Response:
    body = notifications if isinstance(notifications, bytes) else json.dumps(notifications).encode()
    return edge.client.post(
        "/webhooks/hubspot", content=body, headers=hubspot_headers(body) | headers
    )


def test_a_signed_hubspot_delivery_is_in_the_log_when_acknowledged(edge: Edge) -> None:
    answer = send_hubspot(edge, [notification(1), notification(2, propertyValue="Bonn")])
    assert answer.status_code == 202, answer.text
    results = answer.json()["results"]
    entries = edge.log.read(results[0]["seq"] - 1, 2)
    assert [entry.event["data"]["city"] for entry in entries] == ["Berlin", "Bonn"]
    retried = send_hubspot(
        edge,
        [
            notification(1, attemptNumber=1),
            notification(2, propertyValue="Bonn", attemptNumber=1),
        ],
    )
    assert [result["status"] for result in retried.json()["results"]] == ["duplicate"] * 2


def test_a_bad_notification_is_kept_and_the_rest_of_the_delivery_accepted(edge: Edge) -> None:
    bad = notification(11, subscriptionType="ticket.creation")
    answer = send_hubspot(edge, [notification(10), bad, notification(12, propertyValue="Ulm")])
    assert answer.status_code == 207
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["accepted", "rejected", "accepted"]
    kept = edge.quarantined(results[1]["quarantine_id"])
    assert (kept.door, kept.code, kept.path) == (
        "webhook:hubspot",
        "SCHEMA_UNKNOWN",
        "/subscriptionType",
    )
    assert json.loads(kept.payload) == bad


def test_a_form_becomes_events_of_one_submission(edge: Edge) -> None:
    body = json.dumps(
        {
            "type": "form.submitted",
            "timestamp": "2026-04-01T12:00:00Z",
            "data": {"form_id": "demo_request", "email": "a@b.example", "consent": {"email": True}},
        }
    ).encode()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": Webhook(WEB_SECRET).sign("msg_1", NOW, body.decode()),
    }
    answer = edge.client.post("/webhooks/web", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    first = answer.json()["results"][0]["seq"]
    types = [entry.event["type"] for entry in edge.log.read(first - 1, 3)]
    assert types == ["com.handoff.contact", "com.handoff.activity", "com.handoff.consent"]


def test_a_forged_or_late_delivery_leaves_no_trace_in_log_or_quarantine(edge: Edge) -> None:
    body = json.dumps([notification(99)]).encode()
    before = (edge.log.last_seq(), len(edge.log.read_quarantine(limit=10_000)))
    wrong = hubspot_headers(body, secret="guess")
    late = hubspot_headers(body, at=NOW - timedelta(seconds=301))
    early = hubspot_headers(body, at=NOW + timedelta(seconds=301))
    for headers, sent, code in (
        (wrong, body, "SIGNATURE_INVALID"),
        (hubspot_headers(body), body + b" ", "SIGNATURE_INVALID"),
        (hubspot_headers(body), b"{not json", "SIGNATURE_INVALID"),
        (late, body, "SIGNATURE_EXPIRED"),
        (early, body, "SIGNATURE_EXPIRED"),
        ({}, body, "SIGNATURE_INVALID"),
    ):
        answer = edge.client.post("/webhooks/hubspot", content=sent, headers=headers)
        assert_problem(answer, 401, code)
    repeated = [*hubspot_headers(body).items(), ("x-hubspot-signature-v3", "AAAA")]
    answer = edge.client.post("/webhooks/hubspot", content=body, headers=repeated)
    assert_problem(answer, 401, "SIGNATURE_INVALID")
    assert (edge.log.last_seq(), len(edge.log.read_quarantine(limit=10_000))) == before


def test_a_signed_body_that_is_no_json_is_kept(edge: Edge) -> None:
    problem = assert_problem(send_hubspot(edge, b"{not json"), 422, "SCHEMA_INVALID")
    assert edge.quarantined(problem["quarantine_id"]).payload == b"{not json"


def test_a_key_being_rotated_out_is_still_accepted(edge: Edge) -> None:
    body = json.dumps([notification(200)]).encode()
    headers = hubspot_headers(body, secret="old-secret")
    assert edge.client.post("/webhooks/hubspot", content=body, headers=headers).status_code == 202


def test_without_a_secret_every_delivery_is_refused(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, webhook_secrets_hubspot=None)
    log = SqliteLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url) as client:
        body = json.dumps([notification(1)]).encode()
        headers = hubspot_headers(body, secret="")
        answer = client.post("/webhooks/hubspot", content=body, headers=headers)
        assert_problem(answer, 401, "SIGNATURE_INVALID")
    log.close()


@pytest.mark.parametrize("system", ["nobody", "calendar", "..", "%2e%2e%2fedge", "__init__"])
def test_a_system_without_webhooks_is_not_found(edge: Edge, system: str) -> None:
    answer = edge.client.post(f"/webhooks/{system}", content=b"{}")
    assert_problem(answer, 404, "NOT_FOUND")


def test_what_is_not_served_is_answered_in_the_same_words(edge: Edge) -> None:
    assert_problem(edge.client.get("/v2/events"), 404, "NOT_FOUND")
    refused = edge.client.put("/v1/events")
    assert_problem(refused, 405, "METHOD_NOT_ALLOWED")
    assert set(refused.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    slashed = edge.client.post("/v1/events/", content=b"{}")
    assert "POST /v1/events," in assert_problem(slashed, 404, "NOT_FOUND")["detail"]


def test_the_openapi_document_describes_every_address(edge: Edge) -> None:
    paths = edge.client.get("/openapi.json").json()["paths"]
    # What is not served is answered with all that is.
    served = edge.client.get("/nowhere").json()["detail"].partition("known: ")[2].split(", ")
    described = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if method != "options"
    }
    assert described == {address.replace("{id:path}", "{id}") for address in served}
    assert "POST /v1/events" in described
    body = paths["/v1/events"]["post"]["requestBody"]
    assert "20000 bytes" in body["description"]
    batch = body["content"]["application/cloudevents-batch+json"]["schema"]
    assert batch["maxItems"] == Settings().max_batch_items


# -- the log behind it -----------------------------------------------------------------------


class HeldLog(SqliteLog):
    """A disk that takes its time: nothing is committed before `release` is set."""

    release: threading.Event

    def _commit(self, group: Any) -> Any:
        self.release.wait(20)
        return super()._commit(group)


def test_no_answer_comes_before_the_commit_and_the_edge_stays_awake(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    HeldLog.release = threading.Event()
    log = HeldLog(settings.log_path)
    with (
        running(settings, log) as url,
        httpx.Client(base_url=url, timeout=20) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        edge = Edge(url, log, client)
        answers: list[Future[Any]] = [
            pool.submit(edge.post, event(f"held-{number}")) for number in range(8)
        ]
        time.sleep(0.3)
        assert not any(answer.done() for answer in answers)
        assert log.last_seq() == 0
        assert client.get("/health/live").json() == {"status": "live"}
        HeldLog.release.set()
        assert {answer.result().status_code for answer in answers} == {202}
        assert log.last_seq() == 8
    log.close()


def test_a_hanging_disk_is_answered_503_for_what_cannot_even_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.edge.intake.LOG_SECONDS", 0.2)
    settings = settings_of(tmp_path)
    HeldLog.release = threading.Event()
    log = HeldLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url, timeout=5) as client:
        try:
            for body in (event("hung"), b"{", [event("hung"), {}]):
                assert_problem(Edge(url, log, client).post(body), 503, "LOG_UNAVAILABLE")
        finally:
            HeldLog.release.set()
    log.close()


class FailingLog(SqliteLog):
    """A disk that is full."""

    def _commit(self, group: Any) -> Any:
        raise HandoffError("LOG_UNAVAILABLE", "made to fail")


def test_a_failing_disk_is_answered_503_with_a_time_to_retry(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    log = FailingLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url) as client:
        edge = Edge(url, log, client)
        for body in (event("x"), b"{", [event("y"), {}]):
            answer = edge.post(body)
            assert_problem(answer, 503, "LOG_UNAVAILABLE")
            assert int(answer.headers["retry-after"]) > 0
    assert log.last_seq() == 0
    log.close()


def test_readiness_follows_the_log(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    log = SqliteLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url) as client:
        assert client.get("/health/ready").json() == {"status": "ready", "last_seq": 0}
        log.close()
        assert_problem(client.get("/health/ready"), 503, "LOG_UNAVAILABLE")
        assert client.get("/health/live").status_code == 200


class BrokenLog(SqliteLog):
    """A fault nobody foresaw."""

    def append_future(self, events: Any, room_seconds: float = 0.0, **options: Any) -> Any:
        raise ZeroDivisionError("secret detail")


def test_an_unforeseen_fault_tells_the_caller_only_where_to_ask(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    log = BrokenLog(settings.log_path)
    with running(settings, log) as url, httpx.Client(base_url=url) as client:
        answer = Edge(url, log, client).post(event("x"))
        assert_problem(answer, 500, "INTERNAL")
        assert "secret detail" not in answer.text
    log.close()
