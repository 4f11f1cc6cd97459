"""Who has a slot, decided by the database: SQLite's triggers and PostgreSQL's constraint, by threads and processes at once."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import apsw
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.hosts import CalendarName
from ingestion.scheduling.postgres import open_postgres
from ingestion.scheduling.sqlite import open_sqlite
from ingestion.scheduling.statements import SqlStore
from ingestion.scheduling.store import Key, LinkUsed, NewBooking, NewTime, SlotTaken
from tests.postgres_server import postgres_server

NOW = datetime(2026, 6, 1, 8, tzinfo=UTC)
AT = datetime(2026, 6, 2, 9, tzinfo=UTC)
HALF, QUARTER = timedelta(minutes=30), timedelta(minutes=15)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is: a file, or a database of the server."""
    if request.param == "sqlite":
        return str(tmp_path / "bookings.sqlite")
    import psycopg

    server: str = request.getfixturevalue("postgres")
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def store(address: str) -> Iterator[SqlStore]:
    with closing(opened(address)) as store:
        yield store


def opened(address: str) -> SqlStore:
    return open_postgres(address) if "://" in address else open_sqlite(Path(address))


def new(at: datetime = AT, host: str = "rep-1", **more: Any) -> NewBooking:
    fields: dict[str, Any] = {
        "booking_id": uuid.uuid4().hex,
        "host_id": host,
        "host_email": f"{host}@example.com",
        "host_name": "Rep",
        "host_time_zone": "Europe/Berlin",
        "meeting_type": "intro",
        "starts_at": at,
        "ends_at": at + HALF,
        "busy_from": at,
        "busy_to": at + HALF + QUARTER,
        "host_day": f"{at:%Y-%m-%d}",
        "daily_cap": None,
        "time_zone": "Europe/London",
        "title": "Intro",
        "email": "ada@example.com",
    }
    return NewBooking(**fields | more)


def key(text: str, body: str = "body") -> Key:
    return Key("client", text, body)


def moved(at: datetime, **more: Any) -> NewTime:
    fields = {
        "starts_at": at,
        "ends_at": at + HALF,
        "busy_from": at,
        "busy_to": at + HALF + QUARTER,
    }
    return NewTime(
        **fields | {"host_day": f"{at:%Y-%m-%d}", "daily_cap": None, "time_zone": "UTC"} | more
    )  # type: ignore[arg-type]


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(HandoffError) as caught:
        call()
    return caught.value.code


def test_a_slot_is_booked_once_and_its_buffer_keeps_neighbours_off(store: SqlStore) -> None:
    store.book(new(), key("a"), NOW, "test")
    for at in (AT, AT + HALF, AT - HALF + timedelta(minutes=1), AT + 2.9 * QUARTER):
        with pytest.raises(SlotTaken):
            store.book(new(at), key(str(at)), NOW, "test")
    # Half-open: what begins when the buffer is over meets nothing, nor does another host.
    store.book(new(AT + 3 * QUARTER), key("b"), NOW, "test")
    store.book(new(AT - 3 * QUARTER), key("c"), NOW, "test")
    store.book(new(host="rep-2"), key("d"), NOW, "test")
    assert len(store.taken(["rep-1", "rep-2"], AT - 3 * HALF, AT + 3 * HALF, NOW)) == 4


def test_an_instant_comes_back_as_it_was_given_to_the_microsecond(store: SqlStore) -> None:
    odd = AT.replace(microsecond=123_457)
    made = store.book(
        new(odd, calendar=CalendarName("caldav", "/x/")), key("a"), odd, "test"
    ).booking
    assert (made.starts_at, made.created_at, made.booked_at) == (odd, odd, odd)
    assert made.calendar == CalendarName("caldav", "/x/")
    assert store.find(made.booking_id) == made


def test_the_same_key_and_body_answer_the_same_for_ever(store: SqlStore) -> None:
    first = store.book(new(), key("a"), NOW, "test")
    store.reschedule(first.booking.booking_id, moved(AT + timedelta(days=1)), NOW, "test")
    store.cancel(first.booking.booking_id, NOW, "test", None)
    again = store.book(new(AT + timedelta(days=3)), key("a"), NOW + timedelta(days=400), "test")
    assert again.is_repeated
    assert again.change == first.change
    assert store.repeated(key("a")) == again
    assert (
        code_of(lambda: store.book(new(), key("a", "other"), NOW, "test")) == "IDEMPOTENCY_CONFLICT"
    )
    # Somebody else's key of the same name is another key.
    other = Key("other", "a", "other")
    assert not store.book(new(), other, NOW, "test").is_repeated


