"""Polling the sandbox over HTTP: everything once, only news afterwards, whatever the other side
answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import structlog.testing
from fastapi import FastAPI

from ingestion.connectors import catalog, polling
from ingestion.connectors.extracted import Extracted
from ingestion.connectors.marketo import limits
from ingestion.errors.catalog import HandoffError
from ingestion.landing import warehouse
from ingestion.landing.denied import denied
from ingestion.landing.polls import configured_systems, land_archive, poll
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import Tokens, environment
from ingestion.settings import Settings
from orchestration.doctor import examine
from orchestration.polling import answer_of
from tests.serving import served

ANCHOR = datetime(2026, 4, 1, tzinfo=UTC)
COUNTS = {
    "hubspot": set(catalog.source("hubspot").RESOURCES),
    "salesforce": {
        "leads", "contacts", "accounts", "opportunities", "users", "tasks",
        "opportunity_contact_roles", "opportunity_history", "events", "campaigns",
        "campaign_members",
    },
    "calendar": {"events"},
    "marketo": {"leads", "deleted_leads", "activities", "programs"},
    "calendly": {"organization_memberships", "invitees"},
    "calcom": {"bookings"},
}  # fmt: skip


@dataclass(frozen=True)
class Sandbox:
    url: str
    app: FastAPI

    def settings(self, home: Path, **changes: Any) -> Settings:
        fields = {
            name.removeprefix("HANDOFF_").lower(): value
            for name, value in environment(self.url).items()
        }
        # The company's history ends at a fixed day, however long ago that is.
        since = (datetime.now(UTC) - ANCHOR).days + 125
        return Settings(home=home, **{**fields, "marketo_lookback_days": since, **changes})

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.url}/sandbox/faults", json=fault, trust_env=False).raise_for_status()

    def requests(self, prefix: str) -> list[dict[str, Any]]:
        answer = httpx.get(
            f"{self.url}/sandbox/requests", params={"path_prefix": prefix}, trust_env=False
        )
        found: list[dict[str, Any]] = answer.json()["requests"]
        return found


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    app = create_app(7, ANCHOR)
    with served(app) as url:
        yield Sandbox(url, app)


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    httpx.post(f"{running.url}/sandbox/reset", trust_env=False)
    yield running
    httpx.post(f"{running.url}/sandbox/reset", trust_env=False)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits of retries are recorded instead of slept."""
    waits: list[float] = []
    limits.limits_of.cache_clear()
    monkeypatch.setattr(polling.time, "sleep", waits.append)
    monkeypatch.setattr(polling.Session.__init__, "__defaults__", (waits.append,))
    # Where nobody sleeps, nobody paces, and the other side must not count; test_hubspot_polls.py does.
    monkeypatch.setattr("ingestion.connectors.hubspot.source.limits_of", lambda account: None)
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.SEARCHES_A_SECOND", 1_000)
    monkeypatch.setattr("ingestion.sandbox.hubspot_limits.REQUESTS_AN_INTERVAL", 100_000)
    return waits


def table_counts(settings: Settings, system: str) -> dict[str, int]:
    connection = warehouse.connect(settings)
    try:
        return {
            resource: connection.execute(
                f"select count(*) from raw_{system}.{resource}"
            ).fetchall()[0][0]
            for resource in COUNTS[system]
        }
    finally:
        connection.close()


@pytest.mark.parametrize("system", sorted(COUNTS))
def test_a_system_lands_whole_and_a_second_poll_adds_nothing(
    sandbox: Sandbox, tmp_path: Path, system: str
) -> None:
    settings = sandbox.settings(tmp_path)
    wanted = {
        name.partition(".")[2]: count
        for name, count in sandbox.app.state.world.counts().items()
        if name.startswith(system)
    }
    first = poll(settings, system)
    assert set(first.rows) == COUNTS[system]
    assert sorted(first.rows.values()) == sorted(wanted.values())
    assert table_counts(settings, system) == first.rows
    assert poll(settings, system).rows == {}
    assert table_counts(settings, system) == first.rows


