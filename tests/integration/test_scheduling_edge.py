"""Booking over HTTP: programs with scopes and keys, a thousand at once, and a lead with a link in a browser."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import icalendar
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from schemathesis import GenerationMode

from ingestion.edge.app import create_app
from ingestion.edge.booking_links import BookingLinks
from ingestion.edge.clients import ClientRegistry
from ingestion.edge.server import SWITCH_SECONDS
from ingestion.log.sqlite import SqliteLog
from ingestion.scheduling.hosts import Invitee
from ingestion.settings import Settings
from tests.integration.browser import Page, chromium
from tests.integration.scheduling_desk import ADA, GUEST, INTRO, MINUTE, NOW, TOMORROW, Directory
from tests.postgres_server import postgres_server
from tests.property.test_edge_openapi import CHECKS
from tests.serving import served

LIMITS = "scheduling=1000000/second;booking=1000000/second;token=1000000/second"
BOOKERS = 1_000


@contextmanager
def edge(settings: Settings, directory: Directory | None = None) -> Iterator[httpx.Client]:
    with (
        closing(SqliteLog(settings.log_path)) as log,
        served(
            create_app(settings, log, clock=lambda: NOW, scheduling=directory or Directory())
        ) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", rate_limits=LIMITS)


def wanted(at: datetime = TOMORROW, **more: Any) -> dict[str, Any]:
    return {
        "meeting_type": "intro",
        "starts_at": at.isoformat(),
        "email": GUEST.email,
        "time_zone": "Europe/London",
    } | more


def book(client: httpx.Client, key: str, **more: Any) -> httpx.Response:
    return client.post(
        "/v1/scheduling/bookings", json=wanted(**more), headers={"idempotency-key": key}
    )


def test_a_program_finds_a_slot_books_moves_and_reports(configured: Settings) -> None:
    with edge(configured) as client:
        asked = {"meeting_type": "intro", "email": GUEST.email, "zone": "Asia/Kathmandu"}
        found = client.get("/v1/scheduling/slots", params=asked).json()
        first = found["slots"][0]
        assert first["local_starts_at"].endswith("+05:45")
        made = book(client, "a", at=datetime.fromisoformat(first["starts_at"]))
        assert made.status_code == 201
        booking = made.json()
        assert (booking["state"], booking["host"]["rep_id"], booking["invitee"]["name"]) == (
            "booked",
            "rep-ada",
            "Gus Guest",
        )
        again = book(client, "a", at=datetime.fromisoformat(first["starts_at"]))
        assert {**again.json(), "correlation_id": ""} == {**booking, "correlation_id": ""}
        other = book(client, "a")
        assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_CONFLICT")
        path = f"/v1/scheduling/bookings/{booking['booking_id']}"
        moved = client.post(f"{path}/reschedule", json={"starts_at": TOMORROW.isoformat()})
        assert (moved.status_code, moved.json()["state"], moved.json()["revision"]) == (
            200,
            "rescheduled",
            2,
        )
        early = client.post(f"{path}/outcome", json={"outcome": "held"})
        assert (early.status_code, early.json()["code"]) == (409, "BOOKING_OVER")
        assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
        assert [change["state"] for change in client.get(path).json()["changes"]] == [
            "booked",
            "rescheduled",
            "cancelled",
        ]
        # The first answer stays the first answer.
        assert (
            book(client, "a", at=datetime.fromisoformat(first["starts_at"])).json()["state"]
            == "booked"
        )


def test_a_hold_needs_no_key_and_is_booked_once(configured: Settings) -> None:
    with edge(configured) as client:
        held = client.post(
            "/v1/scheduling/holds",
            json={"meeting_type": "intro", "starts_at": TOMORROW.isoformat()},
        )
        assert held.status_code == 201 and held.json()["expires_at"]
        taken = book(client, "a")
        assert (taken.status_code, taken.json()["code"], len(taken.json()["slots"])) == (
            409,
            "SLOT_TAKEN",
            5,
        )
        body = {"hold_id": held.json()["booking_id"], "email": GUEST.email}
        first, second = (client.post("/v1/scheduling/bookings", json=body) for _ in range(2))
        assert first.status_code == second.status_code == 201
        assert (
            first.json()["booking_id"] == second.json()["booking_id"] == held.json()["booking_id"]
        )
        no_key = client.post("/v1/scheduling/bookings", json=wanted())
        assert (no_key.status_code, no_key.json()["code"]) == (400, "BAD_REQUEST")
        off = client.post(
            "/v1/scheduling/bookings",
            json=wanted(TOMORROW + 7 * MINUTE),
            headers={"idempotency-key": "b"},
        )
        assert (off.status_code, off.json()["code"]) == (422, "SLOT_NOT_OFFERED")


def test_scopes_say_who_may_read_book_and_see_names(configured: Settings) -> None:
    registry = ClientRegistry(configured.edge_dir)
    secrets = {
        name: registry.add(name, scopes, datetime.now(UTC))
        for name, scopes in {
            "reader": ["scheduling:read"], "writer": ["scheduling:write"], "seer": ["scheduling:read", "pii:read"],
        }.items()
    }  # fmt: skip
    with (
        closing(SqliteLog(configured.log_path)) as log,
        served(create_app(configured, log, scheduling=Directory())) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        tokens = {
            name: client.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=(name, secret)
            ).json()["access_token"]
            for name, secret in secrets.items()
        }

        def ask(who: str, method: str, path: str, **more: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {tokens[who]}", **more.pop("headers", {})}
            return client.request(method, path, headers=headers, **more)

        assert ask("writer", "GET", "/v1/scheduling/slots?meeting_type=intro").status_code == 403
        assert ask("reader", "POST", "/v1/scheduling/bookings", json=wanted()).status_code == 403
        made = ask(
            "writer",
            "POST",
            "/v1/scheduling/bookings",
            json=wanted(),
            headers={"idempotency-key": "a"},
        ).json()
        assert made["is_masked"] and made["invitee"]["email"] == "***@theirs.example"
        path = f"/v1/scheduling/bookings/{made['booking_id']}"
        assert ask("reader", "GET", path).json()["host"]["rep_name"] == "***"
        assert ask("seer", "GET", path).json()["invitee"]["email"] == GUEST.email
        assert client.get("/v1/scheduling/slots?meeting_type=intro").status_code == 401


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_of_a_thousand_calls_at_once_one_books_and_the_others_hear_what_is_free(
    configured: Settings, engine: str
) -> None:
    if engine == "sqlite":
        race(configured)
        return
    with postgres_server() as address:
        race(configured.model_copy(update={"scheduling_database": SecretStr(address)}))


def race(settings: Settings) -> None:
    # The library looks through all that wait each time one is answered: so many wait here instead.
    turns = asyncio.Semaphore(64)

    async def call(client: httpx.AsyncClient, number: int) -> tuple[int, str, int]:
        async with turns:
            return await ask(client, number)

    async def ask(client: httpx.AsyncClient, number: int) -> tuple[int, str, int]:
        answer = await client.post(
            "/v1/scheduling/bookings",
            json=wanted(email=f"guest{number}@theirs.example"),
            headers={"idempotency-key": str(number)},
        )
        told = answer.json()
        return answer.status_code, told.get("code", told.get("state")), len(told.get("slots", ()))

    async def all_at_once(url: str) -> list[tuple[int, str, int]]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(
            base_url=url, trust_env=False, timeout=120, limits=limits
        ) as client:
            return await asyncio.gather(*(call(client, number) for number in range(BOOKERS)))

    # As `handoff serve` has it: threads that share the interpreter hand it on at once.
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with edge(settings, Directory([ADA])) as client:
            answers = Counter(asyncio.run(all_at_once(str(client.base_url))))
    finally:
        sys.setswitchinterval(before)
    assert answers == {(201, "booked", 0): 1, (409, "SLOT_TAKEN", 5): BOOKERS - 1}


def test_the_doors_answer_as_the_document_says(configured: Settings) -> None:
    with edge(configured) as client:
        url = str(client.base_url).rstrip("/")
        document = schemathesis.openapi.from_url(f"{url}/openapi.json")
        asked = 0
        for found in document.include(path_regex="^/(v1/scheduling|book)").get_all_operations():
            operation = found.ok()
            assert operation is not None

            @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
            @hypothesis_settings(
                max_examples=15,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            def ask(case: schemathesis.Case) -> None:
                nonlocal asked
                asked += 1
                case.call_and_validate(base_url=url, checks=CHECKS)

            ask()
        assert asked > 60


@pytest.mark.parametrize(("path", "more", "code"), [
    ("slots", {"params": {"meeting_type": "none"}}, "BAD_REQUEST"),
    ("slots", {"params": {"meeting_type": "intro", "zone": "Mars/Base"}}, "BAD_REQUEST"),
    ("slots", {"params": {"meeting_type": "intro", "from": "yesterday"}}, "BAD_REQUEST"),
    ("slots", {"params": {"meeting_type": "intro", "from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}}, "BAD_REQUEST"),
    ("bookings/none", {}, "NOT_FOUND"),
    (f"bookings/{'0' * 32}", {}, "NOT_FOUND"),
])  # fmt: skip
def test_what_cannot_be_answered_says_why(
    configured: Settings, path: str, more: Any, code: str
) -> None:
    with edge(configured) as client:
        assert client.get(f"/v1/scheduling/{path}", **more).json()["code"] == code


@pytest.mark.parametrize(("body", "code", "path"), [
    ({"email": "nobody"}, "BAD_REQUEST", "/email"),
    ({"time_zone": "Mars/Base"}, "BAD_REQUEST", "/time_zone"),
    ({"starts_at": "2026-06-01T10:00:00"}, "BAD_REQUEST", "/starts_at"),
    ({"starts_at": 7}, "FIELD_MISMATCH", "/starts_at"),
    ({"name": "x" * 300}, "BAD_REQUEST", "/name"),
    ({"colour": "red"}, "SCHEMA_INVALID", "/colour"),
])  # fmt: skip
def test_a_body_is_refused_by_the_member_that_is_wrong(
    configured: Settings, body: Any, code: str, path: str
) -> None:
    with edge(configured) as client:
        answer = client.post(
            "/v1/scheduling/bookings", json=wanted() | body, headers={"idempotency-key": "a"}
        ).json()
        assert (answer["code"], answer["path"]) == (code, path)


# -- the page ------------------------------------------------------------------------------------


def token(settings: Settings, invitee: Invitee = GUEST, **more: Any) -> str:
    fields = {"meeting_type": "intro", "now": NOW, "life": timedelta(days=7)} | more
    return BookingLinks(settings.edge_dir).issue(invitee, **fields)[0]


def test_a_link_that_was_changed_or_is_over_books_nothing(configured: Settings) -> None:
    good = token(configured)
    assert GUEST.email not in good
    with edge(configured) as client:
        assert client.get(f"/book/{good}").status_code == 200
        parts = good.split(".")
        parts[3] = ("A" if parts[3][0] != "A" else "B") + parts[3][1:]
        for bad in (good[:-4], ".".join(parts), "x", "a.b.c.d.e", good + "A"):
            answer = client.get(f"/book/{bad}")
            assert (answer.status_code, "does not work" in answer.text) == (404, True)
        over = client.get(f"/book/{token(configured, life=timedelta(seconds=-1))}")
        assert (over.status_code, "run out" in over.text) == (410, True)
        assert client.get(f"/book/{token(configured, meeting_type='gone')}").status_code == 404
        posted = client.post(
            f"/book/{good[:-4]}", data={"action": "book", "at": TOMORROW.isoformat()}
        )
        assert posted.status_code == 404
        assert (
            client.get("/v1/scheduling/slots?meeting_type=intro").json()["slots"][0]["starts_at"]
            != ""
        )


def test_a_page_says_nothing_a_stranger_wrote_as_markup(configured: Settings) -> None:
    nasty = Invitee('"><script>alert(1)</script>@theirs.example', '<img src=x onerror="alert(1)">')
    directory = Directory([replace(ADA, name="<b>Ada</b>")])
    directory.in_force = replace(
        directory.in_force,
        meeting_types={"intro": replace(INTRO, label="<i>Intro</i>", location="<u>there</u>")},
    )
    with edge(configured, directory) as client:
        path = f"/book/{token(configured, nasty)}"
        pages = [
            client.get(path),
            client.get(path, params={"at": TOMORROW.isoformat(), "zone": '"><script>'}),
        ]
        done = client.post(
            path,
            data={"action": "book", "at": TOMORROW.isoformat(), "key": '"><script>', "name": "<s>"},
        )
        assert done.status_code == 303
        pages += [
            client.get(path),
            client.get(path, params={"move": "1"}),
            client.get("/book/<script>alert(1)"),
        ]
        for page in pages:
            text = page.text.replace("<script>\nconst chosen", "")
            assert not any(
                tag in text for tag in ("<script>alert", "<img", "<b>", "<i>", "<u>", "<s>")
            )
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert page.headers["referrer-policy"] == "no-referrer"
            assert "http" not in page.text.replace("http-equiv", "")


def test_two_presses_of_a_button_and_two_windows_are_one_booking(configured: Settings) -> None:
    with edge(configured) as client:
        path = f"/book/{token(configured)}"
        form = {"action": "book", "at": TOMORROW.isoformat(), "key": "k", "zone": "UTC"}
        assert [client.post(path, data=form).status_code for _ in range(2)] == [303, 303]
        client.post(path, data=form | {"at": (TOMORROW + 60 * MINUTE).isoformat(), "key": "other"})
        assert f"{TOMORROW:%H:%M} (UTC+0)" in client.get(path, params={"zone": "UTC"}).text
        free = {
            slot["starts_at"]
            for slot in client.get("/v1/scheduling/slots?meeting_type=intro").json()["slots"]
        }
        assert (TOMORROW + 60 * MINUTE).isoformat() in free
        # Another lead's page offers what is left, and says so when it is too late.
        late = client.post(f"/book/{token(configured)}", data=form)
        assert (late.status_code, "has just been taken" in late.text) == (409, True)


def test_the_address_of_a_page_is_not_logged(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import structlog

    secret = token(configured)
    # A logger that an edge before has configured is kept for good: it would not be captured.
    lines = structlog.testing.CapturingLogger()
    monkeypatch.setattr("ingestion.edge.correlation.logger", lines)
    structlog.configure()
    try:
        with edge(configured) as client:
            client.get(f"/book/{secret}")
    finally:
        structlog.reset_defaults()
    told = repr(lines.calls)
    assert "/book/…" in told
    assert secret not in told


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path) as page:
        yield page


def test_a_lead_books_moves_and_cancels_in_a_browser(
    configured: Settings, browser: Page, tmp_path: Path
) -> None:
    with edge(configured, Directory([ADA])) as client:
        url = f"{str(client.base_url).rstrip('/')}/book/{token(configured)}"
        browser.look(1_200, zone="America/New_York")
        browser.go(url)
        # The browser's zone was taken: 10:00 in Berlin is four in the morning there.
        assert "Times are in America/New_York" in browser.text()
        assert (
            f"{TOMORROW.astimezone(datetime.now().astimezone().tzinfo).strftime('%A')}"
            in browser.text()
        )
        browser.picture(tmp_path / "choose-desktop.png")
        browser.choose("zone", "Europe/Berlin")
        browser.click("Show times there")
        assert "Times are in Europe/Berlin" in browser.text()
        browser.click("09:30")
        browser.fill("name", "Augusta Guest")
        browser.click("Book this time")
        assert "You are booked" in browser.text() and "Ada Host" in browser.text()
        browser.picture(tmp_path / "booked-desktop.png")
        calendar = icalendar.Calendar.from_ical(client.get(f"{url}/meeting.ics").text)
        [event] = calendar.walk("VEVENT")
        assert calendar["METHOD"] == "PUBLISH" and "Augusta Guest" in str(event["SUMMARY"])
        # By phone, in the dark, without script.
        browser.look(360, dark=True, script=False)
        browser.go(url)
        assert browser.overflow() <= 0
        browser.picture(tmp_path / "booked-phone.png")
        browser.click("Choose another time")
        assert browser.overflow() <= 0
        browser.picture(tmp_path / "choose-phone.png")
        browser.click("11:00")
        browser.click("Move the meeting")
        assert "The meeting was moved." in browser.text() and "11:00" in browser.text()
        browser.click("Cancel the meeting")
        assert "This meeting is cancelled" in browser.text()
        browser.click("Book another time")
        assert "Book: Intro call" in browser.text()
        assert {
            httpx.URL(asked).host for asked in browser.requests if not asked.startswith("data:")
        } == {"127.0.0.1"}
        assert browser.complaints == []
