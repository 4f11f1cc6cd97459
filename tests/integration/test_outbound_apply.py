"""Applying plans to the sandbox's Salesforce, through a gateway that can refuse and lie."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.connectors.salesforce.destination import SalesforceDestination
from ingestion.contracts.registry import validate_event
from ingestion.log.interface import EventLog
from ingestion.log.owner import open_log
from ingestion.outbound.apply import ApplyInterrupted, ApplyReport, apply_plan
from ingestion.outbound.destination import RowOutcome
from ingestion.outbound.plan import Operation, Plan, build_plan
from ingestion.outbound.retry import RetryPolicy
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.world import build_world
from ingestion.settings import Settings
from tests.serving import served

TOKENS = Tokens()
START = datetime(2026, 4, 14, 8, tzinfo=UTC)
SLA = "2026-04-14T12:00:00+02:00"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PATHS = {
    "Lead": "composite/sobjects/Lead/Handoff_Person_Id__c",
    "Task": "composite/sobjects/Task/Handoff_Task_Key__c",
}


class Gateway:
    """An HTTP hop before the sandbox that logs requests and lets `lies` judge them, in order.

    A lie gets (method, path, body) and returns None to pass on, "drop" to pass on and hang up
    without the answer, or (status, document) to answer itself.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.lies: list[Callable[[str, str, bytes], Any]] = []
        self.requests: list[tuple[str, str, bytes]] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                gateway._answer(self, self.rfile.read(length))

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.http = httpx.Client(base_url=target, trust_env=False, timeout=20)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.http.close()

    def writes(self) -> list[tuple[str, str, bytes]]:
        return [request for request in self.requests if request[0] == "PATCH"]

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        method, path = handler.command, handler.path
        self.requests.append((method, path, body))
        verdict: Any = None
        for lie in list(self.lies):
            verdict = lie(method, path, body)
            if verdict is not None:
                break
        if isinstance(verdict, tuple):
            self._send(handler, verdict[0], json.dumps(verdict[1]).encode(), {})
            return
        passed = ("Authorization", "Content-Type")
        headers = {name: handler.headers[name] for name in passed if name in handler.headers}
        answer = self.http.request(method, path, content=body, headers=headers)
        if verdict == "drop":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        kept = {
            name: answer.headers[name]
            for name in ("Retry-After", "Sforce-Limit-Info")
            if name in answer.headers
        }
        self._send(handler, answer.status_code, answer.content, kept)

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@dataclass
class Bench:
    """One org, one log, one gateway between them."""

    sandbox: str
    gateway: Gateway
    settings: Settings
    log: EventLog
    owner: str
    now: datetime = START
    slept: list[float] = field(default_factory=list)
    consent: Callable[[str], bool] = lambda person_id: True

    @property
    def http(self) -> httpx.Client:
        return self.gateway.http

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def destination(self, kind: type[SalesforceDestination] = SalesforceDestination) -> Any:
        return kind(
            url=f"{self.gateway.url}/salesforce",
            client_id=TOKENS.salesforce_client_id,
            client_secret=TOKENS.salesforce_client_secret,
            api_version="62.0",
            answer_seconds=20,
        )

    def plan(self, rows: Sequence[dict[str, Any]]) -> Plan:
        return build_plan(
            "salesforce", rows, as_of=START, observed_marker="load-1", planned_at=self.clock()
        )

    def apply(
        self,
        rows: Sequence[dict[str, Any]],
        destination: Any = None,
        tries: int = 4,
        **options: Any,
    ) -> ApplyReport:
        return apply_plan(
            self.plan(rows),
            destination or self.destination(),
            self.log,
            clock=self.clock,
            consent_allows=self.consent,
            plans_dir=self.settings.plans_dir,
            retry=RetryPolicy(tries=tries, first_wait_seconds=0.01),
            sleep=self.slept.append,
            **options,
        )

    def soql(self, query: str) -> list[dict[str, Any]]:
        answer = self.http.get(
            f"{self.sandbox}/salesforce/services/data/v62.0/query",
            params={"q": query},
            headers={"Authorization": f"Bearer {TOKENS.salesforce_rep_token}"},
        )
        answer.raise_for_status()
        records: list[dict[str, Any]] = answer.json()["records"]
        return records

    def leads(self) -> list[dict[str, Any]]:
        fields = "Id, LastName, Title, Email, Phone, OwnerId, Handoff_Person_Id__c"
        return self.soql(f"SELECT {fields} FROM Lead WHERE Handoff_Person_Id__c LIKE 'test-%'")

    def tasks(self) -> list[dict[str, Any]]:
        fields = "Id, WhoId, OwnerId, Subject, ReminderDateTime, Handoff_Task_Key__c"
        return self.soql(f"SELECT {fields} FROM Task WHERE Handoff_Task_Key__c LIKE 'test-%'")

    def edit_by_hand(self, sobject: str, record_id: str, **values: Any) -> None:
        self.http.patch(
            f"{self.sandbox}/salesforce/services/data/v62.0/sobjects/{sobject}/{record_id}",
            json=values,
            headers={"Authorization": f"Bearer {TOKENS.salesforce_rep_token}"},
        ).raise_for_status()

    def fault(self, **fault: Any) -> None:
        self.http.post(f"{self.sandbox}/sandbox/faults", json=fault).raise_for_status()

    def receipts(self) -> list[dict[str, Any]]:
        return [entry.event for entry in self.log.read(0, 10_000)]

    def finals(self) -> dict[str, list[str]]:
        """Final statuses by external id, in the order of the log."""
        found: dict[str, list[str]] = {}
        for event in self.receipts():
            if event["data"]["status"] != "sent":
                found.setdefault(event["data"]["external_id"], []).append(event["data"]["status"])
        return found


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    world = build_world(7, START, people=20)
    app = create_app(7, START, world=world, tokens=TOKENS)
    with served(app) as url:
        yield url


