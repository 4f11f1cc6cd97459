"""The sandbox over real HTTP: access, paging, writes, persistence, faults."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.sandbox.app import create_app, stored_anchor
from ingestion.sandbox.credentials import Tokens, environment
from ingestion.sandbox.world import World, build_world
from tests.serving import served

ANCHOR = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TOKENS = Tokens()
HUBSPOT = {"authorization": f"Bearer {TOKENS.hubspot_token}"}
SALESFORCE = {"authorization": f"Bearer {TOKENS.salesforce_token}"}
CALENDAR = {"authorization": f"Bearer {TOKENS.calendar_token}"}
DATA = "/salesforce/services/data/v62.0"


class Clock:
    """A clock that moves one second at each reading."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@contextmanager
def opened(world: World, state_path: Path | None = None) -> Iterator[httpx.Client]:
    """A sandbox in a server of its own."""
    clock = Clock(ANCHOR + timedelta(hours=1))
    app = create_app(world.seed, world.anchor, state_path, clock=clock, world=world)
    with served(app) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(7, ANCHOR)


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[httpx.Client]:
    with opened(world) as client:
        yield client


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here is asked faster than HubSpot allows; its limits have tests of their own."""
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.SEARCHES_A_SECOND", 1_000)
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.REQUESTS_AN_INTERVAL", 100_000)


@pytest.fixture
def sandbox(running: httpx.Client) -> httpx.Client:
    running.post("/sandbox/reset").raise_for_status()
    return running


def soql(sandbox: httpx.Client, query: str, verb: str = "query", **headers: str) -> dict[str, Any]:
    answer = sandbox.get(f"{DATA}/{verb}", params={"q": query}, headers=SALESFORCE | headers)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def lead(key: str, **fields: Any) -> dict[str, Any]:
    return {
        "attributes": {"type": "Lead"},
        "LastName": "Lovelace",
        "Company": "Analytical Engines",
        "Handoff_Person_Id__c": key,
        **fields,
    }


def upsert(sandbox: httpx.Client, records: list[dict[str, Any]], **body: Any) -> httpx.Response:
    return sandbox.patch(
        f"{DATA}/composite/sobjects/Lead/Handoff_Person_Id__c",
        json={"records": records, **body},
        headers=SALESFORCE,
    )


# ---- access -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/hubspot/crm/objects/2026-03/contacts",
        "/hubspot/crm/owners/2026-03",
        f"{DATA}/query?q=SELECT+Id+FROM+Lead",
        "/calendar/users/me/calendarList",
    ],
)
@pytest.mark.parametrize("token", [None, "Bearer wrong"])
def test_a_wrong_token_is_refused(sandbox: httpx.Client, path: str, token: str | None) -> None:
    answer = sandbox.get(path, headers={"authorization": token} if token else {})
    assert answer.status_code == 401


def test_each_vendor_refuses_in_its_own_words(sandbox: httpx.Client) -> None:
    assert sandbox.get("/hubspot/crm/owners/2026-03").json()["category"] == "INVALID_AUTHENTICATION"
    assert sandbox.get(f"{DATA}/limits").json()[0]["errorCode"] == "INVALID_SESSION_ID"
    assert sandbox.get("/calendar/users/me/calendarList").json()["error"]["code"] == 401


def test_client_credentials_give_a_session(sandbox: httpx.Client) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": TOKENS.salesforce_client_id,
        "client_secret": TOKENS.salesforce_client_secret,
    }
    answer = sandbox.post("/salesforce/services/oauth2/token", data=form)
    assert answer.json()["instance_url"] == str(sandbox.base_url).rstrip("/") + "/salesforce"
    token = answer.json()["access_token"]
    limits = sandbox.get(f"{DATA}/limits", headers={"authorization": f"Bearer {token}"})
    assert limits.headers["sforce-limit-info"].startswith("api-usage=")
    refused = sandbox.post(
        "/salesforce/services/oauth2/token", data={**form, "client_secret": "wrong"}
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")


def test_unknown_versions_and_paths_are_not_found(sandbox: httpx.Client) -> None:
    hubspot = sandbox.get("/hubspot/crm/objects/v9/contacts", headers=HUBSPOT)
    assert hubspot.status_code == 404
    assert sandbox.get("/hubspot/nowhere", headers=HUBSPOT).status_code == 404
    salesforce = sandbox.get(
        "/salesforce/services/data/v12.0/query?q=SELECT+Id+FROM+Lead", headers=SALESFORCE
    )
    assert (salesforce.status_code, salesforce.json()[0]["errorCode"]) == (404, "NOT_FOUND")


# ---- HubSpot ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [7, 100])
def test_listing_contacts_returns_each_once(
    sandbox: httpx.Client, world: World, limit: int
) -> None:
    seen: list[str] = []
    params: dict[str, Any] = {"limit": limit, "properties": "email,phone"}
    while True:
        page = sandbox.get(
            "/hubspot/crm/objects/2026-03/contacts", params=params, headers=HUBSPOT
        ).json()
        seen += [row["id"] for row in page["results"]]
        if "paging" not in page:
            break
        params["after"] = page["paging"]["next"]["after"]
    assert seen == [row["id"] for row in world.hubspot["contacts"]]
    assert set(page["results"][0]["properties"]) == {"email", "phone", "hs_object_id"}


def test_a_search_since_a_time_returns_each_change_once(
    sandbox: httpx.Client, world: World
) -> None:
    since = (ANCHOR - timedelta(days=20)).isoformat()
    seen: list[dict[str, Any]] = []
    body: dict[str, Any] = {
        "filterGroups": [
            {"filters": [{"propertyName": "lastmodifieddate", "operator": "GTE", "value": since}]}
        ],
        "sorts": [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}],
        "properties": ["email", "lastmodifieddate"],
        "limit": 50,
    }
    while True:
        page = sandbox.post(
            "/hubspot/crm/objects/2026-03/contacts/search", json=body, headers=HUBSPOT
        ).json()
        seen += page["results"]
        if "paging" not in page:
            break
        body["after"] = page["paging"]["next"]["after"]
    times = [datetime.fromisoformat(row["properties"]["lastmodifieddate"]) for row in seen]
    assert times == sorted(times)
    expected = {
        row["id"]
        for row in world.hubspot["contacts"]
        if datetime.fromisoformat(row["updatedAt"]) >= datetime.fromisoformat(since)
    }
    assert len(seen) == page["total"] == len(expected) > 50
    assert {row["id"] for row in seen} == expected


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"limit": 200, "after": "9900"},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "~", "value": "x"}]}]},
    ],
)
def test_a_search_beyond_the_documented_limits_is_refused(
    sandbox: httpx.Client, body: dict[str, Any]
) -> None:
    answer = sandbox.post(
        "/hubspot/crm/objects/2026-03/contacts/search", json=body, headers=HUBSPOT
    )
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("path", ["/events/2026-03/events", "/events/event-occurrences/2026-03"])
def test_paging_events_returns_each_once_in_order(
    sandbox: httpx.Client, world: World, path: str
) -> None:
    since = ANCHOR - timedelta(days=30)
    params: dict[str, Any] = {
        "objectType": "contact",
        "occurredAfter": since.isoformat(),
        "limit": 333,
    }
    seen: list[dict[str, Any]] = []
    while True:
        page = sandbox.get(f"/hubspot{path}", params=params, headers=HUBSPOT).json()
        seen += page["results"]
        if "paging" not in page:
            break
        params["after"] = page["paging"]["next"]["after"]
    expected = [
        row for row in world.hubspot["events"] if datetime.fromisoformat(row["occurredAt"]) >= since
    ]
    assert seen == expected


def test_a_merged_contact_answers_under_its_old_ids(sandbox: httpx.Client, world: World) -> None:
    old, new = next(iter(world.hubspot_merges.items()))
    answer = sandbox.get(f"/hubspot/crm/objects/2026-03/contacts/{old}", headers=HUBSPOT)
    assert answer.json()["id"] == new


def test_campaigns_carry_their_spend_by_day(sandbox: httpx.Client) -> None:
    answer = sandbox.get("/hubspot/marketing/campaigns/2026-03", headers=HUBSPOT).json()
    assert answer["total"] == len(answer["results"]) >= 6
    for campaign in answer["results"]:
        dates = [item["date"] for item in campaign["spendItems"]]
        assert dates == sorted(set(dates)) and all(
            item["amount"] > 0 for item in campaign["spendItems"]
        )


# ---- calendar ---------------------------------------------------------------------------------


def test_paging_a_calendar_returns_each_event_once(sandbox: httpx.Client, world: World) -> None:
    listed = sandbox.get("/calendar/users/me/calendarList", headers=CALENDAR).json()["items"]
    assert [item["id"] for item in listed] == [rep.email for rep in world.reps]
    found: Counter[str] = Counter()
    for item in listed:
        params: dict[str, Any] = {"maxResults": 3, "showDeleted": "true"}
        while True:
            page = sandbox.get(
                f"/calendar/calendars/{item['id']}/events", params=params, headers=CALENDAR
            ).json()
            found.update(event["id"] for event in page["items"])
            if "nextPageToken" not in page:
                break
            params["pageToken"] = page["nextPageToken"]
    assert set(found.values()) == {1}
    assert len(found) == sum(len(rows) for rows in world.calendar.values())


def test_updated_min_brings_cancelled_events_without_asking(
    sandbox: httpx.Client, world: World
) -> None:
    email, cancelled = next(
        (email, row)
        for email, rows in world.calendar.items()
        for row in rows
        if row["status"] == "cancelled"
    )
    path = f"/calendar/calendars/{email}/events"
    plain = sandbox.get(path, headers=CALENDAR).json()["items"]
    assert cancelled["id"] not in {row["id"] for row in plain}
    since = sandbox.get(path, params={"updatedMin": cancelled["updated"]}, headers=CALENDAR).json()
    assert cancelled["id"] in {row["id"] for row in since["items"]}
    assert (
        sandbox.get("/calendar/calendars/nobody@x.org/events", headers=CALENDAR).status_code == 404
    )


# ---- Salesforce -------------------------------------------------------------------------------


def test_query_pages_cover_every_row_once_in_batches_of_the_asked_size(
    sandbox: httpx.Client,
) -> None:
    upsert(sandbox, [lead(f"p-{number}") for number in range(200)]).raise_for_status()
    total = soql(sandbox, "SELECT count() FROM Lead")["totalSize"]
    seen: list[str] = []
    headers = SALESFORCE | {"sforce-query-options": "batchSize=10"}
    answer = sandbox.get(
        f"{DATA}/query", params={"q": "SELECT Id FROM Lead ORDER BY Id"}, headers=headers
    ).json()
    assert len(answer["records"]) == 200, "batchSize below 200 is raised to 200"
    while True:
        seen += [row["Id"] for row in answer["records"]]
        if answer["done"]:
            break
        # As given, the address starts at the host's root; instance_url may add a prefix.
        prefix = "/salesforce" if len(seen) <= 200 else ""
        answer = sandbox.get(prefix + answer["nextRecordsUrl"], headers=SALESFORCE).json()
    assert len(seen) == len(set(seen)) == total > 200
    assert seen == sorted(seen)


def test_query_all_shows_merged_leads_and_query_does_not(
    sandbox: httpx.Client, world: World
) -> None:
    merged = [row["Id"] for row in world.salesforce["Lead"] if row["IsDeleted"]]
    found = soql(sandbox, "SELECT Id, MasterRecordId FROM Lead WHERE IsDeleted = true", "queryAll")[
        "records"
    ]
    assert sorted(row["Id"] for row in found) == sorted(merged)
    assert all(row["MasterRecordId"] for row in found)
    assert soql(sandbox, f"SELECT Id FROM Lead WHERE Id = '{merged[0]}'")["totalSize"] == 0


def test_an_upsert_creates_then_updates_and_moves_the_modstamp(sandbox: httpx.Client) -> None:
    [first] = upsert(sandbox, [lead("p-1", Email="ada@analytical.org")]).json()
    assert first["success"] and first["created"] and len(first["id"]) == 18
    query = (
        "SELECT Id, Email, CreatedDate, SystemModstamp FROM Lead WHERE Handoff_Person_Id__c = 'p-1'"
    )
    [before] = soql(sandbox, query)["records"]
    [second] = upsert(sandbox, [lead("p-1", Email="ada@engines.org")]).json()
    assert second == {"success": True, "errors": [], "id": first["id"], "created": False}
    [after] = soql(sandbox, query)["records"]
    assert after["Email"] == "ada@engines.org"
    assert after["SystemModstamp"] > before["SystemModstamp"]
    assert after["CreatedDate"] == before["CreatedDate"]
    since = before["SystemModstamp"]
    changed = soql(sandbox, f"SELECT Id FROM Lead WHERE SystemModstamp > {since}")
    assert [row["Id"] for row in changed["records"]] == [first["id"]]


def test_concurrent_upserts_of_one_person_make_one_lead(sandbox: httpx.Client) -> None:
    def push(number: int) -> list[dict[str, Any]]:
        with httpx.Client(base_url=sandbox.base_url, timeout=20) as client:
            rows = [lead(f"race-{key}", Title=f"writer {number}") for key in range(20)]
            answer: list[dict[str, Any]] = upsert(client, rows).json()
            return answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(push, range(16)))
    assert sum(row["created"] for answer in answers for row in answer) == 20
    assert len({row["id"] for answer in answers for row in answer}) == 20
    found = soql(sandbox, "SELECT Id FROM Lead WHERE Handoff_Person_Id__c LIKE 'race-%'")
    assert found["totalSize"] == 20


def test_bad_rows_are_refused_one_by_one_and_the_rest_is_written(
    sandbox: httpx.Client, world: World
) -> None:
    deleted = next(row["Id"] for row in world.salesforce["Lead"] if row["IsDeleted"])
    former = next(row["Id"] for row in world.salesforce["User"] if not row["IsActive"])
    rows = [
        lead("ok-1"),
        {**lead("bad-1"), "LastName": None},
        lead("bad-2", Email="nonsense"),
        lead("bad-3", FirstName="x" * 41),
        lead("bad-4", OwnerId="005000000000001AAA"),
        lead("bad-5", Shoe_Size__c=43),
        lead("bad-6", Handoff_Score__c="many"),
        lead("bad-7", OwnerId=former),
        lead("bad-8", SystemModstamp="2026-01-01T00:00:00Z"),
        lead("bad-9", CountryCode="Germany"),
        lead("OK-1"),
        lead(""),
        lead("ok-2", Handoff_Mql_At__c="2026-11-20T12:30:00+01:00", CountryCode="DE"),
    ]
    results = upsert(sandbox, rows).json()
    codes = [row["errors"][0]["statusCode"] if row["errors"] else "ok" for row in results]
    assert codes == [
        "ok",
        "REQUIRED_FIELD_MISSING",
        "INVALID_EMAIL_ADDRESS",
        "STRING_TOO_LONG",
        "INVALID_CROSS_REFERENCE_KEY",
        "INVALID_FIELD",
        "JSON_PARSER_ERROR",
        "OPERATION_WITH_INACTIVE_USER_EXCEPTION",
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "FIELD_INTEGRITY_EXCEPTION",
        "DUPLICATE_VALUE",
        "MISSING_ARGUMENT",
        "ok",
    ]
    assert results[1]["errors"][0]["fields"] == ["LastName"]
    [kept] = soql(
        sandbox,
        "SELECT Country, Handoff_Mql_At__c FROM Lead WHERE Handoff_Person_Id__c = 'ok-2'",
    )["records"]
    assert kept["Country"] == "Germany"
    assert kept["Handoff_Mql_At__c"] == "2026-11-20T11:30:00.000+0000"
    gone = sandbox.patch(f"{DATA}/sobjects/Lead/{deleted}", json={"Title": "x"}, headers=SALESFORCE)
    assert (gone.status_code, gone.json()[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")


def test_all_or_none_takes_back_every_row(sandbox: httpx.Client) -> None:
    upsert(sandbox, [lead("kept", Title="before")]).raise_for_status()
    rows = [lead("kept", Title="after"), lead("new"), lead("bad", Email="nonsense")]
    results = upsert(sandbox, rows, allOrNone=True).json()
    assert [row["success"] for row in results] == [False, False, False]
    assert results[0]["errors"][0]["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    found = soql(
        sandbox, "SELECT Title FROM Lead WHERE Handoff_Person_Id__c IN ('kept', 'new', 'bad')"
    )
    assert [row["Title"] for row in found["records"]] == ["before"]
    [again] = upsert(sandbox, [lead("new")]).json()
    assert again["created"]


def test_more_than_200_records_are_refused(sandbox: httpx.Client) -> None:
    answer = upsert(sandbox, [lead(f"p-{number}") for number in range(201)])
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "EXCEEDED_ID_LIMIT")


def test_an_external_id_stays_unique_on_every_way_in(sandbox: httpx.Client) -> None:
    upsert(sandbox, [lead("mine")]).raise_for_status()
    post = sandbox.post(
        f"{DATA}/sobjects/Lead",
        json={"LastName": "B", "Company": "C", "Handoff_Person_Id__c": "MINE"},
        headers=SALESFORCE,
    )
    assert post.json()[0]["errorCode"] == "DUPLICATE_VALUE"
    [other] = upsert(sandbox, [lead("other")]).json()
    patch = sandbox.patch(
        f"{DATA}/sobjects/Lead/{other['id']}",
        json={"Handoff_Person_Id__c": "mine"},
        headers=SALESFORCE,
    )
    assert patch.json()[0]["errorCode"] == "DUPLICATE_VALUE"
    # A deleted record frees its external id.
    assert (
        sandbox.delete(f"{DATA}/sobjects/Lead/{other['id']}", headers=SALESFORCE).status_code == 204
    )
    [reborn] = upsert(sandbox, [lead("other")]).json()
    assert reborn["created"] and reborn["id"] != other["id"]


def test_rows_are_read_updated_and_deleted_by_external_id(sandbox: httpx.Client) -> None:
    path = f"{DATA}/sobjects/Lead/Handoff_Person_Id__c/solo"
    body = {"LastName": "Hopper", "Company": "Navy"}
    created = sandbox.patch(path, json=body, headers=SALESFORCE)
    assert (created.status_code, created.json()["created"]) == (201, True)
    updated = sandbox.patch(path, json={"Title": "Rear Admiral"}, headers=SALESFORCE)
    assert (updated.status_code, updated.json()["created"]) == (200, False)
    assert sandbox.get(path, headers=SALESFORCE).json()["Title"] == "Rear Admiral"
    only = f"{DATA}/sobjects/Lead/Handoff_Person_Id__c/nobody?updateOnly=true"
    assert sandbox.patch(only, json=body, headers=SALESFORCE).status_code == 404
    assert sandbox.delete(path, headers=SALESFORCE).status_code == 204
    assert sandbox.get(path, headers=SALESFORCE).status_code == 404


def test_collections_insert_update_and_retrieve_in_order(sandbox: httpx.Client) -> None:
    rows = [lead("c-1"), {"attributes": {"type": "Task"}, "Subject": "Call Ada"}]
    created = sandbox.post(
        f"{DATA}/composite/sobjects", json={"records": rows}, headers=SALESFORCE
    ).json()
    lead_id, task_id = (row["id"] for row in created)
    assert lead_id.startswith("00Q") and task_id.startswith("00T")
    updates = [
        {"attributes": {"type": "Task"}, "id": task_id, "Status": "Completed", "WhoId": lead_id},
        {"attributes": {"type": "Lead"}, "id": "00Q000000000001AAA", "Title": "x"},
    ]
    results = sandbox.patch(
        f"{DATA}/composite/sobjects", json={"records": updates}, headers=SALESFORCE
    ).json()
    assert [row["success"] for row in results] == [True, False]
    got = sandbox.post(
        f"{DATA}/composite/sobjects/Task",
        json={"ids": [task_id, "00T000000000001AAA"], "fields": ["IsClosed", "WhoId"]},
        headers=SALESFORCE,
    ).json()
    assert got[0]["IsClosed"] is True and got[0]["WhoId"] == lead_id
    assert got[1] is None


def test_a_human_edit_carries_the_humans_name(sandbox: httpx.Client, world: World) -> None:
    [mine] = upsert(sandbox, [lead("edited")]).json()
    human = {"authorization": f"Bearer {TOKENS.salesforce_rep_token}"}
    path = f"{DATA}/sobjects/Lead/{mine['id']}"
    assert sandbox.patch(path, json={"Title": "CTO"}, headers=human).status_code == 204
    record = sandbox.get(path, headers=SALESFORCE).json()
    assert record["LastModifiedById"] == world.reps[0].user_id != record["CreatedById"]


def test_converted_leads_cannot_be_changed(sandbox: httpx.Client, world: World) -> None:
    converted = next(row["Id"] for row in world.salesforce["Lead"] if row["IsConverted"])
    answer = sandbox.patch(
        f"{DATA}/sobjects/Lead/{converted}", json={"Title": "x"}, headers=SALESFORCE
    )
    assert answer.json()[0]["errorCode"] == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_describe_names_the_external_ids(sandbox: httpx.Client) -> None:
    fields = sandbox.get(f"{DATA}/sobjects/Lead/describe", headers=SALESFORCE).json()["fields"]
    assert {field["name"] for field in fields if field["externalId"]} == {"Handoff_Person_Id__c"}
    required = {field["name"] for field in fields if not field["nillable"] and field["createable"]}
    assert {"LastName", "Company"} <= required


# ---- state, faults, facts ---------------------------------------------------------------------


def test_a_restarted_sandbox_still_knows_what_was_pushed(world: World, tmp_path: Path) -> None:
    state = tmp_path / "sandbox" / "state.sqlite"
    with opened(world, state) as client:
        [pushed] = upsert(client, [lead("kept")]).json()
        [dropped] = upsert(client, [lead("gone")]).json()
        client.delete(f"{DATA}/sobjects/Lead/{dropped['id']}", headers=SALESFORCE)
        before = soql(client, "SELECT FIELDS FROM Lead".replace("FIELDS", "Id, SystemModstamp"))
    assert stored_anchor(state, 7) == ANCHOR
    assert stored_anchor(state, 8) is None
    with opened(world, state) as client:
        assert soql(client, "SELECT Id, SystemModstamp FROM Lead") == before
        [again] = upsert(client, [lead("kept", Title="still me")]).json()
        assert (again["id"], again["created"]) == (pushed["id"], False)
        [fresh] = upsert(client, [lead("another")]).json()
        assert fresh["id"] not in (pushed["id"], dropped["id"])
        client.post("/sandbox/reset").raise_for_status()
        count = soql(client, "SELECT count() FROM Lead WHERE Handoff_Person_Id__c != null")
        assert count["totalSize"] == 0
    other = build_world(8, ANCHOR, people=40)
    with opened(other, state) as client:
        assert soql(client, "SELECT Id FROM Lead WHERE LastName = 'Lovelace'")["totalSize"] == 0


def test_a_fault_hits_as_often_as_told_and_is_logged(sandbox: httpx.Client) -> None:
    fault = {"path_prefix": "/hubspot", "status": 429, "times": 2, "retry_after": 3}
    assert sandbox.post("/sandbox/faults", json=fault).status_code == 201
    path = "/hubspot/crm/owners/2026-03"
    answers = [sandbox.get(path, headers=HUBSPOT) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "3"
    log = sandbox.get("/sandbox/requests", params={"path_prefix": path}).json()["requests"]
    assert [(row["status"], row["rows"], row["is_fault"]) for row in log] == [
        (429, None, True),
        (429, None, True),
        (200, 9, False),
    ]
    assert sandbox.post("/sandbox/faults", json={"status": 200}).status_code == 422


def test_a_fault_after_commit_loses_the_answer_but_not_the_write(sandbox: httpx.Client) -> None:
    sandbox.post(
        "/sandbox/faults",
        json={
            "path_prefix": "/salesforce",
            "method": "PATCH",
            "status": 503,
            "after_commit": True,
        },
    )
    assert upsert(sandbox, [lead("unsure")]).status_code == 503
    [again] = upsert(sandbox, [lead("unsure")]).json()
    assert again["created"] is False


def test_a_page_of_2000_rows_comes_quickly(sandbox: httpx.Client) -> None:
    for start in range(0, 2_000, 200):
        upsert(sandbox, [lead(f"many-{start + n}") for n in range(200)]).raise_for_status()
    query = (
        "SELECT Id, FirstName, LastName, Email, Phone, Company, Title, CountryCode, Status, "
        "OwnerId, Handoff_Person_Id__c, Handoff_Score__c, CreatedDate, SystemModstamp FROM Lead "
        "WHERE SystemModstamp >= 2026-01-01T00:00:00Z ORDER BY SystemModstamp, Id"
    )
    # The best of three: what the sandbox costs, not what else the machine is doing.
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        answer = soql(sandbox, query)
        seconds.append(time.perf_counter() - started)
    assert len(answer["records"]) == 2_000
    assert min(seconds) < 0.3


def test_the_index_page_needs_no_other_host(sandbox: httpx.Client, world: World) -> None:
    page = sandbox.get("/").text
    assert "HANDOFF_SALESFORCE_URL" in page
    for marker in ("src=", "https://", "url(", "@import"):
        assert marker not in page
    # Browsers ask for an icon unless they are given one.
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']
    truth = sandbox.get("/truth").json()
    assert truth["people"] == world.truth
    assert environment(str(sandbox.base_url))["HANDOFF_HUBSPOT_URL"].endswith("/hubspot")


def test_simple_salesforce_works_against_it(sandbox: httpx.Client) -> None:
    import requests
    from requests.adapters import HTTPAdapter
    from simple_salesforce.api import Salesforce

    class PlainHttp(HTTPAdapter):
        """The client insists on https; the sandbox has no certificate."""

        def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
            assert request.url is not None
            request.url = request.url.replace("https://", "http://", 1)
            return super().send(request, **kwargs)

    root = str(sandbox.base_url).rstrip("/")
    session = requests.Session()
    session.trust_env = False
    session.mount(root.replace("http://", "https://"), PlainHttp())
    client = Salesforce(
        session_id=TOKENS.salesforce_token,
        instance_url=root.replace("http://", "https://"),
        version="62.0",
        session=session,
    )
    client.base_url = f"{root}{DATA}/"
    rows = [lead(f"s-{number}") for number in range(200)]
    results: Any = client.restful(
        "composite/sobjects/Lead/Handoff_Person_Id__c", method="PATCH", json={"records": rows}
    )
    assert all(row["created"] for row in results)
    found = client.query_all(
        "SELECT Id FROM Lead", headers={"Sforce-Query-Options": "batchSize=200"}
    )
    assert found["totalSize"] == len({row["Id"] for row in found["records"]}) > 200
    assert client.api_usage["api-usage"][0] > 0
    # The client's own types say that any attribute might be a bulk handler.
    lead_type: Any = client.Lead
    created = lead_type.create({"LastName": "Turing", "Company": "Bletchley"})
    assert lead_type.update(created["id"], {"Title": "Fellow"}) == 204
    assert lead_type.get(created["id"])["Title"] == "Fellow"
    assert lead_type.upsert("Handoff_Person_Id__c/s-1", {"Title": "Director"}) == 200
    assert lead_type.describe()["name"] == "Lead"
