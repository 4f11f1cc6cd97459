"""Salesforce's rows by REST pages and by bulk jobs, and the org's limits, over HTTP against the
sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ingestion.connectors import catalog, polling
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.salesforce import bulk, client
from ingestion.errors.catalog import HandoffError
from ingestion.landing.denied import denied
from ingestion.landing.polls import poll
from ingestion.sandbox import salesforce as vendor
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens, environment
from ingestion.sandbox.traffic import Switchboard
from ingestion.settings import Settings
from tests.serving import served

ANCHOR = datetime(2026, 4, 1, tzinfo=UTC)


class Org:
    """The simulated org, and settings that point at it."""

    def __init__(self, url: str, app: FastAPI) -> None:
        self.url = url
        self.api: vendor.SalesforceApi = app.state.salesforce
        self.switchboard: Switchboard = app.state.switchboard
        self.world = app.state.world

    def settings(self, home: Path, **changes: Any) -> Settings:
        fields = {
            name.removeprefix("HANDOFF_").lower(): value
            for name, value in environment(self.url).items()
        }
        return Settings(home=home, **{**fields, **changes})

    def read(self, resource: str, settings: Settings, since: str | None = None) -> list[Extracted]:
        pages = catalog.source("salesforce").extract(resource, since, settings)
        return [row for page in pages for row in page]


@pytest.fixture(scope="module")
def running() -> Iterator[Org]:
    app = create_app(7, ANCHOR)
    with served(app) as url:
        yield Org(url, app)


@pytest.fixture
def org(running: Org) -> Iterator[Org]:
    yield running
    running.api.bulk.jobs.clear()
    running.api.bulk.query_error = None
    running.api.bulk.looks_until_done = 2
    running.api.calls = 0


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are recorded instead of slept."""
    slept: list[float] = []
    monkeypatch.setattr(polling.Session.__init__, "__defaults__", (slept.append,))
    return slept


@pytest.fixture
def odd(org: Org) -> Iterator[str]:
    """A contact with everything CSV has to escape."""
    rep = Tokens().salesforce_rep_token
    import httpx

    base = f"{org.url}/salesforce/services/data/v62.0/sobjects/Contact"
    with httpx.Client(headers={"authorization": f"Bearer {rep}"}, trust_env=False) as http:
        values = {
            "LastName": 'O"Brien, Jr.',
            "Title": 'Head of\r\nDemand, "growth"\n',
            "Description": "null",
            "MailingCity": "Zürich 東京",
            "Handoff_Score__c": 12.5,
            "DoNotCall": True,
        }
        yield str(http.post(base, json=values).raise_for_status().json()["id"])
    org.api.store.reset()


@pytest.mark.parametrize("resource", catalog.source("salesforce").RESOURCES)
def test_a_bulk_query_gives_the_rows_of_the_rest_api(
    org: Org, odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resource: str
) -> None:
    monkeypatch.setattr(bulk, "PAGE_ROWS", 17)
    by_rest = org.read(resource, org.settings(tmp_path, salesforce_bulk_rows=0))
    created = org.api.bulk._count
    by_bulk = org.read(resource, org.settings(tmp_path, salesforce_bulk_rows=1))
    assert org.api.bulk._count == created + 1
    assert by_bulk == by_rest != []
    assert all(one.updated_at <= two.updated_at for one, two in pairwise(by_bulk))
    if resource == "contacts":
        (found,) = [row.payload for row in by_bulk if row.record_id == odd]
        assert found["Title"] == 'Head of\r\nDemand, "growth"\n'
        assert found["Handoff_Score__c"] == 12.5 and found["DoNotCall"] is True
        assert found["Phone"] is None
    # What was read is not kept there.
    assert org.api.bulk.jobs == {}


def test_few_rows_come_by_rest_and_many_by_bulk_also_when_it_is_not_the_first_time(
    org: Org, tmp_path: Path
) -> None:
    leads = len(org.world.salesforce["Lead"])
    for rows, since, jobs in (
        (leads + 1, None, 0),
        (leads, None, 1),
        (leads + 1, "2020-01-01T00:00:00Z", 0),
        (leads, "2020-01-01T00:00:00Z", 1),
    ):
        before = org.api.bulk._count
        found = org.read("leads", org.settings(tmp_path, salesforce_bulk_rows=rows), since)
        assert len(found) == leads
        assert org.api.bulk._count - before == jobs, (rows, since)


def test_a_job_is_waited_for_with_growing_pauses(
    org: Org, tmp_path: Path, waits: list[float]
) -> None:
    org.api.bulk.looks_until_done = 8
    assert org.read("users", org.settings(tmp_path, salesforce_bulk_rows=1))
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_job_that_fails_says_why_and_is_deleted(org: Org, tmp_path: Path) -> None:
    org.api.bulk.query_error = "QUERY_TIMEOUT: Your query request was running for too long."
    with pytest.raises(HandoffError, match="ended as Failed: QUERY_TIMEOUT") as caught:
        org.read("leads", org.settings(tmp_path, salesforce_bulk_rows=1))
    assert caught.value.code == "UPSTREAM_REJECTED"
    assert "HANDOFF_SALESFORCE_BULK_ROWS=0" in caught.value.remedy
    assert org.api.bulk.jobs == {}