@pytest.fixture
def bench(sandbox: str, tmp_path: Path) -> Iterator[Bench]:
    gateway = Gateway(sandbox)
    gateway.http.post("/sandbox/reset").raise_for_status()
    settings = Settings(home=tmp_path)
    log = open_log(settings)
    found = Bench(sandbox, gateway, settings, log, owner="")
    users = found.soql("SELECT Id, LastName, IsActive FROM User")
    found.owner = next(u["Id"] for u in users if u["IsActive"] and u["LastName"] != "Integration")
    yield found
    log.close()
    gateway.close()


def lead(number: int | str, owner: str, **values: Any) -> dict[str, Any]:
    payload = {
        "LastName": f"Test {number}",
        "Company": "Acme",
        "Email": f"test{number}@example.com",
        "OwnerId": owner,
        "Handoff_Score__c": 72,
        "Handoff_Mql_At__c": "2026-04-14T07:59:00Z",
        **values,
    }
    return operation("Lead", f"test-{number}", payload, person_id=f"test-{number}")


def task(number: int | str, owner: str) -> dict[str, Any]:
    payload = {
        "Subject": "Call: demo request",
        "OwnerId": owner,
        "WhoId": None,
        "Status": "Not Started",
        "ActivityDate": "2026-04-14",
        "ReminderDateTime": SLA,
    }
    return operation(
        "Task",
        f"test-{number}-task",
        payload,
        person_id=f"test-{number}",
        depends_on_external_id=f"test-{number}",
    )


def operation(
    object_name: str, external_id: str, payload: dict[str, Any], **changed: Any
) -> dict[str, Any]:
    key = {"Lead": "Handoff_Person_Id__c", "Task": "Handoff_Task_Key__c"}[object_name]
    return {
        "object": object_name,
        "action": "upsert",
        "external_id_field": key,
        "external_id": external_id,
        "payload": json.dumps(payload),
        "changes": json.dumps({name: {"old": None, "new": new} for name, new in payload.items()}),
        "reasons": json.dumps(["assignment:a-1", "score:s-1"]),
        "trace_parent": PARENT,
        "is_consented": True,
        **changed,
    }


def pairs(count: int, owner: str) -> list[dict[str, Any]]:
    rows = [lead(number, owner) for number in range(count)]
    return [*(task(number, owner) for number in range(count)), *rows]


def once(lie: Callable[[str, str, bytes], Any]) -> Callable[[str, str, bytes], Any]:
    """The lie until it was told."""
    told: list[bool] = []

    def tell(method: str, path: str, body: bytes) -> Any:
        verdict = None if told else lie(method, path, body)
        if verdict is not None:
            told.append(True)
        return verdict

    return tell


# ---- the way things go well -------------------------------------------------------------------