def test_a_hold_keeps_others_off_until_it_runs_out(store: SqlStore) -> None:
    held = store.hold(new(), NOW + timedelta(minutes=10), NOW, "test").booking
    with pytest.raises(SlotTaken):
        store.book(new(), key("a"), NOW + timedelta(minutes=9), "test")
    late = NOW + timedelta(minutes=10)
    assert store.taken(["rep-1"], AT, AT + HALF, late) == []
    store.book(new(), key("a"), late, "test")
    assert [each.state for each in store.changes(held.booking_id)] == ["hold", "released"]
    assert (
        code_of(lambda: store.book_hold(held.booking_id, {}, key("b"), late, "test"))
        == "HOLD_EXPIRED"
    )


def test_a_hold_becomes_a_booking_once(store: SqlStore) -> None:
    held = store.hold(new(email=None), NOW + timedelta(minutes=10), NOW, "test").booking
    who = {"email": "ada@example.com", "name": "Ada"}
    booked = store.book_hold(held.booking_id, who, key("a"), NOW, "test")
    assert (booked.booking.state, booked.booking.name, booked.booking.expires_at) == (
        "booked",
        "Ada",
        None,
    )
    assert store.book_hold(held.booking_id, who, key("a"), NOW, "test").is_repeated
    assert (
        code_of(lambda: store.book_hold(held.booking_id, who, key("b"), NOW, "test"))
        == "HOLD_EXPIRED"
    )


def test_a_booking_moves_as_a_whole_or_stays(store: SqlStore) -> None:
    first = store.book(new(), key("a"), NOW, "test").booking
    store.book(new(AT + timedelta(hours=2)), key("b"), NOW, "test")
    with pytest.raises(SlotTaken):
        store.reschedule(first.booking_id, moved(AT + timedelta(hours=2)), NOW, "test")
    assert store.find(first.booking_id) == first
    # Into its own time: it does not stand in its own way.
    shifted = store.reschedule(first.booking_id, moved(AT + QUARTER), NOW, "test").booking
    assert (shifted.state, shifted.revision, shifted.starts_at) == ("rescheduled", 2, AT + QUARTER)
    same = store.reschedule(first.booking_id, moved(AT + QUARTER), NOW, "test")
    assert same.booking.revision == 2
    store.book(new(AT - 2 * QUARTER), key("c"), NOW, "test")


def test_what_is_over_changes_no_more(store: SqlStore) -> None:
    made = store.book(new(), key("a"), NOW, "test").booking.booking_id
    assert code_of(lambda: store.record_outcome(made, "held", NOW, "test")) == "BOOKING_OVER"
    assert store.record_outcome(made, "no_show", AT + HALF, "test").booking.state == "no_show"
    assert store.record_outcome(made, "held", AT + HALF, "test").booking.revision == 3
    assert code_of(lambda: store.cancel(made, AT + HALF, "test", None)) == "BOOKING_OVER"
    other = store.book(new(AT + timedelta(days=1)), key("b"), NOW, "test").booking.booking_id
    assert store.cancel(other, NOW, "test", "ill").booking.state == "cancelled"
    assert store.cancel(other, NOW, "test", "ill").booking.revision == 2
    assert code_of(lambda: store.reschedule(other, moved(AT), NOW, "test")) == "BOOKING_OVER"
    assert code_of(lambda: store.cancel("nobody", NOW, "test", None)) == "NOT_FOUND"


def test_a_day_takes_no_more_than_its_cap(store: SqlStore) -> None:
    for hour in range(3):
        store.book(new(AT + timedelta(hours=hour), daily_cap=3), key(str(hour)), NOW, "test")
    with pytest.raises(SlotTaken):
        store.book(new(AT + timedelta(hours=4), daily_cap=3), key("x"), NOW, "test")
    store.book(
        new(AT + timedelta(hours=4), daily_cap=3, meeting_type="demo"), key("y"), NOW, "test"
    )
    store.book(new(AT + timedelta(days=1), daily_cap=3), key("z"), NOW, "test")


