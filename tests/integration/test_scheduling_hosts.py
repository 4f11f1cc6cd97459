"""Whom a lead should meet, from a published file and the scheduling policy; and the verbs of `handoff schedule` over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import structlog
from typer.testing import CliRunner

from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.availability import free_slots
from ingestion.scheduling.databases import open_store
from ingestion.scheduling.hosts import CalendarName, HolidayCalendar, WorkingTime
from ingestion.scheduling.store import Key
from ingestion.settings import Settings
from models.policies.load import copy_policies
from orchestration.cli.app import app
from orchestration.edge_scheduling import ServingHosts
from tests.integration.test_scheduling_store import new

NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)
# As the models of these names publish them, in the columns that are asked for.
PUBLISHED = """
create schema marts;
create table marts.dim_reps (rep_id varchar, email varchar, name varchar, time_zone varchar, working_hours varchar,
    territories varchar, is_active boolean);
insert into marts.dim_reps values
    ('r-ada', 'ada@ours.example', 'Ada', 'Europe/Berlin', '08:00-16:00', '["dach","emea"]', true),
    ('r-bob', 'bob@ours.example', 'Bob', 'Mars/Base', 'whenever', '["dach"]', true),
    ('r-cyd', 'cyd@ours.example', 'Cyd', null, null, '["americas"]', true),
    ('r-dan', 'dan@ours.example', 'Dan', 'Asia/Tokyo', '22:00-06:00', '["dach"]', true),
    ('r-old', 'old@ours.example', 'Old', 'UTC', null, '["dach"]', false),
    ('r-not', null, 'Nameless', 'UTC', null, '["dach"]', true);
create table marts.fct_assignments (assignment_id varchar, person_id varchar, rep_id varchar, territory varchar, assigned_at timestamptz,
    assignment_number bigint);
insert into marts.fct_assignments values
    ('1', 'owned', 'r-bob', 'dach', '2026-01-01 00:00Z', 1), ('2', 'owned', 'r-ada', 'dach', '2026-05-01 00:00Z', 2),
    ('3', 'left', 'r-old', 'dach', '2026-05-01 00:00Z', 1), ('4', 'unassigned', null, 'dach', '2026-05-01 00:00Z', 1),
    ('5', 'nobodys', null, 'apac', '2026-05-01 00:00Z', 1);
create table marts.fct_rep_absences (rep_id varchar, starts_at timestamptz, ends_at timestamptz, is_known boolean);
insert into marts.fct_rep_absences values
    ('r-ada', '2026-06-09 00:00Z', '2026-06-11 00:00Z', true), ('r-ada', '2026-06-16 00:00Z', '2026-06-18 00:00Z', false),
    ('r-ada', '2026-05-01 00:00Z', '2026-05-09 00:00Z', true), ('r-bob', '2026-06-09 00:00Z', '2026-06-10 00:00Z', true);
create table marts.fct_meetings (rep_id varchar, status varchar, starts_at timestamptz);
insert into marts.fct_meetings values
    ('r-ada', 'held', '2026-05-20 00:00Z'), ('r-ada', 'booked', '2026-06-03 00:00Z'), ('r-bob', 'booked', '2026-06-02 00:00Z'),
    ('r-dan', 'cancelled', '2026-06-02 00:00Z'), ('r-dan', 'held', '2026-01-02 00:00Z');
create table marts.dim_people (person_id varchar, email varchar, first_name varchar, last_name varchar);
insert into marts.dim_people values ('owned', 'gus@theirs.example', 'Gus', 'Guest'), ('unassigned', 'una@theirs.example', null, null);
create table marts.entity_map (person_id varchar, record_type varchar, record_id varchar, evidence varchar, is_current boolean);
insert into marts.entity_map values ('owned', 'contact', '1', '{}', true), ('unassigned', 'contact', '2', '{}', true);
"""
REPS = """
reps:
  - rep_email: Ada@ours.example
    working_hours: [{days: [1, 2], start: "10:00", end: "12:00"}, {days: [1, 2], start: "13:00", end: "24:00"}]
    holidays: {country: DE, subdivision: BE}
    calendars: [{system: caldav, id: /ada/office/}, {system: caldav, id: /ada/private/}]