def test_a_lead_gets_its_owner_and_a_task_with_its_sla_time(bench: Bench) -> None:
    report = bench.apply(pairs(3, bench.owner))
    assert report.counts() == {"confirmed": 6, "created": 6}
    assert report.is_clean
    assert report.usage is not None and report.usage.total == 100_000
    leads = {row["Handoff_Person_Id__c"]: row for row in bench.leads()}
    tasks = bench.tasks()
    assert len(leads) == len(tasks) == 3
    assert {row["OwnerId"] for row in leads.values()} == {bench.owner}
    for row in tasks:
        assert row["WhoId"] == leads[row["Handoff_Task_Key__c"].removesuffix("-task")]["Id"]
        assert row["OwnerId"] == bench.owner
        assert row["ReminderDateTime"] == "2026-04-14T10:00:00.000+0000"


def test_every_row_leaves_a_sent_and_one_final_receipt_that_meet_the_contract(
    bench: Bench,
) -> None:
    bench.apply(pairs(2, bench.owner))
    events = bench.receipts()
    assert [event["data"]["status"] for event in events] == (["sent"] * 2 + ["confirmed"] * 2) * 2
    assert len({event["id"] for event in events}) == len(events)
    for event in events:
        assert validate_event(event, ["salesforce"]) == []
        assert event["source"] == "handoff/outbound"
        assert event["traceparent"] == PARENT
        assert event["subject"] == f"receipt/salesforce/{event['data']['operation_id']}"
    final = events[-1]["data"]
    instants = [final[name] for name in ("planned_at", "sent_at", "answered_at", "confirmed_at")]
    assert instants == sorted(instants)
    assert final["reasons"] == ["assignment:a-1", "score:s-1"]
    assert final["written"]["WhoId"] in {row["Id"] for row in bench.leads()}
    assert final["record_id"] in {row["Id"] for row in bench.tasks()}


def test_a_second_push_of_the_same_rows_writes_nothing_and_adds_no_receipt(bench: Bench) -> None:
    rows = pairs(3, bench.owner)
    bench.apply(rows)
    before, written = len(bench.receipts()), len(bench.gateway.writes())
    report = bench.apply(rows)
    assert report.counts() == {"unchanged": 6, "created": 0}
    assert len(bench.gateway.writes()) == written
    assert len(bench.receipts()) == before
    assert len(bench.leads()) == len(bench.tasks()) == 3


def test_more_rows_than_one_request_carries_go_out_in_batches(bench: Bench) -> None:
    told: list[tuple[str, int, int]] = []
    report = bench.apply(
        [lead(number, bench.owner) for number in range(450)],
        progress=lambda *progress: told.append(progress),
    )
    assert report.counts() == {"confirmed": 450, "created": 450}
    sizes = [len(json.loads(body)["records"]) for _, _, body in bench.gateway.writes()]
    assert sizes == [200, 200, 50]
    assert told == [("Lead", 200, 450), ("Lead", 400, 450), ("Lead", 450, 450)]


def test_an_update_by_id_sends_the_payload_and_nothing_else(bench: Bench) -> None:
    bench.apply([lead(1, bench.owner, Title="CTO")])
    [found] = bench.leads()
    row = operation(
        "Lead",
        "test-1",
        {"Handoff_Score__c": 91},
        action="update",
        target_id=found["Id"],
        person_id="test-1",
        changes={"Handoff_Score__c": {"old": 72, "new": 91}},
    )
    assert bench.apply([row]).counts() == {"confirmed": 1, "created": 0}
    _, path, body = bench.gateway.writes()[-1]
    assert path.endswith("/composite/sobjects")
    assert json.loads(body)["records"] == [
        {"attributes": {"type": "Lead"}, "Handoff_Score__c": 91, "id": found["Id"]}
    ]
    [after] = bench.leads()
    assert after == found | {"attributes": after["attributes"]}


def test_an_upsert_never_carries_an_id_and_never_all_or_none(bench: Bench) -> None:
    bench.apply(pairs(2, bench.owner))
    for _, path, body in bench.gateway.writes():
        sent = json.loads(body)
        assert sent["allOrNone"] is False
        assert any(path.endswith(known) for known in PATHS.values())
        assert all("Id" not in record and "id" not in record for record in sent["records"])