def test_a_link_has_one_open_booking(store: SqlStore) -> None:
    made = store.book(new(link_id="l"), key("a"), NOW, "test").booking
    with pytest.raises(LinkUsed):
        store.book(new(AT + timedelta(days=1), link_id="l"), key("b"), NOW, "test")
    assert store.open_of_link("l") == made
    store.cancel(made.booking_id, NOW, "test", None)
    assert store.open_of_link("l") is None
    store.book(new(AT + timedelta(days=1), link_id="l"), key("b"), NOW, "test")


def test_what_log_and_calendar_lack_is_found_until_it_is_confirmed(store: SqlStore) -> None:
    calendar = CalendarName("calendar", "rep@example.com")
    made = store.book(new(calendar=calendar), key("a"), NOW, "test").booking.booking_id
    late = NOW + timedelta(minutes=1)
    assert [one.booking_id for one in store.unconfirmed(late)] == [made]
    assert store.unconfirmed(NOW) == []
    store.confirm_logged(made, 1)
    assert len(store.unconfirmed(late)) == 1
    store.confirm_calendar(made, 1, '"etag"', False)
    assert store.unconfirmed(late) == []
    store.cancel(made, NOW, "test", None)
    # What is confirmed late says nothing of what came after it.
    store.confirm_calendar(made, 1, '"etag"', True)
    assert len(store.unconfirmed(late)) == 1
    store.hold(new(AT + timedelta(days=2)), late, NOW, "test")
    assert len(store.unconfirmed(late)) == 1


def test_a_person_is_taken_out_and_the_time_stays(store: SqlStore) -> None:
    made = store.book(new(name="Ada"), key("a"), NOW, "test").booking
    assert store.forget(["ada@example.com"]) == 1
    left = store.find(made.booking_id)
    assert left is not None
    assert (left.email, left.name, left.title, left.starts_at) == (None, None, "erased", AT)
    with pytest.raises(SlotTaken):
        store.book(new(), key("b"), NOW, "test")


def test_nothing_of_a_forgotten_person_is_left_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bookings.sqlite"
    with closing(open_sqlite(path)) as store:
        for number in range(40):
            person = (
                {"email": "ada@example.com"}
                if number % 2
                else {"email": None, "person_id": "person-ada"}
            )
            store.book(
                new(AT + number * 2 * HALF, name="Ada Lovelace", **person),
                key(str(number)),
                NOW,
                "test",
            )
        assert store.forget(["ADA@example.com"], ["person-ada"]) == 40
        left = b"".join(file.read_bytes() for file in tmp_path.glob("bookings.sqlite*"))
    for text in (b"ada@example.com", b"person-ada", b"Lovelace"):
        assert text not in left


def test_history_cannot_be_rewritten(store: SqlStore, address: str) -> None:
    store.book(new(), key("a"), NOW, "test")
    for statement in ("update changes set state = 'held'", "delete from changes"):
        with pytest.raises(Exception, match="a change is never"):
            execute(address, statement)


def execute(address: str, *statements: str) -> list[Any]:
    """Statements of somebody who knows nothing of the product."""
    found: list[Any] = []
    if "://" in address:
        import psycopg

        with psycopg.connect(address, autocommit=True) as connection:
            for statement in statements:
                done = connection.execute(statement.encode())
                found = done.fetchall() if done.description else []
        return found
    with closing(apsw.Connection(address)) as file:
        file.set_busy_timeout(10_000)
        for statement in statements:
            found = file.execute(statement).fetchall()
    return found


COPY = (
    "insert into bookings (booking_id, host_id, host_email, host_name, host_time_zone, meeting_type, time_zone, starts_us, ends_us,"
    " busy_from_us, busy_to_us, host_day, state, is_active, revision, title, created_us, changed_us) select '{id}', host_id, host_email,"
    " host_name, host_time_zone, meeting_type, time_zone, starts_us + {by}, ends_us + {by}, busy_from_us + {by}, busy_to_us + {by},"
    " host_day, 'booked', 1, 1, title, created_us, changed_us from bookings where booking_id = '{of}'"
)


