"""Bookings end to end in this process: the store, the event log, a real CalDAV server and the simulated Google calendar; and what is killed in between."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import icalendar
import pytest

from ingestion.connectors import catalog
from ingestion.connectors.catalog import known_systems
from ingestion.contracts import registry
from ingestion.errors.catalog import HandoffError
from ingestion.log.owner import open_reader
from ingestion.sandbox.app import create_app as create_sandbox
from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.world import build_world
from ingestion.scheduling.bookings import Bookings, SlotRefused
from ingestion.scheduling.hosts import CalendarName
from ingestion.settings import Settings
from tests.integration.scheduling_desk import (
    ADA,
    BOB,
    GUEST,
    MINUTE,
    NOW,
    TOMORROW,
    Clock,
    Directory,
    desk,
    in_calendars,
    key,
    wish,
)
from tests.radicale_server import WRITING_RIGHTS, Server, radicale
from tests.serving import served

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with radicale(tmp_path / "radicale", WRITING_RIGHTS) as server:
        yield server


@pytest.fixture
def bookings(settings: Settings) -> Iterator[Bookings]:
    with desk(settings, Directory()) as found:
        yield found


def events(settings: Settings) -> list[dict[str, Any]]:
    with closing(open_reader(settings)) as log:
        return [entry.event for entry in log.read(0, 10_000)]


def told(settings: Settings) -> list[tuple[str, str | None]]:
    return [(one["type"].rpartition(".")[2], one["data"].get("status")) for one in events(settings)]


def refusal(call: Callable[[], Any]) -> SlotRefused:
    with pytest.raises(SlotRefused) as caught:
        call()
    return caught.value


def objects(server: Server, rep: str) -> list[icalendar.Event]:
    folder = server.folder / "store" / "collection-root" / rep / "meetings"
    texts = [path.read_text() for path in sorted(folder.glob("*.ics"))]
    return [event for text in texts for event in icalendar.Calendar.from_ical(text).walk("VEVENT")]


def test_the_owner_is_met_first_and_another_where_the_owner_is_taken(bookings: Bookings) -> None:
    # Ten in Berlin is four in the morning in New York; 15:00 UTC is both's working time.
    both = TOMORROW.replace(hour=14)
    slots = bookings.slots(
        bookings.meeting_type("intro"), None, TOMORROW, TOMORROW.replace(hour=22)
    )
    hosts = {slot.starts_at: slot.host_ids for slot in slots}
    assert hosts[TOMORROW] == ("rep-ada",)
    assert hosts[both] == ("rep-ada", "rep-bob")
    made = [bookings.book(wish(both), key(text), "test").booking.host_id for text in "ab"]
    assert made == ["rep-ada", "rep-bob"]
    taken = refusal(lambda: bookings.book(wish(both), key("c"), "test"))
    assert taken.code == "SLOT_TAKEN"
    # The next ones keep the quarter of an hour after each meeting.
    assert f"{taken.slots[0].starts_at:%H:%M}" == f"{both + 60 * MINUTE:%H:%M}"
    assert len(taken.slots) == 5


def test_what_nobody_offers_is_told_apart_from_what_is_taken(bookings: Bookings) -> None:
    for at in (
        TOMORROW + 10 * MINUTE,
        TOMORROW.replace(hour=3),
        NOW + 30 * MINUTE,
        NOW + timedelta(days=45),
    ):
        refused = refusal(lambda at=at: bookings.book(wish(at), key(str(at)), "test"))  # type: ignore[misc]
        assert refused.code == "SLOT_NOT_OFFERED"
        assert len(refused.slots) == 5
        assert refused.slots[0].starts_at >= NOW + 60 * MINUTE


def test_every_event_of_a_booking_meets_its_contract_and_comes_once(
    settings: Settings, bookings: Bookings
) -> None:
    made = bookings.book(wish(), key("a"), "test").booking
    bookings.book(wish(), key("a"), "test")
    bookings.reschedule(made.booking_id, TOMORROW + 60 * MINUTE, "Europe/Paris", "test")
    bookings.cancel(made.booking_id, "test", "ill")
    assert told(settings) == [
        ("contact", None), ("rep", None), ("meeting", "booked"), ("activity", None),
        ("meeting", "rescheduled"), ("meeting", "cancelled"),
    ]  # fmt: skip
    known = known_systems(settings)
    assert [registry.validate_event(one, known) for one in events(settings)] == [[]] * 6
    moved = events(settings)[4]["data"]
    assert (moved["time_zone"], moved["meeting_id"]) == ("Europe/Paris", made.booking_id)
    assert bookings.repair(timedelta(seconds=-1)).told == 0


def test_a_hold_is_told_to_nobody_until_it_is_booked(
    settings: Settings, bookings: Bookings
) -> None:
    held = bookings.hold(wish(invitee=None), "test").booking
    assert refusal(lambda: bookings.book(wish(), key("x"), "test")).code == "SLOT_TAKEN"
    assert events(settings) == []
    done = bookings.book_hold(held.booking_id, GUEST, key("a"), "test").booking
    assert done.title == "Intro call: Gus Guest and Ada Host"
    assert len(events(settings)) == 4


def test_an_outcome_is_told_and_a_later_one_replaces_it(settings: Settings) -> None:
    clock = Clock()
    with desk(settings, Directory(), clock) as bookings:
        made = bookings.book(wish(), key("a"), "test").booking.booking_id
        clock.at = TOMORROW + 60 * MINUTE
        bookings.record_outcome(made, "no_show", "test")
        bookings.record_outcome(made, "held", "test")
    assert [status for kind, status in told(settings) if kind == "meeting"] == [
        "booked",
        "no_show",
        "held",
    ]


def test_a_booking_stands_in_the_rep_s_caldav_calendar(server: Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path / "home")
    with desk(settings, in_calendars("caldav")) as bookings:
        made = bookings.book(wish(), key("a"), "test").booking
        assert (made.calendar_status, made.has_conflict) == ("written", False)
        [event] = objects(server, "ada")
        assert event["UID"] == f"{made.booking_id}@handoff"
        assert (event.start, event.end) == (TOMORROW, TOMORROW + 30 * MINUTE)
        assert [str(one) for one in event["ATTENDEE"]] == [
            "mailto:ada@ours.example",
            "mailto:guest@theirs.example",
        ]
        assert len(event.walk("VALARM")) == 1
        # The rep writes notes into it; moving keeps them, and the etag we knew is over.
        path = f"meetings/{made.booking_id}-handoff.ics"
        text = httpx.get(f"{server.url}/ada/{path}", auth=("ada", "ada's"), trust_env=False).text
        server.ask(
            "PUT", "ada", path, text.replace("A first conversation.", "Ask about the budget.")
        )
        moved = bookings.reschedule(made.booking_id, TOMORROW + 60 * MINUTE, None, "test").booking
        assert moved.calendar_status == "written"
        [event] = objects(server, "ada")
        assert (event.start, int(event["SEQUENCE"])) == (TOMORROW + 60 * MINUTE, 1)
        # Ours is the time, theirs the words.
        assert str(event["DESCRIPTION"]) == "Ask about the budget."
        bookings.cancel(made.booking_id, "test")
        assert objects(server, "ada") == []


def test_what_a_person_put_into_the_calendar_takes_the_slot(server: Server, tmp_path: Path) -> None:
    settings = server.settings(tmp_path / "home")
    directory = in_calendars("caldav")
    directory.hosts = directory.hosts[:1]
    directory.in_force = replace(directory.in_force, travel_markers=("travel",))
    with desk(settings, directory) as bookings:
        intro = bookings.meeting_type("intro")
        day = (TOMORROW.replace(hour=0), TOMORROW.replace(hour=23))
        free = [slot.starts_at for slot in bookings.slots(intro, None, *day)]
        assert TOMORROW in free
        lines = [f"DTSTART:{TOMORROW:%Y%m%dT%H%M%SZ}", "DURATION:PT30M"]
        server.put("ada", "meetings/x.ics", by_hand("x", *lines))
        # What is shown is a little old; what is booked is asked anew.
        assert refusal(lambda: bookings.book(wish(), key("a"), "test")).code == "SLOT_TAKEN"
        server.put("ada", "meetings/day.ics", by_hand(
            "day", f"DTSTART;VALUE=DATE:{TOMORROW + timedelta(days=1):%Y%m%d}", "TRANSP:TRANSPARENT", "SUMMARY:Travel to Rome",
        ))  # fmt: skip
        server.put("ada", "meetings/birthday.ics", by_hand(
            "birthday", f"DTSTART;VALUE=DATE:{TOMORROW + timedelta(days=2):%Y%m%d}", "TRANSP:TRANSPARENT", "SUMMARY:Gus travelled far",
        ))  # fmt: skip
        assert (
            refusal(
                lambda: bookings.book(wish(TOMORROW + timedelta(days=1)), key("b"), "test")
            ).code
            == "SLOT_TAKEN"
        )
        made = bookings.book(wish(TOMORROW + timedelta(days=2)), key("c"), "test").booking
        # Into its own time: its own event does not stand in its way.
        bookings.reschedule(made.booking_id, made.starts_at + 30 * MINUTE, None, "test")


def by_hand(uid: str, *lines: str) -> str:
    return "\n".join(
        ["BEGIN:VEVENT", f"UID:{uid}@hand", "DTSTAMP:20260101T000000Z", *lines, "END:VEVENT"]
    )


def test_who_books_by_hand_in_between_is_told_of_and_the_booking_stands(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = server.settings(tmp_path / "home")
    with desk(settings, in_calendars("caldav")) as bookings:
        tell = bookings._tell_calendar

        def late(booking_id: str) -> None:
            server.put(
                "ada",
                "meetings/x.ics",
                by_hand("x", f"DTSTART:{TOMORROW:%Y%m%dT%H%M%SZ}", "DURATION:PT1H"),
            )
            tell(booking_id)

        monkeypatch.setattr(bookings, "_tell_calendar", late)
        made = bookings.book(wish(), key("a"), "test").booking
    assert (made.state, made.calendar_status, made.has_conflict) == ("booked", "written", True)


def test_a_calendar_that_is_gone_is_never_free_and_what_is_decided_is_told_later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.connectors.polling.ATTEMPTS", 1)
    settings = server.settings(tmp_path / "home")
    with desk(settings, in_calendars("caldav")) as bookings:
        made = bookings.book(wish(), key("a"), "test").booking
        server.stop()
        with pytest.raises(HandoffError) as caught:
            bookings.book(wish(TOMORROW + 60 * MINUTE), key("b"), "test")
        assert caught.value.code == "UPSTREAM_UNAVAILABLE"
        # To call off needs no calendar to agree.
        gone = bookings.cancel(made.booking_id, "test").booking
        assert (gone.state, gone.calendar_status) == ("cancelled", "pending")
        assert bookings.repair(timedelta(seconds=-1)).waiting == 1
        server.start()
        assert bookings.repair(timedelta(seconds=-1)).told == 1
        assert objects(server, "ada") == []
        assert bookings.required(made.booking_id).calendar_status == "written"


POINTS = ("decided", "in the log", "log confirmed", "in the calendar")


@pytest.mark.parametrize("point", POINTS)
def test_what_is_killed_between_decision_log_and_calendar_is_made_good(
    server: Server, tmp_path: Path, point: str
) -> None:
    settings = server.settings(tmp_path / "home")
    variables = {
        "HANDOFF_HOME": str(settings.home),
        "HANDOFF_CALDAV_URL": server.url,
        "HANDOFF_CALDAV_USERNAME": "handoff",
        "HANDOFF_CALDAV_PASSWORD": "handoff's",
        "HANDOFF_CALDAV_CALENDARS": settings.caldav_calendars,
    }
    killed = subprocess.run(
        [sys.executable, "-m", "tests.integration.scheduling_desk", point, "caldav"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables}, cwd=ROOT, check=False, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -9, killed.stderr
    place = POINTS.index(point)
    # The control: without a repair something is missing, or nothing knows that it is there.
    assert (len(events(settings)), len(objects(server, "ada"))) == (
        (0, 4, 4, 4)[place],
        (0, 0, 0, 1)[place],
    )
    with desk(settings, in_calendars("caldav")) as bookings:
        [behind] = bookings.store.unconfirmed(NOW + timedelta(days=1))
        assert behind.state == "booked"
        assert bookings.repair(timedelta(seconds=-1)).told == 1
        assert (len(events(settings)), len(objects(server, "ada"))) == (4, 1)
        assert bookings.store.unconfirmed(NOW + timedelta(days=1)) == []
        # Who booked and heard nothing asks again, with the same key.
        again = bookings.book(wish(), key("a"), "test")
        assert again.is_repeated and again.booking.booking_id == behind.booking_id
        assert again.booking.calendar_status == "written"
    assert (len(events(settings)), len(objects(server, "ada"))) == (4, 1)


class Google:
    """The simulated calendars behind HTTP, and two reps of theirs."""

    def __init__(self, url: str, tokens: Tokens, emails: list[str]) -> None:
        self.url, self.tokens, self.emails = url, tokens, emails

    def settings(self, home: Path) -> Settings:
        return Settings(
            home=home,
            calendar_url=f"{self.url}/calendar/v3",
            calendar_token=self.tokens.calendar_token,
        )  # type: ignore[arg-type]

    def directory(self) -> Directory:
        return Directory([
            replace(host, email=email, calendars=(CalendarName("calendar", email),))
            for host, email in zip((ADA, BOB), self.emails, strict=True)
        ])  # fmt: skip

    def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"authorization": f"Bearer {self.tokens.calendar_token}"}
        return httpx.request(method, f"{self.url}{path}", headers=headers, trust_env=False, **more)

    def event(self, calendar: str, event_id: str) -> Any:
        return self.ask("GET", f"/calendar/v3/calendars/{calendar}/events/{event_id}").json()

    def fault(self, **fault: Any) -> None:
        assert self.ask("POST", "/sandbox/faults", json=fault).is_success

    def writes(self) -> list[tuple[str, int | None]]:
        rows = self.ask("GET", "/sandbox/requests").json()["requests"]
        return [
            (row["method"], row["status"])
            for row in rows
            if "/events" in row["path"] and row["method"] != "GET"
        ]


@pytest.fixture(scope="module")
def world() -> Any:
    return build_world(7, datetime.now(UTC).replace(minute=0, second=0, microsecond=0))


@pytest.fixture
def google(world: Any) -> Iterator[Google]:
    tokens = Tokens()
    app = create_sandbox(7, world.anchor, tokens=tokens, world=world)
    for rep in app.state.world.reps[:2]:
        app.state.world.calendar[rep.email][:] = []
    with served(app) as url:
        yield Google(url, tokens, [rep.email for rep in world.reps[:2]])


def test_a_booking_stands_in_the_rep_s_google_calendar(google: Google, tmp_path: Path) -> None:
    settings = google.settings(tmp_path / "home")
    ada = google.emails[0]
    with desk(settings, google.directory()) as bookings:
        made = bookings.book(wish(), key("a"), "test").booking
        assert (made.calendar_status, made.has_conflict) == ("written", False)
        event = google.event(ada, made.booking_id)
        assert (event["status"], datetime.fromisoformat(event["start"]["dateTime"])) == (
            "confirmed",
            TOMORROW,
        )
        google.ask(
            "PATCH",
            f"/calendar/v3/calendars/{ada}/events/{made.booking_id}",
            json={"description": "Budget?"},
        )
        moved = bookings.reschedule(made.booking_id, TOMORROW + 60 * MINUTE, None, "test").booking
        assert moved.calendar_status == "written"
        event = google.event(ada, made.booking_id)
        assert datetime.fromisoformat(event["start"]["dateTime"]) == TOMORROW + 60 * MINUTE
        assert event["description"] == "Budget?"
        source = catalog.source("calendar")
        read = [
            row
            for page in source.extract("events", None, settings)
            for row in page
            if row.record_id == made.booking_id
        ]
        assert len(read) == 1
        bookings.cancel(made.booking_id, "test")
        assert google.event(ada, made.booking_id)["status"] == "cancelled"
        # The freed slot can be had again.
        assert (
            bookings.book(wish(TOMORROW + 60 * MINUTE), key("b"), "test").booking.calendar_status
            == "written"
        )


@pytest.mark.parametrize("fault", [
    {"kind": "reset", "after_commit": True}, {"kind": "status", "status": 503, "after_commit": True},
    {"kind": "malformed"}, {"kind": "status", "status": 429, "retry_after": 0},
])  # fmt: skip
def test_a_write_that_was_carried_out_and_not_answered_is_one_event(
    google: Google, tmp_path: Path, fault: dict[str, Any]
) -> None:
    with desk(google.settings(tmp_path / "home"), google.directory()) as bookings:
        path = f"/calendar/v3/calendars/{google.emails[0]}/events"
        google.fault(**fault, path_prefix=path, method="POST")
        made = bookings.book(wish(), key("a"), "test").booking
        assert made.calendar_status == "written"
        assert len(google.writes()) == 2
        google.fault(**fault, path_prefix=path, method="DELETE")
        assert bookings.cancel(made.booking_id, "test").booking.calendar_status == "written"
        assert google.event(google.emails[0], made.booking_id)["status"] == "cancelled"


def test_a_slow_write_does_not_bring_back_what_was_cancelled_meanwhile(
    google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk(google.settings(tmp_path / "home"), google.directory()) as bookings:
        cancelled = threading.Event()
        write = bookings._calendars.write

        def slow(*values: Any) -> Any:
            if not cancelled.is_set():
                # As another process would, while this write is under way.
                cancelled.set()
                bookings.store.cancel(bookings.store.bookings()[0].booking_id, NOW, "other", None)
            return write(*values)

        monkeypatch.setattr(bookings._calendars, "write", slow)
        made = bookings.book(wish(), key("a"), "test").booking
        assert made.state == "cancelled"
        assert google.event(google.emails[0], made.booking_id)["status"] == "cancelled"


def test_one_calendar_that_does_not_answer_takes_its_rep_out_and_nobody_else(
    google: Google, tmp_path: Path
) -> None:
    directory = google.directory()
    directory.hosts[0] = replace(
        directory.hosts[0], calendars=(CalendarName("calendar", "nobody@example.com"),)
    )
    with desk(google.settings(tmp_path / "home"), directory) as bookings:
        slots = bookings.slots(
            bookings.meeting_type("intro"), None, TOMORROW, TOMORROW + timedelta(days=1)
        )
        assert {slot.host_ids for slot in slots} == {("rep-bob",)}