def test_a_task_finds_a_lead_that_was_written_in_an_earlier_run(bench: Bench) -> None:
    bench.apply([lead(1, bench.owner)])
    assert bench.apply([task(1, bench.owner)]).counts() == {"confirmed": 1, "created": 1}
    [row] = bench.tasks()
    assert row["WhoId"] == bench.leads()[0]["Id"]


def test_a_task_takes_the_given_id_of_a_record_that_has_no_external_id(bench: Bench) -> None:
    [known] = bench.soql("SELECT Id FROM Lead WHERE IsConverted = false LIMIT 1")
    row = task(1, bench.owner) | {"target_id": known["Id"]}
    assert bench.apply([row]).counts() == {"confirmed": 1, "created": 1}
    assert bench.tasks()[0]["WhoId"] == known["Id"]


def test_a_dry_run_writes_nothing_there_and_nothing_here(bench: Bench) -> None:
    report = bench.apply(pairs(2, bench.owner), dry_run=True)
    assert report.counts() == {"planned": 4, "created": 4}
    assert bench.gateway.writes() == []
    assert bench.receipts() == []
    assert not bench.settings.plans_dir.exists()


# ---- faults -------------------------------------------------------------------------------------


def test_a_rate_limit_is_waited_for_as_long_as_asked(bench: Bench) -> None:
    path = "/salesforce/services/data"
    bench.fault(path_prefix=path, method="PATCH", status=429, times=2, retry_after=7)
    report = bench.apply([lead(1, bench.owner)])
    assert report.counts() == {"confirmed": 1, "created": 1}
    assert [int(seconds) for seconds in bench.slept] == [7, 7]


def test_a_longer_wait_than_a_run_may_take_ends_it_and_the_next_run_goes_on(bench: Bench) -> None:
    path = "/salesforce/services/data"
    bench.fault(path_prefix=path, method="PATCH", status=429, retry_after=3600)
    report = bench.apply(pairs(1, bench.owner))
    assert report.halted == "RATE_LIMITED"
    assert report.counts() == {"failed": 2, "created": 0}
    assert bench.slept == []
    assert bench.apply(pairs(1, bench.owner)).counts() == {"confirmed": 2, "created": 2}
    assert bench.finals() == {
        "test-0": ["failed", "confirmed"],
        "test-0-task": ["failed", "confirmed"],
    }
    attempts = [e["data"]["attempt"] for e in bench.receipts() if e["data"]["status"] == "sent"]
    assert attempts == [1, 2, 1]


@pytest.mark.parametrize("is_written", [False, True])
def test_a_server_error_is_looked_up_before_anything_is_sent_again(
    bench: Bench, is_written: bool
) -> None:
    path = "/salesforce/services/data"
    bench.fault(path_prefix=path, method="PATCH", status=503, after_commit=is_written)
    report = bench.apply([lead(1, bench.owner), lead(2, bench.owner)])
    assert report.counts() == {"confirmed": 2, "created": 2}
    assert len(bench.gateway.writes()) == (1 if is_written else 2)
    assert len(bench.leads()) == 2


def test_a_connection_that_breaks_after_the_write_is_not_sent_again(bench: Bench) -> None:
    bench.gateway.lies.append(once(lambda method, *_: "drop" if method == "PATCH" else None))
    report = bench.apply(pairs(2, bench.owner))
    assert report.counts() == {"confirmed": 4, "created": 4}
    assert len(bench.gateway.writes()) == 2
    assert set(map(tuple, bench.finals().values())) == {("confirmed",)}


def test_a_system_that_stays_away_leaves_open_what_is_unknown_and_fails_the_rest(
    bench: Bench,
) -> None:
    def away(method: str, path: str, body: bytes) -> Any:
        if method == "PATCH":
            bench.gateway.lies.append(lambda *_: (503, [{"errorCode": "X", "message": "away"}]))
            return "drop"
        return None

    bench.gateway.lies.append(once(away))
    report = bench.apply(pairs(1, bench.owner))
    assert report.halted == "UPSTREAM_UNAVAILABLE"
    assert report.counts() == {"failed": 1, "in_flight": 1, "created": 0}
    bench.gateway.lies.clear()
    assert bench.apply(pairs(1, bench.owner)).counts() == {"confirmed": 2, "created": 1}
    assert bench.finals()["test-0"] == ["confirmed"]
    assert len(bench.leads()) == len(bench.tasks()) == 1