def test_an_overlap_is_refused_whoever_writes_it(store: SqlStore, address: str) -> None:
    made = store.book(new(), key("a"), NOW, "test").booking.booking_id
    minute = 60_000_000
    with pytest.raises(Exception, match=r"SLOT_TAKEN|no_overlap"):
        execute(address, COPY.format(id="by-hand", of=made, by=10 * minute))
    execute(address, COPY.format(id="by-hand", of=made, by=60 * minute))
    with pytest.raises(Exception, match=r"SLOT_TAKEN|no_overlap"):
        execute(address, f"update bookings set busy_from_us = busy_from_us - {50 * minute} where booking_id = 'by-hand'")  # fmt: skip
    store.cancel(made, NOW, "test", None)
    execute(address, f"update bookings set busy_from_us = busy_from_us - {50 * minute} where booking_id = 'by-hand'")  # fmt: skip
    with pytest.raises(Exception, match=r"SLOT_TAKEN|no_overlap"):
        execute(address, f"update bookings set state = 'booked', is_active = 1 where booking_id = '{made}'")  # fmt: skip


BOOKERS, PROCESSES, THREADS = 1_000, 2, 25


def book_many(address: str, numbers: range) -> list[str]:
    """What becomes of these bookers, all at once in this process."""
    with closing(opened(address)) as store:
        ready = threading.Barrier(THREADS)

        def book(number: int) -> str:
            if number < numbers.start + THREADS:
                ready.wait(30)
            try:
                store.book(new(AT + (number % 3) * QUARTER / 3), key(str(number)), NOW, "test")
            except SlotTaken:
                return "taken"
            return "booked"

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(book, numbers))


def test_of_a_thousand_bookers_at_once_one_has_the_slot(address: str) -> None:
    opened(address).close()
    share = BOOKERS // PROCESSES
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(book_many, address, range(at, at + share))
            for at in range(0, BOOKERS, share)
        ]
        outcomes = Counter(outcome for part in parts for outcome in part.result(300))
    assert outcomes == {"booked": 1, "taken": BOOKERS - 1}
    assert execute(address, "select count(*) from bookings where is_active = 1")[0][0] == 1


def test_without_the_databases_guard_a_check_before_the_write_lets_two_in(address: str) -> None:
    """The control: what others do, look and then insert, in a store without its triggers or constraint."""
    with closing(opened(address)) as store:
        first = store.book(new(AT - timedelta(days=30)), key("a"), NOW, "test").booking
    if "://" in address:
        execute(address, "alter table bookings drop constraint no_overlap")
    else:
        execute(address, "drop trigger no_overlap_when_inserted")
    by = (AT - first.starts_at) // timedelta(microseconds=1)
    looked = threading.Barrier(8)

    def naive(number: int) -> None:
        free = not execute(address, f"select 1 from bookings where is_active = 1 and starts_us = {(AT - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)}")  # fmt: skip
        looked.wait(30)
        if free:
            execute(address, COPY.format(id=f"naive-{number}", of=first.booking_id, by=by))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(naive, range(8)))
    assert (
        execute(address, "select count(*) from bookings where booking_id like 'naive%'")[0][0] > 1
    )


def test_two_calls_with_one_key_at_once_are_one_booking(address: str) -> None:
    with closing(opened(address)) as store:
        ready = threading.Barrier(16)

        def book(number: int) -> str:
            ready.wait(30)
            # Each might go to another host: the key alone makes them one.
            made = store.book(new(host=f"rep-{number}"), key("a"), NOW, "test")
            return made.booking.booking_id

        with ThreadPoolExecutor(16) as pool:
            assert len(set(pool.map(book, range(16)))) == 1


def test_a_store_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert code_of(lambda: open_sqlite(tmp_path / "folder")) == "BOOKINGS_UNAVAILABLE"
    made = replace(new(), busy_to=AT + timedelta(days=9))
    with closing(open_sqlite(tmp_path / "file")) as store:
        assert code_of(lambda: store.book(made, key("a"), NOW, "test")) == "BOOKINGS_UNAVAILABLE"
