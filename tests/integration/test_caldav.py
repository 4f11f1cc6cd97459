"""CalDAV against a real server: Radicale, started here as a process, with a password file and rights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion import time_zones
from ingestion.connectors import catalog
from ingestion.connectors.caldav import source
from ingestion.connectors.caldav.client import Client, TokenRefused
from ingestion.connectors.polling import UpstreamRefusal
from ingestion.errors.catalog import HandoffError
from ingestion.landing import warehouse
from ingestion.landing.archive import Archive
from ingestion.landing.polls import poll
from ingestion.settings import Settings
from tests.radicale_server import Server, radicale

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC).replace(microsecond=0)
# A Monday some weeks ahead: what is called off must still be ahead.
FIRST = (NOW + timedelta(days=28 - NOW.weekday())).replace(hour=0, minute=0, second=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with radicale(tmp_path / "radicale") as server:
        yield server


def event(uid: str, *lines: str, guest: str = "guest@theirs.example", rep: str = "ada") -> str:
    return "\n".join(
        [
            "BEGIN:VEVENT",
            f"UID:{uid}",
            "DTSTAMP:20260101T000000Z",
            f"ORGANIZER:mailto:{rep}@ours.example",
            f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{rep}@ours.example",
            f"ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:{guest}",
            *lines,
            "END:VEVENT",
        ]
    )


def at(day: int, hour: int, zone: str = "Europe/Berlin", name: str = "DTSTART") -> str:
    return f"{name};TZID={zone}:{FIRST + timedelta(days=day):%Y%m%d}T{hour:02}0000"


def told(settings: Settings) -> list[dict[str, Any]]:
    """Payloads of the raw table, as landed."""
    import orjson

    connection = warehouse.connect(settings)
    try:
        rows = connection.execute(
            "select payload from raw_caldav.objects order by segment, updated_at"
        ).fetchall()
    finally:
        connection.close()
    return [orjson.loads(payload) for (payload,) in rows]


def changed(settings: Settings) -> list[tuple[str, str, int, int]]:
    """One poll: kind, UID, occurrences and ended ones of what it brought."""
    connection_before = len(told(settings)) if settings.warehouse_path.exists() else 0
    poll(settings, "caldav")
    return sorted(
        (
            one["kind"],
            str(one.get("uid")),
            len(one.get("occurrences", [])),
            len(one.get("ended", [])),
        )
        for one in told(settings)[connection_before:]
        if one["kind"] != "calendar"
    )


def test_every_change_in_two_reps_calendars_is_told_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = server.settings(tmp_path / "home")
    server.put("ada", "meetings/one.ics", event("one@x", at(0, 9), "DURATION:PT30M"))
    weekly = event("weekly@x", at(1, 10), "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=4")
    server.put("ada", "meetings/weekly.ics", weekly)
    server.put(
        "bob",
        "meetings/two.ics",
        event("two@x", at(2, 9, "America/New_York"), "DURATION:PT30M", rep="bob"),
    )
    assert changed(settings) == [
        ("object", "one@x", 1, 0),
        ("object", "two@x", 1, 0),
        ("object", "weekly@x", 4, 0),
    ]
    assert changed(settings) == []

    asked: list[str] = []
    once = Client._once

    def counted(client: Client, method: str, url: str, body: str, depth: str | None) -> Any:
        asked.append(f"{method} {body.partition(' ')[0].strip('<')}")
        return once(client, method, url, body, depth)

    monkeypatch.setattr(Client, "_once", counted)
    assert changed(settings) == []
    # Without news a calendar costs its properties and one report of changes.
    assert asked == [
        "PROPFIND D:propfind",
        "PROPFIND D:propfind",
        "REPORT D:sync-collection",
        "REPORT D:sync-collection",
    ]

    # Moved in time; one occurrence left out, one called off, one moved by an hour; one deleted.
    server.put("ada", "meetings/one.ics", event("one@x", at(0, 15), "DURATION:PT30M", "SEQUENCE:1"))
    server.put(
        "ada", "meetings/weekly.ics",
        event("weekly@x", at(1, 10), "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=4", at(8, 10, name="EXDATE")),
        event("weekly@x", at(15, 10), at(15, 10, name="RECURRENCE-ID"), "DURATION:PT1H", "STATUS:CANCELLED"),
        event("weekly@x", at(22, 11), at(22, 10, name="RECURRENCE-ID"), "DURATION:PT1H"),
    )  # fmt: skip
    server.delete("bob", "meetings/two.ics")
    assert changed(settings) == [
        ("gone", "two@x", 0, 1),
        ("object", "one@x", 1, 0),
        ("object", "weekly@x", 3, 1),
    ]
    series = [one for one in told(settings) if one.get("uid") == "weekly@x"][-1]
    assert [one["status"] for one in series["occurrences"]] == [
        "CONFIRMED",
        "CANCELLED",
        "CONFIRMED",
    ]
    assert {one["time_zone"] for one in series["occurrences"]} == {"Europe/Berlin"}

    # In another calendar it is the same meeting, not one less.
    server.ask("DELETE", "ada", "meetings/one.ics", "")
    server.put("bob", "meetings/one.ics", event("one@x", at(0, 15), "DURATION:PT30M", "SEQUENCE:2"))
    assert changed(settings) == [("gone", "one@x", 0, 0), ("object", "one@x", 1, 0)]
    assert changed(settings) == []


def test_a_poll_that_was_killed_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path / "home")
    for number in range(12):
        server.put(
            "ada",
            f"meetings/{number}.ics",
            event(f"{number}@x", at(number % 5, 9), "DURATION:PT30M"),
        )
    server.put("bob", "meetings/two.ics", event("two@x", at(2, 9), rep="bob"))
    # Killed between calendars: what is archived of the first must not be told again, nor anything be missed.
    code = (
        "import os, signal\n"
        "from ingestion.landing import polls\n"
        "from ingestion.settings import Settings\n"
        "from ingestion.connectors.caldav import client\n"
        "polls.SEGMENT_ROWS, client.MULTIGET = 1, 5\n"
        "seen = []\n"
        "def progress(what, count):\n"
        "    seen.append(count)\n"
        "    if len(seen) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "polls.poll(Settings(), 'caldav', progress)\n"
    )
    variables = {
        "HANDOFF_HOME": str(settings.home),
        "HANDOFF_CALDAV_URL": server.url,
        "HANDOFF_CALDAV_USERNAME": "handoff",
        "HANDOFF_CALDAV_PASSWORD": "handoff's",
        "HANDOFF_CALDAV_CALENDARS": settings.caldav_calendars,
    }
    killed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT), **variables}
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(Archive(settings.archive_dir).known("caldav", "objects").newest("/ada/")) == 10
    poll(settings, "caldav")
    rows = told(settings)
    assert sorted(one["uid"] for one in rows if one["kind"] == "object") == sorted(
        [*(f"{number}@x" for number in range(12)), "two@x"]
    )
    server.delete("ada", "meetings/7.ics")
    assert changed(settings) == [("gone", "7@x", 0, 1)]


@pytest.mark.parametrize("lacks", ["tokens", "a known token"])
def test_a_server_without_tokens_is_compared_by_etag(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    settings = server.settings(tmp_path / "home")
    changes = Client.changes

    def refuse(client: Client, calendar: Any, token: str | None) -> Any:
        if lacks == "tokens" or token:
            raise TokenRefused
        return changes(client, calendar, token)

    monkeypatch.setattr(Client, "changes", refuse)
    server.put("ada", "meetings/one.ics", event("one@x", at(0, 9)))
    server.put("ada", "meetings/other.ics", event("other@x", at(0, 11)))
    assert len(changed(settings)) == 2
    assert changed(settings) == []
    server.put("ada", "meetings/one.ics", event("one@x", at(0, 10)))
    server.delete("ada", "meetings/other.ics")
    assert changed(settings) == [("gone", "other@x", 0, 1), ("object", "one@x", 1, 0)]
    assert changed(settings) == []


def test_a_token_the_server_does_not_know_is_started_anew(server: Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path / "home")
    server.put("ada", "meetings/one.ics", event("one@x", at(0, 9)))
    poll(settings, "caldav")
    server.stop()
    # As after a restore of the server: its history is gone, the objects are there.
    for folder in (server.folder / "store").rglob(".Radicale.cache"):
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    server.start()
    assert changed(settings) == []
    server.put("ada", "meetings/one.ics", event("one@x", at(0, 10)))
    assert changed(settings) == [("object", "one@x", 1, 0)]


def test_what_repeats_is_told_further_as_time_goes_on(server: Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path / "home")
    server.put("ada", "meetings/daily.ics", event("daily@x", at(0, 9), "RRULE:FREQ=DAILY"))
    poll(settings, "caldav")
    known = Archive(settings.archive_dir).known("caldav", "objects")
    [before] = [one for one in known.newest("/ada/").values() if one["kind"] == "object"]
    later = NOW + timedelta(days=45)
    pages = list(source.extract_from("objects", known, settings, now=later))
    [after] = [row.payload for page in pages for row in page if row.payload["kind"] == "object"]
    assert after["occurrences"][-1]["start"] > before["occurrences"][-1]["start"]
    assert after["ended"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"caldav_password": "wrong"}, "AUTH_EXPIRED"),
        ({"caldav_username": "bob", "caldav_password": "bob's"}, "SCOPE_DENIED"),
        ({"caldav_url": "http://dav.example.com/"}, "SYSTEM_NOT_CONFIGURED"),
        ({"caldav_calendars": "/ada/meetings/"}, "SYSTEM_NOT_CONFIGURED"),
        ({"caldav_password": None}, "SYSTEM_NOT_CONFIGURED"),
        ({"caldav_time_zone": "Mars/Phobos"}, "SYSTEM_NOT_CONFIGURED"),
    ],
)
def test_what_is_refused_has_its_code(
    server: Server, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(HandoffError) as refused:
        poll(server.settings(tmp_path / "home", **changes), "caldav")
    assert refused.value.code == code


def test_an_account_s_own_calendars_are_found(server: Server, tmp_path: Path) -> None:
    server.put("bob", "meetings/two.ics", event("two@x", at(2, 9), rep="bob"))
    settings = server.settings(
        tmp_path / "home", caldav_username="bob", caldav_password="bob's", caldav_calendars=""
    )
    assert changed(settings) == [("object", "two@x", 1, 0)]
    [calendar] = [one for one in told(settings) if one["kind"] == "calendar"]
    assert (calendar["path"], calendar["time_zone"]) == ("/bob/meetings/", "America/New_York")


def test_meetings_of_caldav_reach_the_marts_once_each(
    server: Server, open_warehouse: Callable[..., Any]
) -> None:
    home = open_warehouse()
    settings = server.settings(home.settings.home)
    house = type(home)(settings)
    house.append(
        [
            house.event("rep", {"system": "salesforce", "record_id": rep, "email": f"{rep}@ours.example", "name": rep}, NOW)
            for rep in ("ada", "bob")
        ]
        + [house.event("contact", {"system": "web", "record_id": "g", "email": "guest@theirs.example"}, NOW)]
    )  # fmt: skip
    copied = event("one@x", at(0, 9), "DURATION:PT30M", "ATTENDEE:mailto:bob@ours.example")
    server.put("ada", "meetings/one.ics", copied)
    server.put("bob", "meetings/one.ics", copied)
    server.put("ada", "meetings/day.ics", event("day@x", f"DTSTART;VALUE=DATE:{FIRST:%Y%m%d}"))
    server.put(
        "ada", "meetings/weekly.ics", event("weekly@x", at(1, 10), "RRULE:FREQ=WEEKLY;COUNT=2")
    )
    poll(settings, "caldav")
    server.delete("bob", "meetings/one.ics")
    server.put(
        "ada", "meetings/weekly.ics", event("weekly@x", at(1, 10), "RRULE:FREQ=WEEKLY;COUNT=1")
    )
    poll(settings, "caldav")
    house.transform(NOW + timedelta(days=1))
    meetings = house.rows(
        "select split_part(system_meeting_id, '@', 1), status, meetings.time_zone, local_starts_at, reps.email, person_id is not null "
        "from marts.fct_meetings as meetings left join marts.dim_reps as reps using (rep_id) where meetings.system = 'caldav' order by starts_at, 1"
    )
    monday = FIRST.replace(tzinfo=None)
    assert meetings == [
        ("day", "booked", "Europe/Berlin", monday, "ada@ours.example", True),
        ("one", "booked", "Europe/Berlin", monday + timedelta(hours=9), "ada@ours.example", True),
        ("weekly", "booked", "Europe/Berlin", monday + timedelta(days=1, hours=10), "ada@ours.example", True),
        ("weekly", "cancelled", "Europe/Berlin", monday + timedelta(days=8, hours=10), "ada@ours.example", True),
    ]  # fmt: skip


def test_a_rep_is_taken_by_what_is_opaque_and_not_declined(server: Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path / "home")
    hour = "DURATION:PT1H"
    server.put("ada", "meetings/a.ics", event("a@x", at(0, 9), hour, "RRULE:FREQ=DAILY;COUNT=2"))
    server.put("ada", "meetings/b.ics", event("b@x", at(0, 10), hour, "STATUS:TENTATIVE"))
    server.put("ada", "meetings/c.ics", event("c@x", at(0, 12), hour, "TRANSP:TRANSPARENT"))
    server.put("ada", "meetings/d.ics", event("d@x", at(0, 13), hour, "STATUS:CANCELLED"))
    declined = event("e@x", at(0, 14), hour, rep="bob") + "\n"
    declined = declined.replace(
        "END:VEVENT\n", "ATTENDEE;PARTSTAT=DECLINED:mailto:ada@ours.example\nEND:VEVENT"
    )
    server.put("ada", "meetings/e.ics", declined)
    server.put(
        "ada",
        "meetings/f.ics",
        event("f@x", f"DTSTART;VALUE=DATE:{FIRST + timedelta(days=2):%Y%m%d}"),
    )
    server.put("bob", "meetings/g.ics", event("g@x", at(0, 9, "America/New_York"), hour, rep="bob"))
    source = catalog.busy("caldav")
    found = source.busy(settings, [], FIRST, FIRST + timedelta(days=4))
    berlin = time_zones.zone("Europe/Berlin")
    told = [
        (one.calendar[:3], one.start.astimezone(berlin).replace(tzinfo=None) - FIRST.replace(tzinfo=None), one.end - one.start, one.is_tentative)
        for one in found
    ]  # fmt: skip
    assert told == [
        ("ada", timedelta(hours=9), timedelta(hours=1), False),
        ("ada", timedelta(hours=10), timedelta(hours=1), True),
        ("ada", timedelta(days=1, hours=9), timedelta(hours=1), False),
        ("ada", timedelta(days=2), timedelta(days=1), False),
        ("bob", timedelta(hours=15), timedelta(hours=1), False),
    ]
    assert (
        source.busy(settings, ["bob@ours.example"], FIRST, FIRST + timedelta(days=4)) == found[-1:]
    )
    with pytest.raises(HandoffError, match="carl@ours"):
        source.busy(settings, ["carl@ours.example"], FIRST, FIRST + timedelta(days=4))


def test_where_events_may_not_be_read_the_server_says_when_a_rep_is_taken(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = server.settings(tmp_path / "home")
    server.put(
        "ada", "meetings/a.ics", event("a@x", at(0, 9), "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2")
    )
    server.put(
        "ada", "meetings/c.ics", event("c@x", at(0, 12), "DURATION:PT1H", "TRANSP:TRANSPARENT")
    )
    source = catalog.busy("caldav")
    by_events = source.busy(settings, [], FIRST, FIRST + timedelta(days=4))

    def refused(*_: Any) -> list[str]:
        raise UpstreamRefusal("SCOPE_DENIED", "read-free-busy only", 403)

    monkeypatch.setattr(Client, "within", refused)
    assert source.busy(settings, [], FIRST, FIRST + timedelta(days=4)) == by_events != []


def test_the_command_shows_when_reps_are_taken(server: Server, empty: Any) -> None:
    server.put("ada", "meetings/a.ics", event("a@x", at(0, 9), "DURATION:PT1H"))
    settings = server.settings(empty.home)
    variables = {
        "HANDOFF_CALDAV_URL": server.url,
        "HANDOFF_CALDAV_USERNAME": "handoff",
        "HANDOFF_CALDAV_PASSWORD": "handoff's",
        "HANDOFF_CALDAV_CALENDARS": settings.caldav_calendars,
    }
    days = ["--from", f"{FIRST:%Y-%m-%d}", "--to", f"{FIRST + timedelta(days=2):%Y-%m-%d}"]
    shown = empty.handoff("calendars", "busy", *days, "--zone", "Asia/Calcutta", **variables)
    assert shown.code == 0, shown.err
    assert f"{FIRST:%a %Y-%m-%d} 13:30" in shown.out and "IST" in shown.out
    told = empty.handoff("calendars", "busy", *days, "--json", **variables).json
    assert [(one["system"], one["calendar"], one["is_tentative"]) for one in told] == [
        ("caldav", "ada@ours.example", False)
    ]
    assert empty.handoff("calendars", "busy").code == 4
    unknown = empty.handoff("calendars", "busy", "--zone", "Mars/Phobos", **variables)
    assert (unknown.code, "Mars/Phobos" in unknown.err) == (2, True)