def test_a_locked_row_is_retried_alone(bench: Bench) -> None:
    def locked(method: str, path: str, body: bytes) -> Any:
        if method != "PATCH":
            return None
        error = {"statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to lock", "fields": []}
        rows = json.loads(body)["records"]
        assert len(rows) == 2
        keep = json.dumps({"allOrNone": False, "records": rows[:1]}).encode()
        answer = bench.gateway.http.request(
            "PATCH",
            path,
            content=keep,
            headers={"Authorization": f"Bearer {TOKENS.salesforce_token}"},
        ).json()
        return 200, [*answer, {"success": False, "errors": [error]}]

    bench.gateway.lies.append(once(locked))
    report = bench.apply([lead(1, bench.owner), lead(2, bench.owner)])
    assert report.counts() == {"confirmed": 2, "created": 2}
    sizes = [len(json.loads(body)["records"]) for _, _, body in bench.gateway.writes()]
    assert sizes == [2, 1]
    assert len(bench.slept) == 1


def test_a_row_that_stays_locked_fails_alone(bench: Bench) -> None:
    error = {"statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to lock", "fields": []}

    def locked(method: str, path: str, body: bytes) -> Any:
        if method == "PATCH" and b"test-1" in body and len(json.loads(body)["records"]) == 1:
            return 200, [{"success": False, "errors": [error]}]
        return None

    bench.gateway.lies.append(locked)
    report = bench.apply([lead(1, bench.owner)])
    assert report.rows[0].code == "UPSTREAM_LOCKED"
    assert report.halted is None
    assert bench.finals() == {"test-1": ["failed"]}


def test_a_refused_row_fails_with_its_code_and_the_others_are_written(bench: Bench) -> None:
    rows = pairs(3, bench.owner)
    rows[4] = lead(1, bench.owner, Email="not an address")
    report = bench.apply(rows)
    found = {row.external_id: (row.status, row.code) for row in report.rows}
    assert found.pop("test-1") == ("failed", "FIELD_MISMATCH")
    assert found.pop("test-1-task") == ("failed", "DEPENDENCY_FAILED")
    assert set(found.values()) == {("confirmed", None)}
    failed = next(e for e in bench.receipts() if e["data"]["status"] == "failed")
    assert failed["data"]["code"] == "FIELD_MISMATCH"
    assert failed["data"]["message"].startswith("INVALID_EMAIL_ADDRESS")
    assert all(len(statuses) == 1 for statuses in bench.finals().values())


def test_a_field_the_org_does_not_have_fails_its_row_and_not_the_batch(bench: Bench) -> None:
    report = bench.apply([lead(1, bench.owner), lead(2, bench.owner, Nonsense__c="x")])
    assert [(row.status, row.code) for row in report.rows] == [
        ("confirmed", None),
        ("failed", "FIELD_MISMATCH"),
    ]


def test_a_batch_refused_as_a_whole_is_divided_until_only_its_cause_fails(bench: Bench) -> None:
    def poisoned(method: str, path: str, body: bytes) -> Any:
        if method == "PATCH" and b"test-5@" in body.replace(b"test5@", b"test-5@"):
            return 400, [{"errorCode": "JSON_PARSER_ERROR", "message": "cannot deserialize"}]
        return None

    bench.gateway.lies.append(poisoned)
    report = bench.apply([lead(number, bench.owner) for number in range(9)])
    assert report.counts() == {"confirmed": 8, "failed": 1, "created": 8}
    assert next(r.external_id for r in report.rows if r.status == "failed") == "test-5"
    assert len(bench.leads()) == 8


def test_a_yes_without_an_effect_is_found_out(bench: Bench) -> None:
    def flatter(method: str, path: str, body: bytes) -> Any:
        if method == "PATCH":
            return 200, [{"success": True, "id": "00Q000000000001AAA", "created": True}]
        return None

    bench.gateway.lies.append(flatter)
    report = bench.apply([lead(1, bench.owner)])
    assert [(row.status, row.code) for row in report.rows] == [("failed", "SILENT_NOOP")]
    assert bench.leads() == []


