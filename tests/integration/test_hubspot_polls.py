"""What HubSpot's polls bring over HTTP beside contacts and companies: deals, merges, engagements, e-mail
log, forms, within the limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ingestion.connectors import catalog
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.hubspot import crm_objects, email_log
from ingestion.errors.catalog import HandoffError
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens, environment
from ingestion.settings import Settings
from tests.serving import served

ANCHOR = datetime(2026, 4, 1, tzinfo=UTC)
AUTHORISED = {"authorization": f"Bearer {Tokens().hubspot_token}"}


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(7, ANCHOR)


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as url:
        yield url


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Iterator[Settings]:
    httpx.post(f"{url}/sandbox/reset", trust_env=False)
    fields = {
        name.removeprefix("HANDOFF_").lower(): value for name, value in environment(url).items()
    }
    yield Settings(home=tmp_path, **fields)
    httpx.post(f"{url}/sandbox/reset", trust_env=False)


def polled(settings: Settings, resource: str, since: datetime | None = None) -> list[Extracted]:
    asked = None if since is None else since.isoformat()
    pages = list(catalog.source("hubspot").extract(resource, asked, settings))
    rows = [row for page in pages for row in page]
    assert [row.updated_at for row in rows] == sorted(row.updated_at for row in rows)
    return rows


def test_a_deal_comes_with_its_stages_and_whose_it_is(
    settings: Settings, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages of three, so that each of the calls is made more than once.
    for name in ("SEARCH_PAGE", "HISTORY_PAGE", "ASSOCIATIONS_PAGE"):
        monkeypatch.setattr(crm_objects, name, 3)
    deals = {row.record_id: row.payload for row in polled(settings, "deals")}
    world = app.state.world
    assert len(deals) == len(world.hubspot["deals"]) > 3
    for row in world.hubspot["deals"]:
        told = deals[row["id"]]
        history = told["propertiesWithHistory"]["dealstage"]
        assert history == row["propertiesWithHistory"]["dealstage"]
        assert history[0]["value"] == told["properties"]["dealstage"]
        for other in ("contacts", "companies"):
            wanted = world.hubspot_associations["deals", row["id"], other]
            assert [each["id"] for each in told["associations"][other]["results"]] == wanted


def test_a_merge_moves_everything_to_the_contact_that_others_became(
    settings: Settings, url: str, app: FastAPI
) -> None:
    before = {row.record_id for row in polled(settings, "contacts")}
    answer = httpx.post(
        f"{url}/sandbox/personas/duplicate/act", json={"action": "merge"}, trust_env=False
    )
    assert answer.status_code < 300, answer.text
    after = {row.record_id: row.payload["properties"] for row in polled(settings, "contacts")}
    (survivor,) = after.keys() - before
    gone = before - after.keys()
    assert len(gone) == 2
    assert set(after[survivor]["hs_merged_object_ids"].split(";")) == gone
    audit = dict(
        pair.split(":") for pair in after[survivor]["hs_calculated_merged_vids"].split(";")
    )
    assert audit.keys() == gone
    assert all(int(stamp) > ANCHOR.timestamp() * 1_000 for stamp in audit.values())
    for old in gone:
        path = f"{url}/hubspot/crm/objects/2026-03/contacts/{old}"
        found = httpx.get(path, headers=AUTHORISED, trust_env=False).json()
        assert found["id"] == survivor


def test_engagements_come_with_their_contacts_and_only_news_afterwards(
    settings: Settings, app: FastAPI
) -> None:
    world = app.state.world
    for kind in crm_objects.ENGAGEMENTS:
        rows = polled(settings, kind)
        assert {row.record_id for row in rows} == {row["id"] for row in world.hubspot[kind]}
        assert rows
        for row in rows:
            contacts = row.payload["associations"]["contacts"]["results"]
            wanted = world.hubspot_associations[kind, row.record_id, "contacts"]
            assert [each["id"] for each in contacts] == wanted
        middle = rows[len(rows) // 2].updated_at
        news = {row.record_id for row in polled(settings, kind, middle)}
        assert news == {row.record_id for row in rows if row.updated_at >= middle}


def test_the_e_mail_log_comes_oldest_first_in_windows_of_bounded_size(
    settings: Settings, app: FastAPI, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(email_log, "PAGE", 200)
    monkeypatch.setattr(email_log, "WINDOW_EVENTS", 600)
    monkeypatch.setattr(
        "ingestion.connectors.hubspot.source.datetime",
        type("At", (datetime,), {"now": classmethod(lambda cls, tz: ANCHOR)}),
    )
    log = app.state.world.hubspot["email_events"]
    rows = polled(settings, "email_events")
    assert [row.record_id for row in rows] == [
        row["id"] for row in sorted(log, key=lambda row: (row["created"], row["id"]))
    ]
    holders = {
        row["properties"]["email"].lower(): row["id"] for row in app.state.world.hubspot["contacts"]
    }
    for row in rows:
        assert row.payload["contactId"] == holders.get(row.payload["recipient"].lower())
    since = ANCHOR - timedelta(days=10)
    late = polled(settings, "email_events", since)
    assert {row.record_id for row in late} == {
        row["id"] for row in log if row["created"] >= since.timestamp() * 1_000
    }


def test_submissions_of_all_forms_come_in_one_order(settings: Settings, app: FastAPI) -> None:
    submissions = app.state.world.hubspot["form_submissions"]
    rows = polled(settings, "form_submissions")
    assert sorted(row.record_id for row in rows) == sorted(
        row["conversionId"] for row in submissions
    )
    assert {row.payload["formId"] for row in rows} == {
        row.record_id for row in polled(settings, "forms")
    }
    assert all(row.payload["contactId"] for row in rows)
    since = ANCHOR - timedelta(days=20)
    late = polled(settings, "form_submissions", since)
    assert {row.record_id for row in late} == {
        row["conversionId"] for row in submissions if row["submittedAt"] >= since.timestamp() * 1e3
    }
    assert 0 < len(late) < len(rows)


def test_a_batch_that_fails_in_part_is_no_answer(settings: Settings, url: str) -> None:
    fault = {"kind": "partial", "path_prefix": "/hubspot/crm/objects", "error": "INTERNAL_ERROR"}
    httpx.post(f"{url}/sandbox/faults", json=fault, trust_env=False).raise_for_status()
    with pytest.raises(HandoffError, match="a part of the batch failed: INTERNAL_ERROR"):
        polled(settings, "deals")


def test_polls_one_after_another_stay_within_five_searches_a_second(
    settings: Settings, url: str
) -> None:
    seen = len(_requests(url))
    started = time.monotonic()
    for kind in ("contacts", "companies", "deals", "calls"):
        polled(settings, kind)
    assert time.monotonic() - started >= 1.0
    # On a busy machine one may arrive late enough to make the sixth after it early.
    assert [row["status"] for row in _requests(url)[seen:]].count(429) <= 1


def test_the_end_of_the_day_s_requests_is_named_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.REQUESTS_A_DAY", 0)
    with pytest.raises(HandoffError) as caught:
        polled(settings, "owners")
    assert caught.value.code == "QUOTA_EXHAUSTED"
    assert "requests for today are used up" in caught.value.message


def test_a_used_up_interval_makes_the_next_request_wait(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled(settings, "owners")
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.INTERVAL_SECONDS", 0.6)
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.REQUESTS_AN_INTERVAL", 4)
    started = time.monotonic()
    for _ in range(4):
        polled(settings, "owners")
    # Eight requests, four of which an interval holds: refused by nobody, as nobody asked too early.
    assert time.monotonic() - started >= 0.6


def _requests(url: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{url}/sandbox/requests", params={"path_prefix": "/hubspot"}, trust_env=False
    )
    return list(answer.json()["requests"])
