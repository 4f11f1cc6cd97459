"""Faults of the sandbox's endpoints over real HTTP: each does what it says, as often as told."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.faults import Fault, FaultList
from ingestion.sandbox.partial_batch import split_batch
from ingestion.sandbox.world import World, build_world
from tests.serving import served

ROOT = Path(__file__).parents[2]
ANCHOR = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TOKENS = Tokens()
HUBSPOT = {"authorization": f"Bearer {TOKENS.hubspot_token}"}
SALESFORCE = {"authorization": f"Bearer {TOKENS.salesforce_token}"}
OWNERS = "/hubspot/crm/owners/2026-03"
DATA = "/salesforce/services/data/v62.0"
UPSERT = f"{DATA}/composite/sobjects/Lead/Handoff_Person_Id__c"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(7, ANCHOR, people=40)


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[httpx.Client]:
    app = create_app(7, ANCHOR, world=world)
    with served(app) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield client


@pytest.fixture
def sandbox(running: httpx.Client) -> httpx.Client:
    running.post("/sandbox/reset").raise_for_status()
    return running


def set_fault(sandbox: httpx.Client, **fault: Any) -> dict[str, Any]:
    answer = sandbox.post("/sandbox/faults", json=fault)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def upsert(sandbox: httpx.Client, count: int, **body: Any) -> httpx.Response:
    records = [
        {
            "attributes": {"type": "Lead"},
            "LastName": f"L{number}",
            "Company": "C",
            "Handoff_Person_Id__c": f"p-{number}",
        }
        for number in range(count)
    ]
    return sandbox.patch(UPSERT, json={"records": records, **body}, headers=SALESFORCE)


def written(sandbox: httpx.Client) -> set[str]:
    query = "SELECT Handoff_Person_Id__c FROM Lead WHERE Handoff_Person_Id__c LIKE 'p-%'"
    answer = sandbox.get(f"{DATA}/query", params={"q": query}, headers=SALESFORCE)
    return {row["Handoff_Person_Id__c"] for row in answer.json()["records"]}


def log(sandbox: httpx.Client, path: str) -> list[tuple[int | None, str | None]]:
    rows = sandbox.get("/sandbox/requests", params={"path_prefix": path}).json()["requests"]
    return [(row["status"], row["fault"]) for row in rows]


# ---- no answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("after_commit", [True, False])
def test_a_timeout_holds_the_line_and_closes_it_without_an_answer(
    sandbox: httpx.Client, after_commit: bool
) -> None:
    set_fault(sandbox, kind="timeout", path_prefix=UPSERT, seconds=0.4, after_commit=after_commit)
    started = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        upsert(sandbox, 3)
    assert 0.4 <= time.monotonic() - started < 5
    assert written(sandbox) == ({"p-0", "p-1", "p-2"} if after_commit else set())
    assert log(sandbox, UPSERT) == [(None, "timeout")]
    assert upsert(sandbox, 3).status_code == 200


def test_a_caller_that_gives_up_does_not_leave_the_line_held(sandbox: httpx.Client) -> None:
    set_fault(sandbox, kind="timeout", path_prefix=OWNERS, seconds=600)
    with pytest.raises(httpx.ReadTimeout):
        sandbox.get(OWNERS, headers=HUBSPOT, timeout=0.3)
    deadline = time.monotonic() + 5
    while not log(sandbox, OWNERS):
        assert time.monotonic() < deadline, "the request is still held"
        time.sleep(0.02)


@pytest.mark.parametrize("after_commit", [True, False])
def test_a_reset_ends_the_connection_at_once(sandbox: httpx.Client, after_commit: bool) -> None:
    set_fault(sandbox, kind="reset", path_prefix=UPSERT, after_commit=after_commit)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        upsert(sandbox, 2)
    assert bool(written(sandbox)) == after_commit
    assert log(sandbox, UPSERT) == [(None, "reset")]


def test_a_held_connection_does_not_keep_the_sandbox_from_stopping(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ingestion.settings import Settings; "
        "from ingestion.sandbox.app import serve; "
        "serve(Settings(home=Path(sys.argv[1])), 0, announce=lambda url: print(url, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url, timeout=60) as client:
            set_fault(client, kind="timeout", path_prefix=OWNERS, seconds=600)
            held = threading.Thread(target=_ignored, args=(f"{url}{OWNERS}",), daemon=True)
            held.start()
            while client.get("/sandbox/faults").json():
                time.sleep(0.02)
        process.terminate()
        assert process.wait(30) is not None
    finally:
        process.kill()


def _ignored(url: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(url, headers=HUBSPOT, timeout=120)


# ---- a bad answer -------------------------------------------------------------------------------


def test_a_slow_answer_is_late_but_right(sandbox: httpx.Client) -> None:
    set_fault(sandbox, kind="slow", path_prefix=OWNERS, seconds=0.5)
    started = time.monotonic()
    slow = sandbox.get(OWNERS, headers=HUBSPOT)
    assert time.monotonic() - started >= 0.5
    assert slow.json() == sandbox.get(OWNERS, headers=HUBSPOT).json()


def test_a_malformed_answer_breaks_off_after_the_write(sandbox: httpx.Client) -> None:
    set_fault(sandbox, kind="malformed", path_prefix=UPSERT)
    answer = upsert(sandbox, 2)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        answer.json()
    assert written(sandbox) == {"p-0", "p-1"}


def test_a_refusal_carries_retry_after_and_the_vendors_own_words(sandbox: httpx.Client) -> None:
    set_fault(sandbox, path_prefix="/salesforce", status=429, retry_after=7, error="TXN_SECURITY")
    answer = sandbox.get(f"{DATA}/limits", headers=SALESFORCE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()[0]["errorCode"] == "TXN_SECURITY"


# ---- partial batches ----------------------------------------------------------------------------


def test_some_rows_of_a_batch_fail_in_place_and_the_others_are_written(
    sandbox: httpx.Client,
) -> None:
    set_fault(sandbox, kind="partial", path_prefix="/salesforce", every=3, error="LOCKED")
    answer = upsert(sandbox, 7)
    assert answer.status_code == 200
    assert [row["success"] for row in answer.json()] == [True, True, False] * 2 + [True]
    assert answer.json()[2]["errors"][0]["statusCode"] == "LOCKED"
    assert "id" not in answer.json()[2] and answer.json()[2]["created"] is False
    assert written(sandbox) == {"p-0", "p-1", "p-3", "p-4", "p-6"}
    again = upsert(sandbox, 7).json()
    assert [row["created"] for row in again] == [False, False, True] * 2 + [False]


def test_with_all_or_none_one_failing_row_takes_the_batch_with_it(sandbox: httpx.Client) -> None:
    set_fault(sandbox, kind="partial", path_prefix="/salesforce", every=3)
    rows = upsert(sandbox, 4, allOrNone=True).json()
    codes = [row["errors"][0]["statusCode"] for row in rows]
    rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    assert codes == [rolled_back, rolled_back, "UNABLE_TO_LOCK_ROW", rolled_back]
    assert written(sandbox) == set()


def test_a_partial_fault_waits_for_a_batch_and_hits_the_shortest(sandbox: httpx.Client) -> None:
    set_fault(sandbox, kind="partial", path_prefix="/salesforce")
    assert sandbox.get(f"{DATA}/limits", headers=SALESFORCE).status_code == 200
    assert [row["success"] for row in upsert(sandbox, 1).json()] == [False]
    assert written(sandbox) == set()
    assert sandbox.get("/sandbox/faults").json() == []


def test_a_hubspot_batch_that_fails_in_part_is_answered_207() -> None:
    path = "/hubspot/crm/objects/2026-03/contacts/batch/update"
    body = b'{"inputs":[{"id":"1"},{"id":"2"},{"id":"3"}]}'
    split = split_batch("POST", path, body, 2, None)
    assert split is not None and split.kept == b'{"inputs":[{"id":"1"},{"id":"3"}]}'
    told = {"status": "COMPLETE", "results": [{"id": "1"}, {"id": "3"}]}
    status, answer = split.join(200, told)
    assert (status, answer["numErrors"], answer["results"]) == (207, 1, told["results"])
    assert answer["errors"][0]["context"]["ids"] == ["2"]
    # What the API refuses as a whole stays refused.
    assert split.join(400, {"status": "error"}) == (400, {"status": "error"})


def test_a_marketo_batch_that_fails_in_part_names_the_skipped_row_in_place() -> None:
    split = split_batch(
        "POST", "/marketo/rest/v1/leads.json", b'{"input":[{"email":"a"},{"email":"b"}]}', 2, "1006"
    )
    assert split is not None
    _, answer = split.join(200, {"success": True, "result": [{"id": 1, "status": "created"}]})
    assert [row["status"] for row in answer["result"]] == ["created", "skipped"]
    assert answer["result"][1]["reasons"][0]["code"] == "1006"


# ---- how often, and where -----------------------------------------------------------------------


def test_a_rate_hits_its_share_and_the_same_ones_after_a_reset(sandbox: httpx.Client) -> None:
    def drawn() -> list[int]:
        set_fault(sandbox, path_prefix=OWNERS, rate=0.3)
        return [sandbox.get(OWNERS, headers=HUBSPOT).status_code for _ in range(60)]

    first = drawn()
    assert 8 <= first.count(503) <= 30
    sandbox.post("/sandbox/reset")
    assert drawn() == first


def test_a_fault_without_end_lasts_until_it_is_removed(sandbox: httpx.Client) -> None:
    fault = set_fault(sandbox, path_prefix=OWNERS, times=None)
    assert {sandbox.get(OWNERS, headers=HUBSPOT).status_code for _ in range(5)} == {503}
    assert sandbox.delete(f"/sandbox/faults/{fault['id']}").status_code == 200
    assert sandbox.get(OWNERS, headers=HUBSPOT).status_code == 200
    gone = sandbox.delete(f"/sandbox/faults/{fault['id']}")
    assert (gone.status_code, gone.json()["detail"].endswith("waiting: none")) == (404, True)


def test_an_endpoints_template_hits_it_and_nothing_beside_it(sandbox: httpx.Client) -> None:
    template = "/hubspot/crm/objects/{version}/{kind}"
    assert template in sandbox.get("/sandbox/endpoints").json()["endpoints"]
    set_fault(sandbox, path_prefix=template, times=None)
    contacts = "/hubspot/crm/objects/2026-03/contacts"
    assert sandbox.get(contacts, headers=HUBSPOT).status_code == 503
    assert sandbox.post(f"{contacts}/search", json={}, headers=HUBSPOT).status_code == 200
    assert sandbox.get(OWNERS, headers=HUBSPOT).status_code == 200


def test_every_listed_endpoint_takes_a_fault(sandbox: httpx.Client) -> None:
    endpoints = sandbox.get("/sandbox/endpoints").json()["endpoints"]
    assert {path.split("/")[1] for path in endpoints} >= {"hubspot", "salesforce", "calendar"}
    # The last are served by a route that takes whatever comes below it.
    for path in (*endpoints, "/services/data", "/", "/hubspot/crm", f"{DATA}/jobs/query"):
        set_fault(sandbox, path_prefix=path)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"kind": "explode"}, "unknown kind 'explode'; known: status, timeout"),
        ({"status": 200}, "status: 200"),
        ({"times": 0}, "times: 0"),
        ({"rate": 1.5}, "rate: 1.5"),
        ({"path_prefix": "/hubspott"}, "they begin with /ad_spend, /calcom"),
        ({"path_prefx": "/hubspot"}, "known: kind, path_prefix"),
        ({"kind": "skew", "system": "fax"}, "unknown system 'fax'; known: hubspot, web"),
        ({"kind": "delay", "persona": "bob"}, "unknown persona 'bob'; known: buyer"),
        ([], "JSON but no object"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_what_could(
    sandbox: httpx.Client, asked: Any, told: str
) -> None:
    answer = sandbox.post("/sandbox/faults", json=asked)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert sandbox.get("/sandbox/faults").json() == []


def test_faults_are_used_up_in_the_order_they_were_set() -> None:
    faults = FaultList(7)
    faults.add(Fault(status=500, path_prefix="/hubspot"))
    faults.add(Fault(status=502, path_prefix="/"))
    met = [faults.for_request("GET", "/hubspot/x", False) for _ in range(3)]
    assert [fault and fault.status for fault in met] == [500, 502, None]


# ---- who may -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sandbox/faults"),
        ("DELETE", "/sandbox/faults"),
        ("POST", "/sandbox/reset"),
        ("POST", "/sandbox/personas/buyer/act"),
        ("POST", "/sandbox/webhooks/replay"),
    ],
)
def test_another_sites_page_may_change_nothing(
    sandbox: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = sandbox.request(method, path, headers=headers, content=b'{"action": "submit_form"}')
    assert answer.status_code == 403
    assert sandbox.get("/sandbox/webhooks").json()["count"] == 0


def test_the_sandboxs_own_page_may(sandbox: httpx.Client) -> None:
    own = {
        "origin": str(sandbox.base_url).rstrip("/"),
        "sec-fetch-site": "same-origin",
        "accept": "text/html",
    }
    form = {"kind": "slow", "path_prefix": "/hubspot", "seconds": "0.1", "times": "", "rate": "0.5"}
    answer = sandbox.post("/sandbox/faults", data=form, headers=own)
    assert answer.status_code == 303
    [fault] = sandbox.get("/sandbox/faults").json()
    assert (fault["kind"], fault["seconds"], fault["rate"], fault["times"]) == (
        "slow",
        0.1,
        0.5,
        None,
    )
    removed = sandbox.post(f"/sandbox/faults/{fault['id']}/remove", headers=own)
    assert removed.status_code == 303
    assert sandbox.get("/sandbox/faults").json() == []
    wrong = sandbox.post("/sandbox/faults", data={"kind": "slow", "seconds": "x"}, headers=own)
    assert wrong.status_code == 422
    assert "seconds: &#x27;x&#x27;" in wrong.text and "<title>Handoff sandbox" in wrong.text