def test_fewer_answers_than_rows_are_never_matched_by_guessing(bench: Bench) -> None:
    def shorten(method: str, path: str, body: bytes) -> Any:
        if method != "PATCH":
            return None
        bench.gateway.http.request(
            "PATCH",
            path,
            content=body,
            headers={"Authorization": f"Bearer {TOKENS.salesforce_token}"},
        )
        return 200, [{"success": False, "errors": []}]

    bench.gateway.lies.append(once(shorten))
    report = bench.apply([lead(1, bench.owner), lead(2, bench.owner)])
    assert report.counts() == {"confirmed": 2, "created": 2}
    assert len(bench.gateway.writes()) == 1


def test_an_expired_session_is_renewed_once(bench: Bench) -> None:
    expired = (401, [{"errorCode": "INVALID_SESSION_ID", "message": "expired"}])
    bench.gateway.lies.append(once(lambda method, *_: expired if method == "PATCH" else None))
    assert bench.apply([lead(1, bench.owner)]).counts() == {"confirmed": 1, "created": 1}
    logins = [path for _, path, _ in bench.gateway.requests if path.endswith("/oauth2/token")]
    assert len(logins) == 2


def test_refused_credentials_end_the_run_and_every_row_says_so(bench: Bench) -> None:
    expired = (401, [{"errorCode": "INVALID_SESSION_ID", "message": "expired"}])
    bench.gateway.lies.append(lambda method, *_: expired if method == "PATCH" else None)
    report = bench.apply(pairs(2, bench.owner))
    assert report.halted == "AUTH_EXPIRED"
    assert {(row.status, row.code) for row in report.rows} == {("failed", "AUTH_EXPIRED")}
    assert len(bench.gateway.writes()) == 2
    assert all(len(statuses) == 1 for statuses in bench.finals().values())


def test_a_used_up_quota_ends_the_run_at_once(bench: Bench) -> None:
    spent = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
    bench.gateway.lies.append(lambda method, *_: (403, spent) if method == "PATCH" else None)
    report = bench.apply(pairs(1, bench.owner))
    assert report.halted == "QUOTA_EXHAUSTED"
    assert len(bench.gateway.writes()) == 1
    assert bench.slept == []


# ---- people -------------------------------------------------------------------------------------


def test_an_edit_by_hand_right_after_our_write_stays(bench: Bench) -> None:
    class Meddling(SalesforceDestination):
        def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
            outcomes = super().write(operations)
            bench.edit_by_hand("Lead", str(outcomes[0].record_id), Title="Head of Everything")
            return outcomes

    rows = [lead(1, bench.owner, Title="CTO"), lead(2, bench.owner, Title="CTO")]
    report = bench.apply(rows, bench.destination(Meddling))
    assert [row.status for row in report.rows] == ["superseded", "confirmed"]
    assert bench.leads()[0]["Title"] == "Head of Everything"
    final = next(e for e in bench.receipts() if e["data"]["status"] == "superseded")
    assert final["data"]["written"]["Title"] == "Head of Everything"


def test_an_edit_by_hand_since_the_observation_is_not_overwritten(bench: Bench) -> None:
    bench.apply([lead(1, bench.owner, Title="CTO")])
    [found] = bench.leads()
    bench.edit_by_hand("Lead", found["Id"], Title="Head of Everything")
    change = operation(
        "Lead",
        "test-1",
        {"Title": "CEO"},
        person_id="test-1",
        changes={"Title": {"old": "CTO", "new": "CEO"}},
    )
    report = bench.apply([change])
    assert [(row.status, row.code) for row in report.rows] == [("superseded", "PLAN_STALE")]
    assert bench.leads()[0]["Title"] == "Head of Everything"
    assert len(bench.gateway.writes()) == 1


def test_rows_without_consent_are_refused_one_by_one(bench: Bench) -> None:
    rows = [lead(1, bench.owner), lead(2, bench.owner) | {"is_consented": False}]
    rows += [lead(3, bench.owner), lead(4, bench.owner) | {"person_id": None}, lead(5, bench.owner)]

    def consent(person_id: str) -> bool:
        if person_id == "test-5":
            raise OSError("the consent table cannot be read")
        return person_id != "test-3"

    bench.consent = consent
    report = bench.apply(rows)
    found = {row.external_id: (row.status, row.code) for row in report.rows}
    refused = ("refused", "CONSENT_MISSING")
    assert found == {
        "test-1": ("confirmed", None),
        "test-2": refused,
        "test-3": refused,
        "test-4": refused,
        "test-5": refused,
    }
    assert [row["Handoff_Person_Id__c"] for row in bench.leads()] == ["test-1"]
    for event in bench.receipts():
        assert validate_event(event, ["salesforce"]) == []


