"""The gateway over real HTTP: who may call, what they see, how much they may send, and what one can watch."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from authlib.integrations.httpx_client import OAuth2Client

from ingestion.edge.app import create_app
from ingestion.edge.clients import ClientRegistry
from ingestion.edge.decisions import Decisions
from ingestion.errors.catalog import HandoffError
from ingestion.log.sqlite import SqliteLog
from ingestion.replay import retake
from ingestion.settings import Settings
from tests.serving import served

NOW = datetime.now(UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Gateway:
    """A running edge with its log, its registry, and a clock that can be moved."""

    def __init__(self, settings: Settings, decisions: Decisions | None = None) -> None:
        self.settings = settings
        self.registry = ClientRegistry(settings.edge_dir)
        self.now = NOW
        self._open = ExitStack()
        self.log = self._open.enter_context(closing(SqliteLog(settings.log_path)))
        app = create_app(
            settings, self.log, clock=lambda: self.now, decisions=decisions, retake=retake
        )
        self.url = self._open.enter_context(served(app))

    def close(self) -> None:
        self._open.close()

    def client(self, *scopes: str, name: str = "shop", **limits: str) -> httpx.Client:
        """A client with these scopes that has a token."""
        secret = self.registry.add(name, scopes, self.now, limits)
        token = self.token(name, secret).json()["access_token"]
        return httpx.Client(
            base_url=self.url, timeout=20, headers={"authorization": f"Bearer {token}"}
        )

    def token(self, name: str, secret: str, **form: str) -> httpx.Response:
        data = {"grant_type": "client_credentials"} | form
        return httpx.post(f"{self.url}/oauth/token", data=data, auth=(name, secret), timeout=20)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def gateway(home: Path, decisions: Decisions | None = None, **fields: Any) -> Iterator[Gateway]:
    with closing(Gateway(Settings(home=home, **fields), decisions)) as running:
        yield running


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path) as running:
        yield running


def event(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": name,
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": f"contact/web/{name}",
        "time": "2026-04-01T08:30:00Z",
        "data": {"record_id": name, "system": "web", "email": "Ada.Lovelace@example.com"},
    } | changes


def consent(name: str) -> dict[str, Any]:
    data = {
        "system": "web", "contact_id": "c1", "channel": "email", "lawful_basis": "consent", "status": "granted",
    }  # fmt: skip
    return event(name, type="com.handoff.consent", subject=f"consent/web/{name}", data=data)


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    assert document["code"] == code, document
    assert document["correlation_id"] == answer.headers["traceparent"].split("-")[1]
    return document


# -- tokens ------------------------------------------------------------------------------------


def test_a_client_of_the_librarys_own_gets_a_token_and_sends(edge: Gateway) -> None:
    secret = edge.registry.add("shop", ["events:write", "events:read"], NOW)
    found = httpx.get(f"{edge.url}/.well-known/oauth-authorization-server").json()
    with OAuth2Client("shop", secret, scope="events:write") as client:
        token = client.fetch_token(found["token_endpoint"], grant_type="client_credentials")
        assert token["token_type"] == "Bearer"
        assert token["scope"] == "events:write"
        answer = client.post(f"{edge.url}/v1/events", json=event("a"))
    assert answer.status_code == 202


def test_secrets_in_the_form_are_taken_as_well(edge: Gateway) -> None:
    secret = edge.registry.add("shop", ["events:write"], NOW)
    form = {"grant_type": "client_credentials", "client_id": "shop", "client_secret": secret}
    answer = httpx.post(f"{edge.url}/oauth/token", data=form)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("auth", "form", "error"),
    [
        (("shop", "wrong"), {"grant_type": "client_credentials"}, "invalid_client"),
        (("nobody", "wrong"), {"grant_type": "client_credentials"}, "invalid_client"),
        (None, {"grant_type": "client_credentials"}, "invalid_client"),
        ("right", {"grant_type": "password"}, "unsupported_grant_type"),
        ("right", {}, "invalid_request"),
        ("right", {"grant_type": "client_credentials", "scope": "admin:*"}, "invalid_scope"),
    ],
)
def test_what_is_no_good_request_for_a_token_is_answered_as_oauth_says(
    edge: Gateway, auth: Any, form: dict[str, str], error: str
) -> None:
    secret = edge.registry.add("shop", ["events:write"], NOW)
    answer = httpx.post(
        f"{edge.url}/oauth/token", data=form, auth=("shop", secret) if auth == "right" else auth
    )
    assert 400 <= answer.status_code < 500
    assert answer.json().get("error") == error, answer.text


def test_a_token_ends_and_so_does_a_clients_right(edge: Gateway) -> None:
    with edge.client("events:write") as client:
        assert client.post("/v1/events", json=event("a")).status_code == 202
        edge.now += timedelta(hours=2)
        ended = assert_problem(client.post("/v1/events", json=event("b")), 401, "UNAUTHENTICATED")
        assert "ended at" in ended["detail"]
        edge.now = NOW
        assert client.post("/v1/events", json=event("c")).status_code == 202
        edge.registry.set_enabled("shop", False)
        assert_problem(client.post("/v1/events", json=event("d")), 401, "UNAUTHENTICATED")
        edge.registry.set_enabled("shop", True)
        assert client.post("/v1/events", json=event("e")).status_code == 202


def test_a_rotated_secret_counts_until_the_overlap_is_over(edge: Gateway) -> None:
    old = edge.registry.add("shop", ["events:write"], NOW)
    new = edge.registry.rotate("shop", NOW, timedelta(days=7))
    assert edge.token("shop", old).status_code == edge.token("shop", new).status_code == 200
    edge.now += timedelta(days=7, seconds=1)
    assert edge.token("shop", old).status_code == 401
    assert edge.token("shop", new).status_code == 200


def test_tokens_signed_before_the_key_was_changed_go_on_counting(edge: Gateway) -> None:
    with edge.client("events:write") as client:
        edge.registry.rotate_keys()
        assert client.post("/v1/events", json=event("a")).status_code == 202
        # Two keys are kept: the one after next no longer knows it.
        edge.registry.rotate_keys()
        assert_problem(client.post("/v1/events", json=event("b")), 401, "UNAUTHENTICATED")


def test_a_token_changed_by_one_character_is_refused(edge: Gateway) -> None:
    with edge.client("events:write") as client:
        token = client.headers["authorization"].removeprefix("Bearer ")
        # The last characters of base64 carry bits that are not part of the signature.
        for position in range(0, len(token) - 2, 7):
            other = "A" if token[position] != "A" else "B"
            forged = token[:position] + other + token[position + 1 :]
            if forged.count(".") != 2:
                continue
            answer = client.post(
                "/v1/events", json=event("f"), headers={"authorization": f"Bearer {forged}"}
            )
            assert answer.status_code == 401, position
    assert not edge.log.contains("urn:test", "f")


def test_a_token_without_a_signature_is_refused(edge: Gateway) -> None:
    import base64

    with edge.client("events:write") as client:
        token = client.headers["authorization"].removeprefix("Bearer ")
        head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
        unsigned = f"{head}.{token.split('.')[1]}."
        answer = client.post(
            "/v1/events", json=event("g"), headers={"authorization": f"Bearer {unsigned}"}
        )
        assert_problem(answer, 401, "UNAUTHENTICATED")


def test_secrets_are_not_kept_in_clear_and_only_the_owner_may_read_the_files(edge: Gateway) -> None:
    secret = edge.registry.add("shop", ["events:write"], NOW)
    for path in (
        edge.settings.edge_dir / "clients.json",
        edge.settings.edge_dir / "signing_keys.json",
    ):
        assert secret not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0


# -- scopes ------------------------------------------------------------------------------------


def test_without_its_scope_nothing_is_done(edge: Gateway) -> None:
    with edge.client("metrics:read") as client:
        told = assert_problem(client.post("/v1/events", json=event("a")), 403, "SCOPE_DENIED")
        assert "events:write" in told["detail"]
        assert "events:write" in told["remedy"]
        for path in (
            "/v1/events/a/status?source=urn:test",
            "/v1/contacts?email=a@example.com",
            "/v1/quarantine",
        ):
            assert_problem(client.get(path), 403, "SCOPE_DENIED")
    assert edge.log.last_seq() == 0


def test_declaring_consent_takes_a_scope_of_its_own(edge: Gateway) -> None:
    with edge.client("events:write") as client:
        results = client.post("/v1/events", json=[event("a"), consent("b")]).json()["results"]
        assert [result["status"] for result in results] == ["accepted", "rejected"]
        assert results[1]["code"] == "SCOPE_DENIED"
    with edge.client("events:write", "consent:write", name="forms") as client:
        assert client.post("/v1/events", json=consent("c")).status_code == 202


def test_a_star_stands_for_every_verb_of_its_resource(edge: Gateway) -> None:
    with edge.client("events:*") as client:
        assert client.post("/v1/events", json=event("a")).status_code == 202
        assert client.get("/v1/events/a/status?source=urn:test").status_code == 200
        assert_problem(client.get("/v1/quarantine"), 403, "SCOPE_DENIED")


def test_once_there_are_clients_this_machine_needs_a_token_too(edge: Gateway) -> None:
    assert httpx.post(f"{edge.url}/v1/events", json=event("a")).status_code == 202
    edge.registry.add("shop", ["events:write"], NOW)
    assert_problem(httpx.post(f"{edge.url}/v1/events", json=event("b")), 401, "UNAUTHENTICATED")


def test_a_fixed_key_sends_and_reads_nothing_personal(tmp_path: Path) -> None:
    with (
        gateway(tmp_path, api_keys="k1,k2") as edge,
        httpx.Client(base_url=edge.url, headers={"authorization": "Bearer k2"}) as client,
    ):
        assert client.post("/v1/events", json=consent("a")).status_code == 202
        assert_problem(client.get("/v1/contacts?email=a@example.com"), 403, "SCOPE_DENIED")
        assert_problem(client.get("/v1/quarantine"), 403, "SCOPE_DENIED")


@pytest.mark.parametrize("scopes", [["events:fly"], ["nonsense"], []])
def test_a_client_is_not_given_scopes_there_are_not(edge: Gateway, scopes: list[str]) -> None:
    with pytest.raises(HandoffError) as refused:
        edge.registry.add("shop", scopes, NOW)
    assert refused.value.code == "CLIENT_INVALID"


# -- masking -----------------------------------------------------------------------------------


def test_without_pii_read_no_personal_value_is_seen_anywhere(edge: Gateway) -> None:
    with edge.client("events:write", "quarantine:read") as client:
        wrong = event("a")
        wrong["data"]["phone"] = "+49 30 1234567"
        wrong["data"]["shoe_size"] = "of Ada.Lovelace@example.com"
        wrong["data"]["first_name"] = "Ada"
        refused = client.post("/v1/events", json=wrong).json()
        page = client.get("/v1/quarantine")
        one = client.get(f"/v1/quarantine/{refused['quarantine_id']}")
        assert page.json()["entries"][0]["code"] == "FIELD_MISMATCH"
        for text in (page.text, one.text):
            for personal in ("Lovelace", "1234567", '"Ada"'):
                assert personal not in text
        payload = one.json()["payload"]
        assert payload["id"] == "a"
        assert payload["data"]["email"] == "***@example.com"
    # The control: with the scope they are there, so it was the mask that hid them.
    with edge.client("quarantine:read", "pii:read", name="care") as client:
        shown = client.get(f"/v1/quarantine/{refused['quarantine_id']}").text
        assert "Ada.Lovelace@example.com" in shown
        assert "1234567" in shown


def test_what_was_refused_is_let_in_once_after_a_fix(edge: Gateway, contract_world: Any) -> None:
    data = {
        "activity_id": "1",
        "system": "web",
        "activity_type": "chat",
        "email": "ada@example.com",
    }
    chat = event("chat", type="com.handoff.activity", subject="activity/web/1", data=data)
    with edge.client("events:write", "quarantine:read", "quarantine:replay") as client:
        refused = assert_problem(client.post("/v1/events", json=chat), 422, "ENUM_UNKNOWN")
        path = f"/v1/quarantine/{refused['quarantine_id']}"
        assert client.get(path).json()["status"] == "open"
        still = client.post(f"{path}/replay")
        assert (still.status_code, still.json()["status"]) == (200, "refused")
        assert still.json()["replay"]["code"] == "ENUM_UNKNOWN"
        assert "ratelimit-remaining" in still.headers
        contract_world.set_enum("activity_type", chat="CHAT")
        let_in = [client.post(f"{path}/replay").json() for _ in range(2)]
        assert [answer["replay"]["outcome"] for answer in let_in] == ["accepted", "accepted"]
        assert let_in[0]["replay"] == let_in[1]["replay"]
        assert client.get("/v1/quarantine").json()["entries"][0]["status"] == "replayed"
        assert_problem(client.post("/v1/quarantine/99/replay"), 404, "NOT_FOUND")
    assert [entry.event["id"] for entry in edge.log.read()] == ["chat"]
    assert edge.log.last_outcome_id() == 2


def test_a_replay_lends_nobody_a_scope(edge: Gateway) -> None:
    with edge.client("events:write", "quarantine:replay") as client:
        refused = assert_problem(client.post("/v1/events", json=consent("c")), 403, "SCOPE_DENIED")
        path = f"/v1/quarantine/{refused['quarantine_id']}/replay"
        assert "consent:write" in assert_problem(client.post(path), 403, "SCOPE_DENIED")["detail"]
    with edge.client("quarantine:read", name="reader") as client:
        assert_problem(client.post(path), 403, "SCOPE_DENIED")
    assert edge.log.last_seq() == 0
    with edge.client("quarantine:replay", "consent:write", name="privacy") as client:
        assert client.post(path).json()["replay"]["outcome"] == "accepted"
    assert edge.log.last_seq() == 1


def test_a_page_of_the_quarantine_names_the_next(edge: Gateway) -> None:
    with edge.client("events:write", "quarantine:read") as client:
        client.post("/v1/events", json=[event(f"w{n}", type="com.nobody.knows") for n in range(5)])
        first = client.get("/v1/quarantine?limit=3").json()
        second = client.get(f"/v1/quarantine?limit=3&after={first['next_after']}").json()
        ids = [entry["quarantine_id"] for entry in first["entries"] + second["entries"]]
        assert ids == [1, 2, 3, 4, 5]
        assert "next_after" not in second
        assert_problem(client.get("/v1/quarantine?after=x"), 400, "BAD_REQUEST")
        assert_problem(client.get("/v1/quarantine/99"), 404, "NOT_FOUND")


# -- limits ------------------------------------------------------------------------------------


def test_a_caller_hears_what_is_left_and_is_stopped_beyond_it(tmp_path: Path) -> None:
    with gateway(tmp_path, rate_limits="events=5/minute") as edge:
        with edge.client("events:write") as client:
            first = client.post("/v1/events", json=[event("a"), event("b"), event("c")])
            assert first.headers["ratelimit-limit"] == "5"
            assert first.headers["ratelimit-remaining"] == "2"
            assert 1 <= int(first.headers["ratelimit-reset"]) <= 60
            assert first.headers["ratelimit-policy"] == '"events";q=5;w=60'
            over = client.post("/v1/events", json=[event("d"), event("e"), event("f")])
            assert_problem(over, 429, "RATE_LIMITED")
            assert 1 <= int(over.headers["retry-after"]) <= 60
            assert over.headers["ratelimit-remaining"] == "2"
            assert client.post("/v1/events", json=event("g")).status_code == 202
        # Another caller has a count of its own, and one of its own size.
        with edge.client("events:write", name="crm", events="100/minute") as client:
            answer = client.post("/v1/events", json=event("h"))
            assert answer.headers["ratelimit-limit"] == "100"
        with edge.client("events:write", name="bulk") as client:
            large = client.post("/v1/events", json=[event(f"l{n}") for n in range(6)])
            assert_problem(large, 413, "PAYLOAD_TOO_LARGE")
    assert not SqliteLog(edge.settings.log_path).contains("urn:test", "d")


def test_guessing_secrets_is_slowed_down(tmp_path: Path) -> None:
    with gateway(tmp_path, rate_limits="token=3/minute") as edge:
        secret = edge.registry.add("shop", ["events:write"], NOW)
        assert [edge.token("shop", f"guess-{n}").status_code for n in range(3)] == [401, 401, 401]
        assert_problem(edge.token("shop", secret), 429, "RATE_LIMITED")


@pytest.mark.parametrize("text", ["events", "nothing=1/minute", "events=many/minute"])
def test_a_limit_that_is_none_is_named_at_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(HandoffError) as refused, gateway(tmp_path, rate_limits=text):
        pass
    assert refused.value.code == "SETTING_INVALID"
    assert text in refused.value.message


def test_more_than_memory_holds_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with gateway(tmp_path, edge_max_requests=4) as edge:
        # Senders that have announced a body and do not send it hold all the places there are.
        held = []
        for _ in range(4):
            waiting = socket.create_connection(("127.0.0.1", int(edge.url.rpartition(":")[2])))
            waiting.sendall(
                b"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
                b"content-length: 500\r\n\r\n{"
            )
            held.append(waiting)
        deadline = time.monotonic() + 10
        while httpx.get(f"{edge.url}/metrics").text.count("under_way 4.0") == 0:
            assert time.monotonic() < deadline
        refused = httpx.post(f"{edge.url}/v1/events", json=event("a"))
        assert_problem(refused, 503, "OVERLOADED")
        assert refused.headers["retry-after"]
        assert httpx.get(f"{edge.url}/health/live").status_code == 200
        for waiting in held:
            waiting.close()
        deadline = time.monotonic() + 10
        while httpx.post(f"{edge.url}/v1/events", json=event("a")).status_code != 202:
            assert time.monotonic() < deadline


# -- what became of it -------------------------------------------------------------------------


class Told:
    """Stands in for the warehouse: the real one is asked in test_edge_decisions.py."""

    def __init__(self) -> None:
        self.reached: Any = "accepted"
        self.written: list[dict[str, Any]] = []

    def progress(self, seq: int, lane: str) -> Any:
        return self.reached

    async def pushes(self, event: dict[str, Any], received_at: datetime) -> list[dict[str, Any]]:
        return self.written

    async def person(self, who: str) -> dict[str, Any]:
        return {"person": {"email": who, "phone": "+49 30 1234567", "country": "DE"}, "score": 7.0}


def test_an_events_status_says_how_far_it_has_come(tmp_path: Path) -> None:
    told = Told()
    with gateway(tmp_path, told) as edge, httpx.Client(base_url=edge.url) as client:
        sent = client.post("/v1/events", json=event("a/1?"))
        where = sent.headers["location"]
        for stage in ("accepted", "landed", "decided"):
            told.reached = stage
            found = client.get(where).json()
            assert (found["status"], found["id"], found["seq"]) == (stage, "a/1?", 1)
        told.written = [{"status": "failed"}]
        assert client.get(where).json()["status"] == "decided"
        told.written.append({"status": "confirmed"})
        assert client.get(where).json()["status"] == "pushed"
        client.post("/v1/events", json=event("b", data={"system": "web"}))
        found = client.get("/v1/events/b/status?source=urn:test").json()
        assert found["status"] == "quarantined"
        assert found["rejections"][0]["code"] == "SCHEMA_INVALID"
        client.post("/v1/events", json=event("a/1?", time="2026-04-02T08:30:00Z"))
        found = client.get(where).json()
        assert found["status"] == "pushed"
        assert found["rejections"][0]["code"] == "IDEMPOTENCY_CONFLICT"
        assert_problem(client.get("/v1/events/c/status?source=urn:test"), 404, "NOT_FOUND")
        assert_problem(client.get("/v1/events/a/status"), 400, "BAD_REQUEST")


def test_a_person_is_shown_as_far_as_the_caller_may_see(tmp_path: Path) -> None:
    with gateway(tmp_path, Told()) as edge:
        with edge.client("contacts:read") as client:
            shown = client.get("/v1/contacts?email=ada@example.com").json()
            assert shown["is_masked"]
            assert shown["person"] == {
                "email": "***@example.com",
                "phone": "***67",
                "country": "DE",
            }
            assert shown["score"] == 7.0
            assert_problem(client.get("/v1/contacts"), 400, "BAD_REQUEST")
        with edge.client("contacts:read", "pii:read", name="care") as client:
            shown = client.get("/v1/contacts?email=ada@example.com").json()
            assert shown["person"]["email"] == "ada@example.com"
            assert not shown["is_masked"]


# -- watching ----------------------------------------------------------------------------------


def test_metrics_count_what_was_taken_and_refused(edge: Gateway) -> None:
    with httpx.Client(base_url=edge.url) as client:
        client.post("/v1/events", json=[event("a"), event("b", type="com.no.such")])
        client.post("/v1/events", json=event("a"))
        client.get("/nowhere/at/all")
        text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    kind = 'type="com.handoff.contact"'
    assert lines[f'handoff_events_total{{door="events",status="accepted",{kind}}}'] == "1.0"
    assert lines[f'handoff_events_total{{door="events",status="duplicate",{kind}}}'] == "1.0"
    assert lines['handoff_events_total{door="events",status="rejected",type="unknown"}'] == "1.0"
    assert lines['handoff_rejections_total{code="SCHEMA_UNKNOWN",door="events"}'] == "1.0"
    assert lines["handoff_log_last_seq"] == "1.0"
    assert lines["handoff_log_waiting_events"] == "0.0"
    assert lines[f"handoff_event_lag_seconds_count{{{kind}}}"] == "1.0"
    assert (
        lines['handoff_request_seconds_count{method="POST",route="/v1/events",status="202"}']
        == "1.0"
    )
    assert 'route="other",status="404"' in text


def test_metrics_are_not_for_strangers(edge: Gateway) -> None:
    proxied = {"x-forwarded-for": "203.0.113.9"}
    assert_problem(httpx.get(f"{edge.url}/metrics", headers=proxied), 401, "UNAUTHENTICATED")
    with edge.client("metrics:read") as client:
        assert client.get("/metrics", headers=proxied).status_code == 200


def test_spans_reach_a_collector_with_the_senders_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from ingestion import tracing

    received: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    try:
        with gateway(tmp_path) as edge:
            headers = {"traceparent": TRACE}
            assert httpx.post(f"{edge.url}/v1/events", json=event("a"), headers=headers).is_success
        tracing.shut_down()
    finally:
        server.shutdown()
    spans = [
        span
        for path, request in received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if path == "/v1/traces"
    ]
    assert [span.name for span in spans] == ["POST /v1/events"]
    assert spans[0].trace_id.hex() == TRACE.split("-")[1]
    assert spans[0].parent_span_id.hex() == TRACE.split("-")[2]
    attributes = {pair.key: pair.value for pair in spans[0].attributes}
    assert attributes["http.response.status_code"].int_value == 202


# -- TLS ---------------------------------------------------------------------------------------


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return chain, secret


def peer_name(port: int, context: ssl.SSLContext) -> str:
    from cryptography import x509

    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    name = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    return name.removeprefix("CN=")


def trusting_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_the_edge_speaks_tls_of_a_certificate_that_is_renewed_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.edge import certificate, server

    monkeypatch.setattr(certificate.Certificate.__init__, "__defaults__", (0.1,))
    chain, key = make_certificate(tmp_path, "first")
    settings = Settings(home=tmp_path / "home", edge_tls_certificate=chain, edge_tls_key=key)
    urls: list[str] = []
    running: list[uvicorn.Server] = []
    original = uvicorn.Server

    def remember(config: uvicorn.Config) -> uvicorn.Server:
        running.append(original(config))
        return running[-1]

    monkeypatch.setattr(uvicorn, "Server", remember)
    # Not loopback alone: with a certificate that is allowed.
    thread = threading.Thread(
        target=server.serve, args=(settings, "0.0.0.0", 0), kwargs={"announce": urls.append}
    )
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not (running and running[0].started):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        port = int(urls[0].rpartition(":")[2])
        assert urls[0].startswith("https://")
        assert peer_name(port, trusting_anybody()) == "first"
        old = trusting_anybody()
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            peer_name(port, old)
        verified = ssl.create_default_context(cafile=str(chain))
        answer = httpx.get(f"https://localhost:{port}/health/ready", verify=verified)
        assert answer.status_code == 200
        make_certificate(tmp_path, "second")
        deadline = time.monotonic() + 20
        while peer_name(port, trusting_anybody()) != "second":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        running[0].should_exit = True
        thread.join(20)


def test_plain_http_is_for_this_machine_or_a_proxy(tmp_path: Path) -> None:
    from ingestion.edge.server import serve

    with pytest.raises(HandoffError) as refused:
        serve(Settings(home=tmp_path), "0.0.0.0", 0)
    assert refused.value.code == "TLS_REQUIRED"
    chain, _ = make_certificate(tmp_path, "alone")
    with pytest.raises(HandoffError) as refused:
        serve(Settings(home=tmp_path, edge_tls_certificate=chain), "127.0.0.1", 0)
    assert "HANDOFF_EDGE_TLS_KEY" in refused.value.message
    (tmp_path / "key.pem").write_text("no key")
    broken = Settings(home=tmp_path, edge_tls_certificate=chain, edge_tls_key=tmp_path / "key.pem")
    with pytest.raises(HandoffError) as refused:
        serve(broken, "127.0.0.1", 0)
    assert refused.value.code == "SETTING_INVALID"


# -- Redis -------------------------------------------------------------------------------------


@contextmanager
def redis_server(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real Redis; `make test` installs it where it may."""
    program = shutil.which("redis-server")
    if program is None:
        assert "CI" not in os.environ, "redis-server is missing: `make services` installs it"
        pytest.skip("redis-server is not installed")
    command = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(home),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait(20)


