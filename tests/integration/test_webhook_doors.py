"""Webhooks over real HTTP: each system's own signature, answer and handshake, and how they fare."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ingestion.edge.app import create_app
from ingestion.log.interface import Rejection
from ingestion.log.sqlite import SqliteLog
from ingestion.settings import Settings
from tests.serving import served

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
ORGANIZATION = "00D5g00000ABCdEEAX"
MESSAGE = f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>
<notifications xmlns="http://soap.sforce.com/2005/09/outbound">
<OrganizationId>{ORGANIZATION}</OrganizationId><SessionId>S3SS!ON</SessionId>
<Notification><Id>04l1</Id><sObject xsi:type="sf:Lead"><sf:Id>00Q1</sf:Id>
<sf:Email>ada@example.com</sf:Email><sf:SystemModstamp>2026-04-01T11:59:50Z</sf:SystemModstamp>
</sObject></Notification>
<Notification><Id>04l2</Id><sObject xsi:type="sf:Case"><sf:Id>5001</sf:Id></sObject></Notification>
</notifications></soapenv:Body></soapenv:Envelope>""".encode()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Edge:
    """A running edge, its log, its clock and a client."""

    def __init__(self, log: SqliteLog, clock: Clock, client: httpx.Client) -> None:
        self.log, self.clock, self.client = log, clock, client

    def send(self, system: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return self.client.post(f"/webhooks/{system}", content=body, headers=headers)

    def calendly(self, body: Any, secret: str = "cal-key", at: datetime | None = None) -> Any:
        raw = json.dumps(body).encode()
        stamp = str(int((at or self.clock.now).timestamp()))
        signature = hexed(secret, stamp.encode() + b"." + raw)
        header = {"calendly-webhook-signature": f"t={stamp},v1={signature}"}
        return self.send("calendly", raw, header)

    def salesforce(self, body: bytes = MESSAGE, secret: str = "sf-key") -> httpx.Response:
        return self.client.post(
            f"/webhooks/salesforce?secret={secret}",
            content=body,
            headers={"content-type": "text/xml; charset=UTF-8", "soapaction": '""'},
        )

    def health(self, system: str) -> Any:
        answer = self.client.get(f"/webhooks/{system}/health")
        assert answer.status_code == 200, answer.text
        return answer.json()


def hexed(secret: str, signed: bytes) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def settings_of(home: Path, **fields: Any) -> Settings:
    values: dict[str, Any] = {
        "home": home,
        "webhook_secrets_calendly": "old-key,cal-key",
        "webhook_secrets_calcom": "com-key",
        "webhook_secrets_salesforce": "sf-key",
        "webhook_secrets_marketo": "mkto-key",
        "salesforce_organization_ids": ORGANIZATION,
        "webhook_origins": "events.example.com",
    }
    return Settings(**(values | fields))


@contextmanager
def running(settings: Settings, clock: Clock | None = None) -> Iterator[Edge]:
    """The edge on a free port until the block ends, stopped as a supervisor stops it."""
    clock = clock or Clock()
    log = SqliteLog(settings.log_path)
    with (
        closing(log),
        served(create_app(settings, log, clock)) as url,
        httpx.Client(base_url=url, timeout=20) as client,
    ):
        yield Edge(log, clock, client)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(settings_of(tmp_path_factory.mktemp("doors"))) as edge:
        yield edge


def booking(number: int = 1) -> dict[str, Any]:
    api = "https://api.calendly.com"
    return {
        "event": "invitee.created",
        "created_at": "2026-04-01T11:59:30Z",
        "payload": {
            "uri": f"{api}/scheduled_events/E{number}/invitees/I{number}",
            "email": "ada@example.com",
            "name": "Ada Keller",
            "timezone": "Europe/Berlin",
            "created_at": "2026-04-01T11:59:30Z",
            "updated_at": "2026-04-01T11:59:30Z",
            "scheduled_event": {
                "uri": f"{api}/scheduled_events/E{number}",
                "start_time": "2026-04-14T08:00:00Z",
                "end_time": "2026-04-14T08:30:00Z",
                "event_memberships": [{"user": f"{api}/users/U1", "user_email": "m@us.example"}],
            },
        },
    }


# -- senders and what they hear --------------------------------------------------------------


def test_a_signed_booking_is_in_the_log_when_acknowledged_and_once(edge: Edge) -> None:
    answer = edge.calendly(booking())
    assert answer.status_code == 202, answer.text
    results = answer.json()["results"]
    first = results[0]["seq"]
    types = [entry.event["type"] for entry in edge.log.read(first - 1, len(results))]
    records = ("contact", "rep", "meeting", "activity")
    assert types == [f"com.handoff.{record}" for record in records]
    again = edge.calendly(booking(), secret="old-key")
    assert {result["status"] for result in again.json()["results"]} == {"duplicate"}


def test_a_forged_late_or_changed_booking_is_refused(edge: Edge) -> None:
    before = (edge.log.last_seq(), edge.log.last_quarantine_id())
    assert edge.calendly(booking(2), secret="guess").json()["code"] == "SIGNATURE_INVALID"
    late = edge.calendly(booking(2), at=NOW - timedelta(seconds=181))
    assert late.json()["code"] == "SIGNATURE_EXPIRED"
    assert edge.send("calendly", b"{}", {}).json()["code"] == "SIGNATURE_INVALID"
    assert (edge.log.last_seq(), edge.log.last_quarantine_id()) == before


def test_an_outbound_message_is_acknowledged_in_salesforces_words(edge: Edge) -> None:
    answer = edge.salesforce()
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert b"<Ack>true</Ack>" in answer.content
    newest = edge.log.read(edge.log.last_seq() - 1, 1)[0].event
    assert newest["data"] == {
        "system": "salesforce",
        "record_id": "00Q1",
        "email": "ada@example.com",
    }
    # The second notification is of an object nobody asked for: kept, without the session id.
    (kept,) = edge.log.read_quarantine(edge.log.last_quarantine_id() - 1, 1)
    assert (kept.rejection.door, kept.rejection.code) == ("webhook:salesforce", "SCHEMA_UNKNOWN")
    assert b"5001" in kept.rejection.payload
    assert b"S3SS" not in kept.rejection.payload


def test_an_outbound_message_that_is_not_taken_is_not_acknowledged(edge: Edge) -> None:
    stranger = MESSAGE.replace(ORGANIZATION.encode(), b"00D000000000000AAA")
    for body, secret, code in (
        (MESSAGE, "guess", "SIGNATURE_INVALID"),
        (stranger, "sf-key", "SIGNATURE_INVALID"),
        (MESSAGE[:-30], "sf-key", "SCHEMA_INVALID"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "sf-key", "SCHEMA_INVALID"),
    ):
        answer = edge.salesforce(body, secret)
        assert answer.json()["code"] == code
        assert b"Ack" not in answer.content


def test_a_change_event_is_json_and_answered_in_json(edge: Edge) -> None:
    change = {
        "ChangeEventHeader": {
            "entityName": "Contact",
            "recordIds": ["0031"],
            "changeType": "DELETE",
            "transactionKey": "t-1",
            "sequenceNumber": 1,
            "commitTimestamp": 1775044790000,
        }
    }
    headers = {"x-handoff-secret": "sf-key", "content-type": "application/json"}
    answer = edge.send("salesforce", json.dumps(change).encode(), headers)
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (202, "accepted")


def test_calcoms_ping_is_answered_well_when_it_is_signed(edge: Edge) -> None:
    ping = b'{"triggerEvent":"PING","createdAt":"2026-04-01T12:00:00Z","payload":{"type":"Test"}}'
    answer = edge.send("calcom", ping, {"x-cal-signature-256": hexed("com-key", ping)})
    assert (answer.status_code, answer.json()["results"]) == (202, [])
    unsigned = edge.send("calcom", ping, {"x-cal-signature-256": "no-secret-provided"})
    assert unsigned.json()["code"] == "SIGNATURE_INVALID"


# -- the handshake of CloudEvents ------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/events", "/webhooks/web"])
def test_an_origin_on_the_list_may_send(edge: Edge, path: str) -> None:
    asked = {"webhook-request-origin": "Events.example.com", "webhook-request-rate": "120"}
    answer = edge.client.options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["webhook-allowed-origin"] == "events.example.com"
    assert answer.headers["webhook-allowed-rate"] == "*"
    assert "POST" in answer.headers["allow"]
    del asked["webhook-request-rate"]
    assert "webhook-allowed-rate" not in edge.client.options(path, headers=asked).headers


def test_any_other_origin_may_not(edge: Edge) -> None:
    for path, headers, code in (
        ("/v1/events", {"webhook-request-origin": "evil.example"}, "SCOPE_DENIED"),
        ("/v1/events", {}, "BAD_REQUEST"),
        ("/webhooks/nobody", {"webhook-request-origin": "events.example.com"}, "NOT_FOUND"),
    ):
        answer = edge.client.options(path, headers=headers)
        assert answer.json()["code"] == code
        assert "webhook-allowed-origin" not in answer.headers


def test_without_a_list_no_origin_may_send(tmp_path: Path) -> None:
    with running(settings_of(tmp_path, webhook_origins="")) as edge:
        asked = {"webhook-request-origin": "events.example.com"}
        assert edge.client.options("/v1/events", headers=asked).json()["code"] == "SCOPE_DENIED"


# -- health ----------------------------------------------------------------------------------


def test_health_tells_what_came_how_it_fared_and_how_late(tmp_path: Path) -> None:
    with running(settings_of(tmp_path)) as edge:
        quiet = edge.health("calendly")
        assert quiet["last_delivery"] is None
        assert quiet["last_hour"]["success_rate"] is None
        assert quiet["active_secrets"] == 2
        for number, late in enumerate((2, 10, 4), start=1):
            edge.calendly(booking(number), at=NOW - timedelta(seconds=late))
        edge.calendly(booking(4), secret="guess")
        edge.calendly({"event": "invitee.created"})
        told = edge.health("calendly")
        assert told["last_delivery"] == {
            "at": NOW.isoformat(),
            "outcome": "refused",
            "code": "SCHEMA_INVALID",
        }
        assert told["last_accepted_at"] == NOW.isoformat()
        hour = told["last_hour"]
        assert (hour["deliveries"], hour["accepted"], hour["refused"]) == (5, 3, 2)
        assert hour["success_rate"] == 0.6
        assert hour["codes"] == {"SIGNATURE_INVALID": 1, "SCHEMA_INVALID": 1}
        assert told["last_day"] == hour
        assert told["lag_seconds"] == {"samples": 4, "p50": 2.0, "max": 10.0}
        assert told["quarantined"] == 1
        # A system's door is its own.
        assert edge.health("calcom")["last_hour"]["deliveries"] == 0
        # Without a signed time the lag is since the newest event, and a part may be refused.
        edge.salesforce()
        salesforce = edge.health("salesforce")
        assert salesforce["last_hour"]["partial"] == 1
        assert salesforce["lag_seconds"]["max"] == 10.0


def test_health_forgets_an_hour_and_a_day(tmp_path: Path) -> None:
    with running(settings_of(tmp_path)) as edge:
        edge.calendly(booking())
        edge.clock.now = NOW + timedelta(minutes=61)
        later = edge.health("calendly")
        assert later["last_hour"]["deliveries"] == 0
        assert later["lag_seconds"]["samples"] == 0
        assert later["last_day"]["accepted"] == 1
        edge.clock.now = NOW + timedelta(hours=25)
        assert edge.health("calendly")["last_day"]["deliveries"] == 0
        assert edge.health("calendly")["last_accepted_at"] == NOW.isoformat()


def test_health_survives_a_restart(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with running(settings) as edge:
        edge.calendly(booking())
        edge.calendly(booking(2), secret="guess")
        before = edge.health("calendly")
    assert settings.deliveries_path.stat().st_mode & 0o077 == 0
    with running(settings) as edge:
        assert edge.health("calendly") == before
        edge.calendly(booking(3))
        assert edge.health("calendly")["last_hour"]["deliveries"] == 3


@pytest.mark.parametrize(
    "kept", [b"", b"{", b"[]", b'{"version": 1}', b'{"version":1,"systems":[]}']
)
def test_counts_that_cannot_be_read_start_anew(tmp_path: Path, kept: bytes) -> None:
    settings = settings_of(tmp_path)
    settings.deliveries_path.parent.mkdir(parents=True)
    settings.deliveries_path.write_bytes(kept)
    with running(settings) as edge:
        assert edge.calendly(booking()).status_code == 202
        assert edge.health("calendly")["last_hour"]["deliveries"] == 1


def test_counts_that_cannot_be_written_refuse_no_delivery(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    settings.root.mkdir(exist_ok=True)
    (settings.root / "edge").write_text("a file where the folder would be")
    with running(settings) as edge:
        assert edge.calendly(booking()).status_code == 202
        assert edge.health("calendly")["last_hour"]["accepted"] == 1


def test_the_health_of_no_system_is_not_found_and_names_those_there_are(edge: Edge) -> None:
    answer = edge.client.get("/webhooks/nobody/health")
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"
    known = "calcom, calendly, hubspot, marketo, salesforce, typeform, web"
    assert answer.json()["detail"].endswith(f"known: {known}")


def test_health_is_for_callers_alone(tmp_path: Path) -> None:
    with running(settings_of(tmp_path, api_keys="key")) as edge:
        assert edge.client.get("/webhooks/web/health").json()["code"] == "UNAUTHENTICATED"
        named = {"authorization": "Bearer key"}
        assert edge.client.get("/webhooks/web/health", headers=named).status_code == 200


def test_counting_a_doors_quarantine_reads_an_index(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "events.sqlite")
    doors = ["webhook:web"] * 3 + ["events"] * 5
    log.quarantine(
        [
            Rejection(door, "SCHEMA_INVALID", "", "no", str(at).encode(), "c")
            for at, door in enumerate(doors)
        ]
    )
    assert log.count_quarantine("webhook:web") == 3
    assert log.count_quarantine("events") == 5
    assert log.count_quarantine("webhook:nobody") == 0
    log.close()
    import apsw

    connection = apsw.Connection(str(tmp_path / "events.sqlite"))
    plan = "explain query plan select count(*) from quarantine where door = 'events'"
    assert "USING COVERING INDEX quarantine_by_door" in str(connection.execute(plan).fetchall())


# -- through to the warehouse ----------------------------------------------------------------


def test_a_booking_becomes_a_meeting_of_a_known_rep_and_a_no_show_keeps_it(
    open_warehouse: Callable[..., Any],
) -> None:
    uid = "bFJeNb2uX8"
    booked = {
        "uid": uid,
        "startTime": "2026-03-31T08:00:00Z",
        "endTime": "2026-03-31T09:00:00Z",
        "organizer": {"id": 5, "name": "Mia", "email": "m@us.example"},
        "attendees": [{"email": "bob@acme.de", "name": "Bob Acme", "timeZone": "Europe/Berlin"}],
    }
    missed = {"bookingUid": uid, "attendees": [{"email": "bob@acme.de", "noShow": True}]}
    warehouse = open_warehouse(webhook_secrets_calendly="cal-key", webhook_secrets_calcom="com-key")
    with running(warehouse.settings) as edge:
        assert edge.calendly(booking()).status_code == 202
        for trigger, at, payload in (
            ("BOOKING_CREATED", "2026-03-30T08:00:00Z", booked),
            ("BOOKING_NO_SHOW_UPDATED", "2026-03-31T08:10:00Z", missed),
            ("MEETING_ENDED", "2026-03-31T09:00:00Z", booked),
        ):
            sent = {"triggerEvent": trigger, "createdAt": at, "payload": payload}
            body = json.dumps(sent).encode()
            headers = {"x-cal-signature-256": hexed("com-key", body)}
            assert edge.send("calcom", body, headers).status_code == 202
    rep = {
        "system": "salesforce",
        "record_id": "0051",
        "email": "M@us.example",
        "name": "Mia Brandt",
    }
    warehouse.append([warehouse.event("rep", rep, NOW)])
    warehouse.transform(datetime.now(UTC))
    assert warehouse.records(
        """
        select
            meetings.system, meetings.status, meetings.time_zone, people.email, reps.salesforce_user_id,
            epoch(meetings.starts_at) as starts
        from marts.fct_meetings as meetings
        join marts.dim_people as people using (person_id)
        join marts.dim_reps as reps on meetings.rep_id = reps.rep_id
        order by meetings.system
        """
    ) == [
        {
            "system": "calcom",
            "status": "no_show",
            "time_zone": "Europe/Berlin",
            "email": "bob@acme.de",
            "salesforce_user_id": "0051",
            "starts": datetime(2026, 3, 31, 8, tzinfo=UTC).timestamp(),
        },
        {
            "system": "calendly",
            "status": "booked",
            "time_zone": "Europe/Berlin",
            "email": "ada@example.com",
            "salesforce_user_id": "0051",
            "starts": datetime(2026, 4, 14, 8, tzinfo=UTC).timestamp(),
        },
    ]
    # The rep is one, whichever system names them, and the booking is something the person did.
    assert warehouse.rows("select count(*) from marts.dim_reps") == [(1,)]
    assert warehouse.rows(
        "select system, activity_type from marts.fct_activities order by system"
    ) == [("calcom", "meeting_booked"), ("calendly", "meeting_booked")]