def test_a_refusal_repeated_by_every_run_is_kept_once(bench: Bench) -> None:
    rows = [lead(1, bench.owner) | {"is_consented": False}]
    for _ in range(3):
        assert bench.apply(rows).counts() == {"refused": 1, "created": 0}
    assert bench.finals() == {"test-1": ["refused"]}


def test_a_withdrawal_during_the_wait_stops_the_row(bench: Bench) -> None:
    asked: list[str] = []
    bench.consent = lambda person_id: asked.append(person_id) or len(asked) <= 2
    bench.fault(path_prefix="/salesforce/services/data", method="PATCH", status=429)
    report = bench.apply([lead(1, bench.owner)])
    assert [(row.status, row.code) for row in report.rows] == [("refused", "CONSENT_MISSING")]
    assert bench.leads() == []


# ---- stops --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_written", [False, True])
def test_ctrl_c_keeps_what_is_done_and_the_next_run_does_the_rest(
    bench: Bench, is_written: bool
) -> None:
    class Interrupted(SalesforceDestination):
        def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
            if is_written:
                super().write(operations)
            raise KeyboardInterrupt

    rows = pairs(2, bench.owner)
    with pytest.raises(ApplyInterrupted) as caught:
        bench.apply(rows, bench.destination(Interrupted))
    assert caught.value.code == "OPERATION_INTERRUPTED"
    leads = {row.status for row in caught.value.report.rows if row.object == "Lead"}
    assert leads == {"confirmed" if is_written else "in_flight"}
    report = bench.apply(rows)
    assert report.is_clean
    assert len(bench.leads()) == len(bench.tasks()) == 2
    assert set(map(tuple, bench.finals().values())) == {("confirmed",)}


class Dying(SalesforceDestination):
    """Writes, and then the process is gone."""

    def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        super().write(operations)
        raise SystemExit


class DyingBefore(SalesforceDestination):
    """The process is gone right before it writes."""

    def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        raise SystemExit


def test_what_a_dead_run_wrote_is_found_and_ended_without_sending(bench: Bench) -> None:
    with pytest.raises(SystemExit):
        bench.apply([lead(1, bench.owner)], bench.destination(Dying))
    assert bench.finals() == {}
    assert bench.apply([]).resolved == {"confirmed": 1}
    assert bench.finals() == {"test-1": ["confirmed"]}
    assert len(bench.gateway.writes()) == 1


def test_what_a_dead_run_did_not_write_is_closed_when_no_plan_wants_it(bench: Bench) -> None:
    with pytest.raises(SystemExit):
        bench.apply([lead(1, bench.owner)], bench.destination(DyingBefore))
    report = bench.apply([])
    assert report.resolved == {"failed": 1}
    [final] = [e["data"] for e in bench.receipts() if e["data"]["status"] == "failed"]
    assert final["code"] == "OPERATION_INTERRUPTED"
    assert bench.leads() == []


def test_an_open_row_whose_person_withdrew_is_refused_if_it_was_not_written(bench: Bench) -> None:
    with pytest.raises(SystemExit):
        bench.apply([lead(1, bench.owner)], bench.destination(DyingBefore))
    with pytest.raises(SystemExit):
        bench.apply([lead(2, bench.owner), lead(3, bench.owner)], bench.destination(Dying))
    bench.consent = lambda person_id: False
    report = bench.apply([lead(number, bench.owner) for number in (1, 2, 3)])
    assert [row.status for row in report.rows] == ["refused", "confirmed", "confirmed"]
    assert len(bench.leads()) == 2


def test_a_lost_position_file_only_costs_reading_the_log_again(bench: Bench) -> None:
    with pytest.raises(SystemExit):
        bench.apply([lead(1, bench.owner)], bench.destination(Dying))
    bench.apply([])
    with pytest.raises(SystemExit):
        bench.apply([lead(2, bench.owner)], bench.destination(Dying))
    position = bench.settings.plans_dir / ".in_flight-salesforce.json"
    assert position.is_file()
    for damage in (position.unlink, lambda: position.write_text('{"cursor": 1, "marker": "x"')):
        damage()
        bench.apply([])
    assert bench.finals() == {"test-1": ["confirmed"], "test-2": ["confirmed"]}