def test_edges_that_share_a_redis_share_the_limit_and_go_on_alone_without_it(
    tmp_path: Path,
) -> None:
    port = free_port()
    fields = {"rate_limits": "events=3/hour", "rate_limit_storage": f"redis://127.0.0.1:{port}/0"}
    with (
        redis_server(tmp_path, port) as redis,
        gateway(tmp_path / "one", **fields) as one,
        gateway(tmp_path / "two", **fields) as two,
        one.client("events:write") as first,
        two.client("events:write") as second,
    ):
        left = [
            client.post("/v1/events", json=event(str(number))).headers["ratelimit-remaining"]
            for number, client in enumerate((first, second, first))
        ]
        assert left == ["2", "1", "0"]
        assert_problem(second.post("/v1/events", json=event("over")), 429, "RATE_LIMITED")
        redis.kill()
        redis.wait(20)
        # Each counts anew for itself: better than keeping events out.
        for client in (first, second):
            assert client.post("/v1/events", json=event("alone")).status_code == 202


def test_a_counter_that_is_down_keeps_no_events_out(tmp_path: Path) -> None:
    fields = {
        "rate_limits": "events=2/minute",
        "rate_limit_storage": f"redis://127.0.0.1:{free_port()}/0",
    }
    with gateway(tmp_path, **fields) as edge, edge.client("events:write") as client:
        assert client.post("/v1/events", json=event("a")).status_code == 202
        assert client.post("/v1/events", json=event("b")).status_code == 202
        assert_problem(client.post("/v1/events", json=event("c")), 429, "RATE_LIMITED")


def test_ten_callers_at_once_share_no_answer(edge: Gateway) -> None:
    def send(number: int) -> tuple[str, int]:
        with edge.client("events:write", name=f"client-{number}") as client:
            answer = client.post("/v1/events", json=event(f"e{number}"))
            return answer.json()["id"], answer.status_code

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(send, range(10)))
    assert answers == [(f"e{number}", 202) for number in range(10)]


def test_the_log_lines_of_a_request_name_caller_and_trace(tmp_path: Path) -> None:
    code = (
        "import sys, threading, time, httpx\n"
        "from pathlib import Path\n"
        "from ingestion.edge import server\n"
        "from ingestion.settings import Settings\n"
        "def ask(url):\n"
        f"    threading.Thread(target=lambda: (time.sleep(0.5), httpx.post(url + '/v1/events', json={event('a')!r}, headers={{'traceparent': '{TRACE}'}}), __import__('_thread').interrupt_main())).start()\n"
        "server.serve(Settings(home=Path(sys.argv[1])), '127.0.0.1', 0, announce=ask)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]
    (request,) = [line for line in lines if line["event"] == "request"]
    assert request["correlation_id"] == TRACE.split("-")[1]
    assert request["caller"] == "loopback"