"""
CALENDARS = REPS.splitlines()[-1]


@pytest.fixture
def published(tmp_path: Path) -> Settings:
    policies = copy_policies(tmp_path / "policies")
    file = policies / "scheduling" / "v1.yml"
    file.write_text(file.read_text().replace("\nreps: []\n", REPS))
    settings = Settings(home=tmp_path / "home", policies=policies)
    settings.serving_path.parent.mkdir(parents=True)
    with duckdb.connect(str(settings.serving_path)) as connection:
        connection.execute(PUBLISHED)
    return settings


@pytest.fixture
def hosts(published: Settings) -> Iterator[ServingHosts]:
    with closing(ServingHosts(published, clock=lambda: NOW)) as found:
        yield found


def test_whoever_is_away_by_any_word_cannot_be_met_then(hosts: ServingHosts) -> None:
    host = hosts.host("r-ada")
    assert host is not None
    away = [(datetime(2026, 6, 9, tzinfo=UTC), datetime(2026, 6, 11, tzinfo=UTC))]
    # Neither what was called off nor what is over.
    assert list(host.absences) == away
    assert hosts.hosts_for("owned")[0].absences == host.absences
    kind = hosts.rules().meeting_types["intro"]
    days = {at.date().isoformat() for at in free_slots(host, kind, [], NOW, NOW, NOW + timedelta(days=17))}  # fmt: skip
    # Mondays and Tuesdays.
    assert "2026-06-08" in days and "2026-06-16" in days and "2026-06-09" not in days


def test_an_owner_is_met_else_the_territory_by_fewest_meetings(hosts: ServingHosts) -> None:
    def ids(person_id: str | None) -> list[str]:
        return [host.rep_id for host in hosts.hosts_for(person_id)]

    # The newest assignment counts; Dan's cancelled and old meetings do not.
    assert ids("owned") == ["r-ada"]
    assert ids("unassigned") == ["r-dan", "r-bob", "r-ada"]
    # An owner who has left is none.
    assert ids("left") == ["r-dan", "r-bob", "r-ada"]
    assert ids("nobodys") == []
    # Whom routing has not placed anybody may meet; of as many meetings a hash decides, not the name.
    assert sorted(ids("new")) == ["r-ada", "r-bob", "r-cyd", "r-dan"]
    assert {ids(f"new-{number}")[0] for number in range(12)} == {"r-cyd", "r-dan"}


def test_the_pool_stands_behind_the_owner_where_the_policy_says_so(published: Settings) -> None:
    assert published.policies is not None
    file = published.policies / "scheduling" / "v1.yml"
    file.write_text(file.read_text().replace("offer_pool: false", "offer_pool: true"))
    with closing(ServingHosts(published, clock=lambda: NOW)) as hosts:
        assert [host.rep_id for host in hosts.hosts_for("owned")] == ["r-ada", "r-dan", "r-bob"]


def test_hours_and_zones_are_the_policy_s_of_a_rep_then_the_crm_s_then_the_default(
    hosts: ServingHosts,
) -> None:
    ada, bob, cyd, dan = (hosts.host(f"r-{name}") for name in ("ada", "bob", "cyd", "dan"))
    assert ada is not None and bob is not None and cyd is not None and dan is not None
    assert ada.working_hours == tuple(
        WorkingTime(day, *each) for each in ((600, 720), (780, 1_440)) for day in (1, 2)
    )
    assert (ada.holidays, ada.working_days) == (HolidayCalendar("DE", "BE"), {1, 2})
    assert ada.calendars == (
        CalendarName("caldav", "/ada/office/"),
        CalendarName("caldav", "/ada/private/"),
    )
    # What cannot be read as hours, or is no zone, is not guessed at.
    default = tuple(WorkingTime(day, 540, 1_020) for day in range(1, 6))
    assert bob.working_hours == cyd.working_hours == dan.working_hours == default
    assert (bob.time_zone, cyd.time_zone, dan.time_zone) == ("UTC", "UTC", "Asia/Tokyo")
    assert hosts.host("r-old") is None


def test_a_person_is_found_by_address_and_a_stranger_is_one(hosts: ServingHosts) -> None:
    found = hosts.invitee("GUS@theirs.example")
    assert (found.person_id, found.name) == ("owned", "Gus Guest")
    assert hosts.invitee("no@theirs.example").person_id is None


def test_a_policy_that_cannot_be_read_is_told_and_noticed_when_it_is_mended(
    published: Settings,
) -> None:
    assert published.policies is not None
    file = published.policies / "scheduling" / "v1.yml"
    good = file.read_text()
    file.write_text(good.replace("duration_minutes: 30", "duration_minutes: none"))
    with closing(ServingHosts(published, monotonic=iter(range(0, 10_000, 100)).__next__)) as hosts:
        with pytest.raises(HandoffError) as caught:
            hosts.rules()
        assert caught.value.code == "POLICY_INVALID"
        file.write_text(good)
        assert hosts.rules().meeting_types["intro"].duration == timedelta(minutes=30)


def test_before_anything_was_published_nobody_can_be_met(settings: Settings) -> None:
    with closing(ServingHosts(settings)) as hosts, pytest.raises(HandoffError) as caught:
        hosts.hosts_for(None)
    assert caught.value.code == "SERVING_MISSING"


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setenv("HANDOFF_HOME", str(settings.home))
    monkeypatch.setenv("HANDOFF_POLICIES", str(settings.policies))
    try:
        done = CliRunner().invoke(app, ["schedule", *words])
    finally:
        structlog.reset_defaults()
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_the_command_line_shows_slots_and_makes_links(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert published.policies is not None
    file = published.policies / "scheduling" / "v1.yml"
    file.write_text(file.read_text().replace(CALENDARS, ""))
    slots = json.loads(
        run(published, monkeypatch, "slots", "gus@theirs.example", "--days", "14", "--json")
    )
    assert {tuple(slot["host_ids"]) for slot in slots} == {("r-ada",)}
    shown = run(published, monkeypatch, "slots", "--type", "demo", "--zone", "Asia/Kathmandu")
    assert "+0545" in shown and "Dan" in shown
    made = json.loads(
        run(published, monkeypatch, "link", "gus@theirs.example", "--days", "3", "--json")
    )
    assert made["url"].startswith("http://127.0.0.1:8321/book/") and made["person_id"] == "owned"
    monkeypatch.setenv("HANDOFF_EDGE_PUBLIC_URL", "https://in.example.com/")
    assert run(published, monkeypatch, "link", "new@theirs.example").startswith(
        "https://in.example.com/book/"
    )


def test_the_command_line_lists_bookings_and_repairs_them(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Nothing is booked" in run(published, monkeypatch, "list")
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    with closing(open_store(published)) as store:
        store.book(new(at), Key("c", "k", "b"), at - timedelta(days=1), "test")
    [listed] = json.loads(
        run(published, monkeypatch, "list", "--rep", "rep-1@example.com", "--json")
    )
    assert (listed["state"], listed["is_logged"]) == ("booked", False)
    # Decided by a clock that is ahead: not yet due.
    assert json.loads(run(published, monkeypatch, "repair", "--json")) == {"told": 0, "waiting": 0}
    assert "rep-1@example.com" in run(published, monkeypatch, "list")
