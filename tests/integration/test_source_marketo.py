"""Marketo over HTTP against the sandbox, into the warehouse: changes, merges and deletions arrive, what
a webhook told is not told twice, and real exports are accounted for to the row."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.connectors import polling
from ingestion.connectors.marketo import limits, source, webhook
from ingestion.errors.catalog import HandoffError
from ingestion.landing.polls import poll
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens, environment
from ingestion.sandbox.marketo_records import activity, changed_value
from ingestion.sandbox.world import World, build_world
from ingestion.settings import Settings
from tests.serving import served

NOW = datetime.now(UTC).replace(microsecond=0)
ANCHOR = NOW - timedelta(minutes=20)
HEADERS = {"authorization": f"Bearer {Tokens().marketo_token}"}


def settings_at(url: str, home: Path, **changes: Any) -> Settings:
    fields = {
        name.removeprefix("HANDOFF_").lower(): value
        for name, value in environment(url).items()
        if name.startswith("HANDOFF_MARKETO_")
    }
    return Settings(home=home, **{**fields, **changes})


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(7, ANCHOR)


@pytest.fixture(scope="module")
def running(world: World) -> Iterator[str]:
    with served(create_app(7, ANCHOR, world=world)) as url:
        yield url


@pytest.fixture
def marketo(running: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running, headers=HEADERS, trust_env=False, timeout=30) as client:
        client.post("/sandbox/reset").raise_for_status()
        yield client
        client.post("/sandbox/reset").raise_for_status()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are recorded instead of slept."""
    found: list[float] = []
    monkeypatch.setattr(polling.Session.__init__, "__defaults__", (found.append,))
    limits.limits_of.cache_clear()
    return found


def extracted(url: str, tmp_path: Path, resource: str) -> dict[str, Any]:
    settings = settings_at(url, tmp_path)
    return {
        row.record_id: row
        for page in source.extract(resource, None, settings)
        for row in page
    }  # fmt: skip


# ---- the simulated Marketo ----------------------------------------------------------------------


def test_it_refuses_in_answers_of_200(marketo: httpx.Client) -> None:
    def code(method: str, path: str, **more: Any) -> tuple[int, str]:
        answer = marketo.request(method, f"/marketo{path}", **more)
        return answer.status_code, answer.json()["errors"][0]["code"]

    log = "/rest/v1/activities"
    assert code("GET", "/rest/v1/leads.json", headers={"authorization": "x"}) == (200, "601")
    assert code("GET", "/rest/v1/nowhere.json") == (200, "610")
    assert code("GET", f"{log}.json") == (200, "1002")
    assert code("GET", f"{log}.json?activityTypeIds=1,2,6,7,8,9,10,11,12,13,32") == (200, "1003")
    assert code("GET", f"{log}.json?activityTypeIds=10&nextPageToken=made-up") == (200, "1003")
    assert code("GET", f"{log}/pagingtoken.json?sinceDatetime=yesterday") == (200, "704")
    many = ",".join(map(str, range(301)))
    assert code("GET", f"/rest/v1/leads.json?filterType=id&filterValues={many}") == (200, "1003")
    assert code("GET", "/rest/v1/leads.json?filterType=id&filterValues=1&fields=shoe") == (
        200,
        "1006",
    )
    span = {"startAt": "2026-01-01T00:00:00Z", "endAt": "2026-03-01T00:00:00Z"}
    job = {"fields": ["id"], "filter": {"createdAt": span}}
    assert code("POST", "/bulk/v1/leads/export/create.json", json=job) == (200, "1003")
    long = "1" * 9_000
    assert marketo.get(f"/marketo/rest/v1/leads.json?filterValues={long}").status_code == 414
    wrong = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}
    assert marketo.get("/marketo/identity/oauth/token", params=wrong).status_code == 401


def test_a_batch_of_leads_says_of_each_what_became_of_it(marketo: httpx.Client) -> None:
    def sync(action: str, *rows: dict[str, Any], lookup: str = "email") -> list[str]:
        body = {"action": action, "lookupField": lookup, "input": list(rows)}
        result = marketo.post("/marketo/rest/v1/leads.json", json=body).json()["result"]
        return [
            row.get("status") + (row.get("reasons") or [{"code": ""}])[0]["code"] for row in result
        ]

    new = {"email": "new@x.example", "firstName": "New"}
    assert sync("createOnly", new, new, {"email": "a@x.example", "shoe": 42}) == [
        "created", "skipped1005", "skipped1006",
    ]  # fmt: skip
    assert sync("createOrUpdate", {**new, "title": "CTO"}, {"firstName": "Nobody"}) == [
        "updated", "skipped1002",
    ]  # fmt: skip
    assert sync("updateOnly", {"id": 1}, lookup="id") == ["skipped1004"]
    faults = {"kind": "partial", "path_prefix": "/marketo/rest/v1/leads.json", "error": "1077"}
    marketo.post("/sandbox/faults", json=faults).raise_for_status()
    other = {"email": "other@x.example"}
    assert sync("createOrUpdate", {**new, "title": "CEO"}, other) == ["updated", "skipped1077"]