def test_a_deleted_warehouse_is_rebuilt_from_the_archive_alone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = sandbox.settings(tmp_path)
    first = poll(settings, "hubspot")
    settings.warehouse_path.unlink()
    before = len(sandbox.requests("/hubspot"))
    assert land_archive(settings, "hubspot").rows == first.rows
    assert land_archive(settings, "hubspot").rows == {}
    assert len(sandbox.requests("/hubspot")) == before


def test_only_what_changed_is_fetched_and_deletions_come_too(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = sandbox.settings(tmp_path)
    poll(settings, "salesforce")
    base = f"{sandbox.url}/salesforce/services/data/v62.0/sobjects/Lead"
    headers = {"authorization": f"Bearer {Tokens().salesforce_token}"}
    connection = warehouse.connect(settings)
    query = "select record_id from raw_salesforce.leads where not is_deleted order by 1 limit 2"
    changed, deleted = [row[0] for row in connection.execute(query).fetchall()]
    connection.close()
    with httpx.Client(headers=headers, trust_env=False) as client:
        client.patch(f"{base}/{changed}", json={"Title": "Chief Tester"}).raise_for_status()
        client.delete(f"{base}/{deleted}").raise_for_status()
    assert poll(settings, "salesforce").rows == {"leads": 2}
    connection = warehouse.connect(settings)
    newest = connection.execute(
        "select record_id, is_deleted, json_extract_string(payload, '$.Title')"
        " from raw_salesforce.leads"
        " qualify row_number() over (partition by record_id order by updated_at desc) = 1"
        " and record_id in (?, ?) order by 1",
        [changed, deleted],
    ).fetchall()
    connection.close()
    assert newest[0] == (changed, False, "Chief Tester")
    assert newest[1][:2] == (deleted, True)


def test_retry_after_is_waited_for_and_the_poll_goes_on(
    sandbox: Sandbox, tmp_path: Path, impatient: list[float]
) -> None:
    sandbox.fault(path_prefix="/hubspot/crm/owners", status=429, times=2, retry_after=7)
    settings = sandbox.settings(tmp_path)
    assert poll(settings, "hubspot").rows["owners"] == 9
    assert impatient == [7.0, 7.0]


def test_a_resource_that_stays_down_does_not_hold_up_the_others(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.fault(path_prefix="/hubspot/crm/owners", status=503, times=polling.ATTEMPTS)
    settings = sandbox.settings(tmp_path)
    with pytest.raises(HandoffError) as caught:
        poll(settings, "hubspot")
    assert caught.value.code == "UPSTREAM_UNAVAILABLE" and "crm/owners" in caught.value.message
    landed = table_counts(settings, "hubspot")
    assert landed["owners"] == 0 and landed["contacts"] > 0 and landed["events"] > 0
    assert poll(settings, "hubspot").rows == {"owners": 9}


def test_what_the_credentials_may_not_read_is_no_failure_and_is_said_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """HubSpot has event occurrences for Enterprise accounts only: everybody else would never have a
    batch that ends well."""
    settings = sandbox.settings(tmp_path)
    sandbox.fault(path_prefix="/hubspot/events/event-occurrences", status=403, times=2)
    with structlog.testing.capture_logs() as said:
        assert poll(settings, "hubspot").rows["contacts"] > 0
        assert poll(settings, "hubspot").rows == {}
    [warning] = said
    assert (warning["event"], warning["resource"]) == ("resource_denied", "events")
    assert "event-occurrences" in denied(settings, "hubspot")["events"]
    systems = next(each for each in examine(settings).findings if each.name == "systems")
    assert systems.state == "warning" and "hubspot's events" in systems.told
    # The scope was given meanwhile.
    assert poll(settings, "hubspot").rows["events"] > 0
    assert denied(settings, "hubspot") == {}


def test_credentials_that_may_read_nothing_fail_the_poll(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = sandbox.settings(tmp_path)
    sandbox.fault(path_prefix="/hubspot", status=403, times=1_000)
    with pytest.raises(HandoffError) as caught:
        poll(settings, "hubspot")
    assert caught.value.code == "SCOPE_DENIED" and denied(settings, "hubspot") == {}
    # Nor does that keep other systems' events from being decided on.
    told = answer_of(settings, "hubspot")
    assert told is not None and told.code == "SCOPE_DENIED"


def test_a_first_poll_of_bookings_that_breaks_off_goes_on_where_it_was(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    world = sandbox.app.state.world
    events = {row["event"]: row["scheduled_event"] for row in world.calendly["invitees"]}
    # One that began long ago and was changed last, the other way round for the next: in order of
    # their beginnings the first request would be for the newest change.
    first, *_, last = sorted(events.values(), key=lambda event: str(event["start_time"]))
    first["updated_at"], last["updated_at"] = "2026-03-01T00:00:00.000000Z", "2023-01-01T00:00:00Z"

    def asked() -> list[str]:
        paths = [row["path"] for row in sandbox.requests("/calendly/scheduled_events/")]
        return [path.rpartition("/invitees")[0].rpartition("/")[2] for path in paths]

    in_order = sorted(
        events.values(), key=lambda event: datetime.fromisoformat(event["updated_at"])
    )
    stops_at = in_order[len(in_order) // 2]["uri"].rpartition("/")[2]
    sandbox.fault(path_prefix=f"/calendly/scheduled_events/{stops_at}", status=400, times=1)
    settings = sandbox.settings(tmp_path, calendly_recheck_days=0)
    with pytest.raises(HandoffError):
        poll(settings, "calendly")
    before = asked()
    assert len(before) == len(in_order) // 2 + 1
    poll(settings, "calendly")
    again = set(asked()[len(before) :]) & set(before[:-1])
    # Changed within the overlap of what was read last, or of a group and still to come.
    assert len(again) <= 2, again
    with warehouse.connect(settings) as connection:
        landed = connection.execute(
            "select count(*), count(distinct record_id) from raw_calendly.invitees"
        ).fetchall()
    assert landed == [(len(world.calendly["invitees"]),) * 2]


def test_a_poll_that_breaks_off_between_pages_continues_without_gap_or_double(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = sandbox.settings(tmp_path)
    source = catalog.source("hubspot")
    whole = source.extract
    broken = iter([True])

    def breaking(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
        for number, page in enumerate(whole(resource, since, settings)):
            if resource == "events" and number == 2 and next(broken, False):
                raise HandoffError("UPSTREAM_UNAVAILABLE", "the line went dead")
            yield page

    monkeypatch.setattr(source, "extract", breaking)
    with pytest.raises(HandoffError, match="went dead"):
        poll(settings, "hubspot")
    assert table_counts(settings, "hubspot")["events"] == 2_000
    poll(settings, "hubspot")
    connection = warehouse.connect(settings)
    counted = connection.execute(
        "select count(*), count(distinct record_id) from raw_hubspot.events"
    ).fetchall()
    connection.close()
    total = len(sandbox.app.state.world.hubspot["events"])
    assert counted == [(total, total)]


@pytest.mark.parametrize(
    ("system", "changes"),
    [
        ("hubspot", {"hubspot_token": "wrong"}),
        ("calendar", {"calendar_token": "wrong"}),
        ("calendly", {"calendly_token": "wrong"}),
        ("calcom", {"calcom_token": "wrong"}),
        ("salesforce", {"salesforce_client_secret": "wrong"}),
    ],
)
def test_wrong_credentials_say_so(
    sandbox: Sandbox, tmp_path: Path, system: str, changes: dict[str, str]
) -> None:
    with pytest.raises(HandoffError) as caught:
        poll(sandbox.settings(tmp_path, **changes), system)
    assert caught.value.code == "AUTH_EXPIRED"


def test_an_expired_salesforce_session_is_renewed_once(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault(path_prefix="/salesforce/services/data/v62.0/queryAll", status=401, times=1)
    leads = len(sandbox.app.state.world.salesforce["Lead"])
    assert poll(sandbox.settings(tmp_path), "salesforce").rows["leads"] == leads


def test_a_system_without_an_address_is_skipped_and_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert configured_systems(settings) == ()
    with pytest.raises(HandoffError) as caught:
        poll(settings, "hubspot")
    assert caught.value.code == "SYSTEM_NOT_CONFIGURED"
    assert "HANDOFF_HUBSPOT_URL" in caught.value.message


def test_credentials_are_never_sent_over_plain_http_to_another_host(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, hubspot_url="http://crm.example.com", hubspot_token="t")  # type: ignore[arg-type]
    with pytest.raises(HandoffError, match="https only"):
        poll(settings, "hubspot")


def test_an_unknown_system_names_those_that_can_be_polled(tmp_path: Path) -> None:
    with pytest.raises(HandoffError, match="unknown system 'crmm'; known with a source: "):
        poll(Settings(home=tmp_path), "crmm")


def test_hubspot_searches_past_its_cap_even_through_one_crowded_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # HubSpot's cap is 10,000; both sides are set lower, as only its being reached matters.
    monkeypatch.setattr("ingestion.sandbox.hubspot.SEARCH_CAP", 1_000)
    monkeypatch.setattr("ingestion.connectors.hubspot.crm_objects.SEARCH_CAP", 1_000)
    app = create_app(7, ANCHOR)
    contacts = app.state.world.hubspot["contacts"]
    template = contacts[0]
    contacts.clear()
    # 300 before, 1,250 in one and the same millisecond (an import), 200 after.
    for number in range(1_750):
        offset = 0 if number < 300 else 1_000 if number < 1_550 else 2_000 + number
        changed = (ANCHOR + timedelta(milliseconds=offset)).isoformat(timespec="milliseconds")
        properties = {
            **template["properties"], "hs_object_id": str(number + 1), "lastmodifieddate": changed,
        }  # fmt: skip
        contacts.append(
            {**template, "id": str(number + 1), "properties": properties, "updatedAt": changed}
        )
    with served(app) as url:
        settings = Sandbox(url, app).settings(tmp_path)
        pages = list(catalog.source("hubspot").extract("contacts", None, settings))
    found = [row for page in pages for row in page]
    assert {row.record_id for row in found} == {str(number + 1) for number in range(1_750)}
    assert all(one.updated_at <= two.updated_at for one, two in pairwise(found))


def test_progress_names_what_is_fetched_and_what_is_landed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    seen: list[tuple[str, int]] = []
    poll(sandbox.settings(tmp_path), "calendar", lambda what, count: seen.append((what, count)))
    assert seen == [("calendar.events", 100), ("raw_calendar.events", 100)]


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"])
def test_google_s_limits_come_as_403_and_are_waited_for(
    sandbox: Sandbox, tmp_path: Path, impatient: list[float], reason: str
) -> None:
    sandbox.fault(path_prefix="/calendar", status=403, error=reason, times=2)
    assert poll(sandbox.settings(tmp_path), "calendar").rows == {"events": 100}
    assert len(impatient) == 2
    sandbox.fault(path_prefix="/calendar", status=403, error=reason, times=50)
    with pytest.raises(HandoffError) as refused:
        poll(sandbox.settings(tmp_path), "calendar")
    assert refused.value.code == "RATE_LIMITED"


def test_a_403_that_is_no_limit_is_a_lack_of_rights(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fault(path_prefix="/calendar", status=403, error="insufficientPermissions", times=1)
    with pytest.raises(HandoffError) as refused:
        poll(sandbox.settings(tmp_path), "calendar")
    assert refused.value.code == "SCOPE_DENIED"


def test_google_calendars_say_when_a_rep_is_taken(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = sandbox.settings(tmp_path)
    source = catalog.busy("calendar")
    start, end = ANCHOR - timedelta(days=40), ANCHOR + timedelta(days=40)
    found = source.busy(settings, [], start, end)
    pages = list(catalog.source("calendar").extract("events", None, settings))
    events = [row.payload for page in pages for row in page if not row.is_deleted]
    taken = [
        (one["calendarId"], datetime.fromisoformat(one["start"]["dateTime"]), datetime.fromisoformat(one["end"]["dateTime"]))
        for one in events
    ]  # fmt: skip
    for calendar in {one.calendar for one in found}:
        for hour in range(80 * 24):
            at = start + timedelta(hours=hour, minutes=15)
            expected = any(name == calendar and first <= at < last for name, first, last in taken)
            assert expected == any(
                one.calendar == calendar and one.start <= at < one.end for one in found
            ), (calendar, at)
    assert {name for name, first, last in taken if first < end and last > start} == {
        one.calendar for one in found
    }
    with pytest.raises(HandoffError, match=r"nobody@example\.com: notFound"):
        source.busy(settings, ["nobody@example.com"], start, end)


def test_occurrences_of_what_repeats_name_their_series(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = sandbox.settings(tmp_path)
    pages = list(catalog.source("calendar").extract("events", None, settings))
    series: dict[str, list[dict[str, Any]]] = {}
    for row in (row for page in pages for row in page):
        if "recurringEventId" in row.payload:
            series.setdefault(row.payload["recurringEventId"], []).append(row.payload)
    assert series and all(len(weeks) == 7 for weeks in series.values())
    for weeks in series.values():
        assert len({one["iCalUID"] for one in weeks}) == 1
        assert len({one["id"] for one in weeks}) == 7
        assert all(one["calendarTimeZone"] for one in weeks)


# ---- bookings and ad spend ------------------------------------------------------------------------


def extracted(
    sandbox: Sandbox, home: Path, system: str, resource: str, since: datetime | None = None
) -> list[Extracted]:
    pages = catalog.source(system).extract(
        resource, None if since is None else since.isoformat(), sandbox.settings(home)
    )
    return [row for page in pages for row in page]


def test_a_poll_of_bookings_says_what_their_webhooks_say(sandbox: Sandbox, tmp_path: Path) -> None:
    received = datetime(2026, 4, 1, tzinfo=UTC)
    for row in extracted(sandbox, tmp_path, "calendly", "invitees"):
        payload = {name: value for name, value in row.payload.items() if name != "handoff"}
        body = orjson.dumps({"event": "invitee.created", "payload": payload})
        told = {
            event["type"].rpartition(".")[2]: event["data"]
            for event in catalog.webhook("calendly").to_events(body, received)
        }
        polled = row.payload["handoff"]
        assert polled["meeting_id"] == told["meeting"]["meeting_id"]
        assert polled["contact"] == told["contact"]
        assert polled["rep_id"] == told["rep"]["record_id"]
    groups = [
        row for row in extracted(sandbox, tmp_path, "calendly", "invitees")
        if row.payload["scheduled_event"]["invitees_counter"]["limit"] > 1
    ]  # fmt: skip
    assert len({row.payload["handoff"]["meeting_id"] for row in groups}) == len(groups) == 2
    for row in extracted(sandbox, tmp_path, "calcom", "bookings"):
        booking = row.payload
        payload = {
            "uid": booking["uid"],
            "startTime": booking["start"],
            "endTime": booking["end"],
            "attendees": booking["attendees"],
            "organizer": booking["hosts"][0],
        }
        delivery = {"triggerEvent": "BOOKING_CREATED", "createdAt": booking["createdAt"]}
        told = {
            event["type"].rpartition(".")[2]: event["data"]
            for event in catalog.webhook("calcom").to_events(
                orjson.dumps(delivery | {"payload": payload}), received
            )
        }
        assert row.record_id == told["meeting"]["meeting_id"]
        assert booking["handoff"] == {"contact": told["contact"], "rep": told["rep"]}


def test_a_no_show_is_found_although_it_changes_no_time_and_so_is_its_end(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = sandbox.settings(tmp_path)
    now = datetime.now(UTC)
    world = sandbox.app.state.world
    invitee = next(row for row in world.calendly["invitees"] if row["status"] == "active")
    invitee["scheduled_event"]["start_time"] = (now - timedelta(hours=30)).isoformat()
    poll(settings, "calendly")
    before = len(sandbox.requests("/calendly"))
    assert poll(settings, "calendly").rows == {}
    # Twice who we are; members, events; invitees of the one that began, and of the group's.
    asked = [row["path"] for row in sandbox.requests("/calendly")[before:]]
    assert sum(path.endswith("/invitees") for path in asked) == 2, asked
    for mark in ({"uri": "https://api.calendly.com/invitee_no_shows/1"}, None):
        invitee["no_show"] = mark
        assert poll(settings, "calendly").rows == {"invitees": 1}
        assert poll(settings, "calendly").rows == {}

    booking = next(row for row in world.calcom["bookings"] if row["status"] == "accepted")
    newest = max(row["updatedAt"] for row in world.calcom["bookings"])
    started = datetime.fromisoformat(newest) - timedelta(days=5)
    booking |= {"start": started.isoformat(), "end": (started + timedelta(hours=1)).isoformat()}
    poll(settings, "calcom")
    for mark in (True, False):
        booking["attendees"][0]["absent"] = mark
        assert poll(settings, "calcom").rows == {"bookings": 1}
        assert poll(settings, "calcom").rows == {}


def test_bookings_of_calcom_are_paged_by_change_without_gap_while_they_change(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.connectors.calcom.source.PAGE", 3)
    world = sandbox.app.state.world
    template = world.calcom["bookings"][0]
    at = ANCHOR - timedelta(days=1)
    world.calcom["bookings"][:] = [
        # Seven at one and the same time, which no page can hold.
        {
            **template,
            "id": number,
            "uid": f"b{number:02d}",
            "updatedAt": (at + timedelta(minutes=max(number - 7, 0))).isoformat(),
        }
        for number in range(12)
    ]
    pages = catalog.source("calcom").extract("bookings", at.isoformat(), sandbox.settings(tmp_path))
    found: list[Extracted] = []
    for page in pages:
        found += page
        if len(found) == 6:
            world.calcom["bookings"][2]["updatedAt"] = (ANCHOR + timedelta(hours=1)).isoformat()
    assert {row.record_id for row in found} == {f"b{number:02d}" for number in range(12)}
    assert all(one.updated_at <= two.updated_at for one, two in pairwise(found))
    assert found[-1].record_id == "b02"


def test_a_booking_that_was_never_changed_is_found_by_the_first_poll(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    bookings = sandbox.app.state.world.calcom["bookings"]
    bookings[0]["updatedAt"] = None
    found = extracted(sandbox, tmp_path, "calcom", "bookings")
    assert {row.record_id for row in found} == {row["uid"] for row in bookings}
    organization = sandbox.settings(tmp_path, calcom_organization_id="52")
    [page] = catalog.source("calcom").extract("bookings", None, organization)
    assert len(page) == len(bookings)


def test_calendly_says_in_a_header_of_its_own_when_to_ask_again(
    sandbox: Sandbox, tmp_path: Path, impatient: list[float]
) -> None:
    sandbox.fault(path_prefix="/calendly/scheduled_events", status=429, retry_after=17)
    poll(sandbox.settings(tmp_path), "calendly")
    assert impatient == [17.0]


def test_a_booking_out_of_shape_is_kept_and_keeps_no_other_out(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    world = sandbox.app.state.world
    world.calcom["bookings"][0]["attendees"][0]["email"] = 7
    world.calendly["invitees"][0]["email"] = None
    for system, resource in (("calcom", "bookings"), ("calendly", "invitees")):
        found = extracted(sandbox, tmp_path, system, resource)
        assert len(found) == len(getattr(world, system)[resource])
        assert [row.payload["handoff"] for row in found].count(None) == 1


def test_ad_spend_is_what_the_newest_export_says_whatever_it_said_before(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = sandbox.settings(tmp_path)
    world = sandbox.app.state.world
    assert poll(settings, "ad_spend").rows == {
        "days": world.counts()["ad_spend.days"], "files": 1
    }  # fmt: skip
    assert poll(settings, "ad_spend").rows == {}
    row = world.ad_spend[7]
    former = row["cost"]
    # A correction long after the day, and what it was again.
    for cost in (former + 5, former):
        row["cost"] = cost
        assert poll(settings, "ad_spend").rows == {"days": 1}
        assert poll(settings, "ad_spend").rows == {}
    # Gone from the export, within its days.
    world.ad_spend.remove(row)
    landed = poll(settings, "ad_spend").rows
    assert landed == {"days": 1, "files": 1}
    row = world.ad_spend[40]
    row["campaign_id"], row["campaign"] = "", ""
    assert poll(settings, "ad_spend").rows == {"days": 1, "files": 1}
    connection = warehouse.connect(settings)
    [(refused,)] = connection.execute(
        "select json_extract_string(payload, '$.files[0].refused[0].message')"
        " from raw_ad_spend.files order by segment desc limit 1"
    ).fetchall()
    connection.close()
    assert "were spent for no campaign" in refused


def test_a_sheet_that_answers_with_a_page_is_no_export(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = sandbox.settings(tmp_path, ad_spend_url=f"{sandbox.url}/ad_spend/export")
    with pytest.raises(HandoffError, match="a web page, not CSV"):
        poll(settings, "ad_spend")