def test_an_interrupt_while_a_job_runs_leaves_no_job_behind(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aborted: list[str] = []
    whole = org.api.bulk._abort

    def abort(job: Any, given: Any) -> Any:
        aborted.append(job.state)
        return whole(job, given)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(org.api.bulk, "_abort", abort)
    monkeypatch.setattr(polling.Session.__init__, "__defaults__", (interrupt,))
    with pytest.raises(KeyboardInterrupt):
        org.read("leads", org.settings(tmp_path, salesforce_bulk_rows=1))
    assert aborted == ["UploadComplete"]
    assert org.api.bulk.jobs == {}


def test_a_caller_that_stops_between_pages_leaves_no_job_behind(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE_ROWS", 10)
    settings = org.settings(tmp_path, salesforce_bulk_rows=1)
    pages = catalog.source("salesforce").extract("leads", None, settings)
    assert len(next(iter(pages))) == 10
    assert len(org.api.bulk.jobs) == 1
    pages.close()  # type: ignore[attr-defined]
    assert org.api.bulk.jobs == {}


def test_rows_that_a_dropped_header_hides_are_missed_and_reported(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = org.api.bulk._results

    def without_locator(*given: Any) -> Any:
        answer = whole(*given)
        answer.headers.pop("Sforce-Locator")
        return answer

    monkeypatch.setattr(bulk, "PAGE_ROWS", 10)
    monkeypatch.setattr(org.api.bulk, "_results", without_locator)
    with pytest.raises(HandoffError, match=r"found \d+ rows and gave 10") as caught:
        org.read("leads", org.settings(tmp_path, salesforce_bulk_rows=1))
    assert caught.value.code == "UPSTREAM_UNAVAILABLE"


def test_a_session_that_expires_is_renewed_once_for_each_request(org: Org, tmp_path: Path) -> None:
    faults = org.switchboard.faults
    faults.clear()
    import httpx

    for path in ("jobs/query", "sobjects/Lead/describe"):
        httpx.post(
            f"{org.url}/sandbox/faults",
            json={
                "path_prefix": f"/salesforce/services/data/v62.0/{path}", "status": 401, "times": 1,
            },
            trust_env=False,
        ).raise_for_status()  # fmt: skip
    leads = len(org.world.salesforce["Lead"])
    assert len(org.read("leads", org.settings(tmp_path, salesforce_bulk_rows=1))) == leads
    httpx.post(f"{org.url}/sandbox/reset", trust_env=False).raise_for_status()


def test_polls_stop_before_the_calls_of_the_org_are_used_up(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "DAILY_CALLS", 1_000)
    org.api.calls = 899
    settings = org.settings(tmp_path, salesforce_usage_percent=90)
    with pytest.raises(HandoffError, match="900 of the org's 1000 API calls") as caught:
        org.read("leads", settings)
    assert caught.value.code == "QUOTA_EXHAUSTED"
    assert "HANDOFF_SALESFORCE_USAGE_PERCENT" in caught.value.remedy
    # The answer that said so is the last request.
    assert org.api.calls == 900
    assert org.read("leads", org.settings(tmp_path, salesforce_usage_percent=95))


def test_used_up_calls_are_a_limit_and_no_missing_permission(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "DAILY_CALLS", 1_000)
    org.api.calls = 1_000
    with pytest.raises(HandoffError, match="REQUEST_LIMIT_EXCEEDED: TotalRequests") as caught:
        org.read("leads", org.settings(tmp_path, salesforce_usage_percent=100))
    assert caught.value.code == "RATE_LIMITED"


def test_too_many_long_calls_at_once_are_waited_for(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    refusals = iter([True, True])
    whole = org.api._check_version

    def busy(version: str) -> None:
        whole(version)
        if next(refusals, False):
            raise vendor.ApiError(
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            )

    monkeypatch.setattr(org.api, "_check_version", busy)
    assert org.read("users", org.settings(tmp_path))
    assert waits == list(client.CONCURRENT_WAITS_SECONDS[:2])


def test_an_object_the_user_may_not_see_is_named_and_the_others_are_read(
    org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = vendor._sobject

    def hidden(name: str) -> str:
        if name == "Campaign":
            raise vendor.ApiError("NOT_FOUND", "The requested resource does not exist")
        return whole(name)

    monkeypatch.setattr(vendor, "_sobject", hidden)
    poll(org.settings(tmp_path), "salesforce")
    told = denied(org.settings(tmp_path), "salesforce")
    assert set(told) == {"campaigns"} and "sees no object Campaign" in told["campaigns"]
    assert "campaign_members" in poll_counts(org.settings(tmp_path))


def poll_counts(settings: Settings) -> set[str]:
    """Resources the archive has rows of."""
    folder = settings.archive_dir / "salesforce"
    return {each.name for each in folder.iterdir() if any(each.glob("*.parquet"))}