# ---- polling it ---------------------------------------------------------------------------------


def test_an_exported_lead_and_a_changed_one_are_told_alike(
    running: str, marketo: httpx.Client, world: World, tmp_path: Path
) -> None:
    exported = extracted(running, tmp_path, "leads")
    assert set(exported) == {str(row["id"]) for row in world.marketo["leads"]}
    settings = settings_at(running, tmp_path)
    since = (ANCHOR - timedelta(days=119)).isoformat()
    changed = {
        row.record_id: row.payload
        for page in source.extract("leads", since, settings)
        for row in page
    }
    assert changed == {lead_id: row.payload for lead_id, row in exported.items()}


@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        ({"status": 401}, []),
        ({"status": 429}, [20.0]),
        ({"status": 503, "error": "602"}, []),
        ({"status": 503, "error": "615"}, [0.25]),
        ({"status": 503, "retry_after": 7}, [7.0]),
        ({"kind": "malformed"}, [0.25]),
        ({"kind": "reset"}, [0.25]),
    ],
)
def test_a_poll_outlasts_what_passes(
    running: str,
    marketo: httpx.Client,
    world: World,
    tmp_path: Path,
    waits: list[float],
    fault: dict[str, Any],
    waited: list[float],
) -> None:
    path = "/marketo/rest/v1/activities.json"
    marketo.post("/sandbox/faults", json={"path_prefix": path, **fault}).raise_for_status()
    found = extracted(running, tmp_path, "activities")
    assert len(found) == world.counts()["marketo.activities"]
    assert waits == waited


def test_a_quota_that_is_spent_keeps_what_came_before(
    running: str, marketo: httpx.Client, world: World, tmp_path: Path
) -> None:
    settings = settings_at(running, tmp_path)
    path = "/marketo/rest/v1/activities.json"
    fault = {"path_prefix": path, "status": 503, "error": "607", "times": None}
    marketo.post("/sandbox/faults", json=fault).raise_for_status()
    with pytest.raises(HandoffError) as error:
        poll(settings, "marketo")
    assert error.value.code == "QUOTA_EXHAUSTED"
    marketo.delete("/sandbox/faults").raise_for_status()
    # The other resources had landed; now the log comes too.
    assert set(poll(settings, "marketo").rows) == {"activities"}


def test_changes_merges_and_deletions_reach_the_people_and_what_a_webhook_told_counts_once(
    running: str,
    marketo: httpx.Client,
    world: World,
    open_warehouse: Callable[..., Any],
) -> None:
    warehouse = open_warehouse()
    fields = settings_at(running, warehouse.settings.home)
    poll(fields, "marketo")
    warehouse.transform(NOW)
    first = [row["id"] for row in world.marketo["leads"]]
    changed, winner, loser, deleted = first[10], first[11], first[12], first[13]
    people = dict(
        warehouse.rows(
            "select record_id, person_id from marts.entity_map where system = 'marketo' and is_current"
        )
    )
    assert people[str(winner)] != people[str(loser)]

    update = {"id": changed, "title": "Chief Tester", "unsubscribed": True}
    body = {"action": "updateOnly", "lookupField": "id", "input": [update]}
    for path, sent in (
        ("leads.json", body),
        (f"leads/{winner}/merge.json?leadIds={loser}", None),
        ("leads/delete.json", {"input": [{"id": deleted}]}),
    ):
        answer = marketo.post(f"/marketo/rest/v1/{path}", json=sent)
        assert answer.json()["success"], answer.text
    # The webhook tells of the same lead and of an activity that the poll has told of.
    known = next(row for row in world.marketo["log"] if row["activityTypeId"] == 10)
    delivery = {
        "event": "activity", "munchkin_id": "123-ABC-456", "occurred_at": known["activityDate"],
        "lead": {"id": known["leadId"]}, "activity_type": "Open Email",
        "activity_id": known["marketoGUID"],
    }  # fmt: skip
    ahead = NOW + timedelta(minutes=30)
    updated = {
        "event": "lead.updated", "munchkin_id": "123-ABC-456", "occurred_at": ahead.isoformat(),
        "lead": {"id": changed, "phone": "+49 30 1234567"},
    }  # fmt: skip
    for told in (delivery, updated):
        warehouse.append(webhook.to_events(json.dumps(told).encode(), NOW))

    assert poll(fields, "marketo").rows == {"leads": 1, "deleted_leads": 1, "activities": 1}
    assert not warehouse.transform(NOW + timedelta(hours=1)).is_full_refresh

    records = {
        row["record_id"]: row
        for row in warehouse.records(
            "select record_id, person_id, is_deleted from marts.entity_map where system = 'marketo' and is_current"
        )
    }
    assert len(records) == len(people)
    assert records[str(winner)]["person_id"] == records[str(loser)]["person_id"]
    before = {str(row["leadId"]) for row in world.marketo["log"] if row["activityTypeId"] == 37} | {
        str(lead)
        for row in world.marketo["log"]
        if row["activityTypeId"] == 32
        for lead in row["attributes"][1]["value"]
    }
    assert {lead for lead, row in records.items() if row["is_deleted"]} == before | {
        str(deleted),
        str(loser),
    }
    [(title, phone)] = warehouse.rows(
        "select job_title, phone from intermediate.int_contacts__current "
        f"where system = 'marketo' and record_id = '{changed}'"
    )
    assert (title, phone) == ("Chief Tester", "+49 30 1234567")
    [(withdrawn,)] = warehouse.rows(
        "select count(*) from intermediate.int_consents__versions where system = 'marketo' "
        f"and record_id = '{changed}' and channel = 'email' and status = 'withdrawn'"
    )
    assert withdrawn == 1
    opened = Counter(row["activityTypeId"] for row in world.marketo["log"])[10]
    assert warehouse.rows(
        "select count(*) from marts.fct_activities where system = 'marketo' and activity_type = 'email_open'"
    ) == [(opened,)]


# ---- real exports, as Marketo would answer them -------------------------------------------------

# Table of the export -> type of the log, and what else of a row is its attribute.
LOGGED = {
    "send_email": 6, "email_delivered": 7, "email_bounced": 8, "unsubscribe_email": 9,
    "open_email": 10, "click_email": 11, "change_data_value": 13, "merge_leads": 32, "delete_lead": 37,
}  # fmt: skip
ATTRIBUTES = {
    "link": "Link", "merge_ids": "Merge IDs", "master_updated": "Master Updated", "details": "Details",
    "action_result": "Action Result", "referrer_url": "Referrer URL", "query_parameters": "Query Parameters",
}  # fmt: skip


@pytest.fixture(scope="module")
def exports(shared_data: Path) -> dict[str, list[dict[str, str]]]:
    found = {}
    for path in sorted((shared_data / "marketo").glob("marketo_*_data.csv")):
        table = (
            path.name.removeprefix("marketo_").removesuffix("_data.csv").removeprefix("activity_")
        )
        with path.open(encoding="utf-8-sig", newline="") as rows:
            found[table] = list(csv.DictReader(rows))
    return found


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=UTC)


def as_marketo_has_it(exports: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, Any]]]:
    def stamp(text: str) -> str:
        return instant(text).strftime("%Y-%m-%dT%H:%M:%SZ")

    leads = [
        {
            "id": int(row["id"]), "createdAt": stamp(row["created_at"]),
            "updatedAt": stamp(row["updated_at"]), "email": row["email"],
            "firstName": row["first_name"], "lastName": row["last_name"], "unsubscribed": False,
        }
        for row in exports["lead"]
    ]  # fmt: skip
    log = []
    for table, kind in LOGGED.items():
        for row in exports[table]:
            at, lead = instant(row["activity_date"]), int(row["lead_id"])
            told = {name: row[column] for column, name in ATTRIBUTES.items() if row.get(column)}
            campaign = int(row["campaign_id"]) if row["campaign_id"] else None
            made = activity(kind, lead, at, told, campaign, row["primary_attribute_value"])
            if table == "change_data_value":
                made = changed_value(
                    lead, at, row["primary_attribute_value"], row["old_value"], row["new_value"], ""
                )
            log.append({**made, "id": int(row["id"]), "marketoGUID": row["id"]})
    programs = [
        {
            "id": int(row["id"]), "name": row["name"], "channel": row["channel"], "type": row["type"],
            "createdAt": stamp(row["created_at"]) + "+0000",
            "updatedAt": stamp(row["updated_at"]) + "+0000", "costs": None,
        }
        for row in exports["program"]
    ]  # fmt: skip
    campaigns = [
        {
            "id": int(row["id"]), "name": row["name"],
            **({"programId": int(row["program_id"])} if row["program_id"] else {}),
        }
        for row in exports["campaign"]
    ]  # fmt: skip
    log.sort(key=lambda row: (row["activityDate"], row["id"]))
    return {"leads": leads, "log": log, "programs": programs, "campaigns": campaigns}


def test_every_row_of_the_exports_lands_and_is_what_it_is(
    exports: dict[str, list[dict[str, str]]],
    world: World,
    open_warehouse: Callable[..., Any],
) -> None:
    warehouse = open_warehouse()
    real = replace(world, marketo=as_marketo_has_it(exports))
    count = {table: len(rows) for table, rows in exports.items()}
    with served(create_app(7, ANCHOR, world=real)) as url:
        earliest = min(instant(row["created_at"]) for row in exports["lead"])
        settings = settings_at(
            url,
            warehouse.settings.home,
            marketo_lookback_days=(datetime.now(UTC) - earliest).days + 1,
        )
        landed = poll(settings, "marketo").rows
        # Changes of values name leads of which the export has few; those it has are read again, and
        # are known.
        changed = [
            row.record_id
            for page in source.extract("leads", earliest.isoformat(), settings)
            for row in page
        ]
    there = {row["id"] for row in exports["lead"]}
    assert set(changed) == set()
    assert not any(
        row["primary_attribute_value"] in source.LEAD_FIELDS for row in exports["change_data_value"]
    )
    told = set(LOGGED) - {"change_data_value", "delete_lead"}
    assert landed == {
        "leads": len(there),
        "deleted_leads": count["delete_lead"],
        "activities": sum(count[table] for table in told),
        "programs": count["program"],
    }
    warehouse.transform(NOW)

    # What people did, but for the two e-mails that were skipped.
    skipped = sum(row["action_result"] == "skipped" for row in exports["send_email"])
    assert dict(
        warehouse.rows(
            "select activity_type, count(*) from marts.fct_activities where system = 'marketo' group by all"
        )
    ) == {
        "email_open": count["open_email"],
        "email_click": count["click_email"],
        "email_sent": count["send_email"] - skipped,
    }
    # What nobody did stays where it landed.
    silent = dict(
        warehouse.rows(
            "select json_extract_string(payload, '$.activityType'), count(*) from raw_marketo.activities "
            "where record_id not in (select system_activity_id from intermediate.int_activities__unioned) group by all"
        )
    )
    assert silent == {
        "Email Delivered": count["email_delivered"],
        "Email Bounced": count["email_bounced"],
        "Unsubscribe Email": count["unsubscribe_email"],
        "Merge Leads": count["merge_leads"],
        "Send Email": skipped,
    }
    merged = {
        (row["lead_id"], lead.strip())
        for row in exports["merge_leads"]
        for lead in row["merge_ids"].strip("[]").split(",")
        if lead.strip()
    }
    assert (
        set(
            warehouse.rows(
                "select surviving_id, merged_id from intermediate.int_identity__merges_unioned"
            )
        )
        == merged
    )
    people = dict(
        warehouse.rows(
            "select record_id, person_id from marts.entity_map where system = 'marketo' and is_current"
        )
    )
    assert all(people[winner] == people[loser] for winner, loser in merged)
    assert there <= set(people)
    gone = {row["lead_id"] for row in exports["delete_lead"]} | {loser for _, loser in merged}
    assert {
        lead
        for (lead,) in warehouse.rows(
            "select record_id from marts.entity_map where system = 'marketo' and is_current and is_deleted"
        )
    } == gone
    assert warehouse.rows(
        "select count(*) from marts.fct_consents where system = 'marketo' and status = 'withdrawn'"
    ) == [(count["unsubscribe_email"],)]
    assert warehouse.rows("select count(*) from marts.dim_campaigns where system = 'marketo'") == [
        (count["program"],)
    ]
    programs = {row["id"]: row["program_id"] for row in exports["campaign"] if row["program_id"]}
    wanted = Counter(programs.get(row["campaign_id"]) for row in exports["open_email"])
    found = dict(
        warehouse.rows(
            "select campaign_id, count(*) from marts.fct_activities where activity_type = 'email_open' group by all"
        )
    )
    assert found == wanted
