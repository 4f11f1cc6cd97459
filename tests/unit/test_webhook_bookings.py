"""What Calendly's, Cal.com's and Typeform's deliveries mean: every event is held to its contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.connectors.calcom import webhook as calcom
from ingestion.connectors.calendly import webhook as calendly
from ingestion.connectors.delivered import person_id
from ingestion.connectors.typeform import webhook as typeform
from ingestion.contracts.registry import validate_event
from ingestion.errors.catalog import HandoffError

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
ADA = person_id("ada.keller@example.com")


def translated(module: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = module.to_events(json.dumps(body).encode(), NOW)
    for event in events:
        assert validate_event(event, {module.SYSTEM}) == [], event
    respelled = json.dumps(dict(reversed(body.items())), indent=1).encode()
    assert module.to_events(respelled, NOW) == events
    return events


def by_record(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {event["type"].rpartition(".")[2]: event["data"] for event in events}
    assert len(found) == len(events)
    return found


def refused(module: Any, body: Any) -> tuple[str, str | None]:
    with pytest.raises(HandoffError) as raised:
        module.to_events(json.dumps(body).encode(), NOW)
    return raised.value.code, raised.value.path


# -- Calendly --------------------------------------------------------------------------------

API = "https://api.calendly.com"


def invitee(kind: str = "invitee.created", **changes: Any) -> dict[str, Any]:
    payload = {
        "uri": f"{API}/scheduled_events/EV1/invitees/IN1",
        "email": "Ada.Keller@example.com",
        "name": "Ada Keller",
        "first_name": None,
        "last_name": None,
        "status": "active",
        "timezone": "Europe/Berlin",
        "created_at": "2026-04-01T09:00:00.125000Z",
        "updated_at": "2026-04-01T09:30:00.000000Z",
        "old_invitee": None,
        "new_invitee": None,
        "rescheduled": False,
        "questions_and_answers": [{"question": "Team size?", "answer": "40", "position": 0}],
        "tracking": {"utm_source": "google", "utm_campaign": None, "salesforce_uuid": None},
        "scheduled_event": {
            "uri": f"{API}/scheduled_events/EV1",
            "name": "Demo",
            "start_time": "2026-04-14T08:00:00.000000Z",
            "end_time": "2026-04-14T08:30:00.000000Z",
            "invitees_counter": {"total": 1, "active": 1, "limit": 1},
            "event_memberships": [
                {"user": f"{API}/users/U1", "user_email": "mia@us.example", "user_name": "Mia"}
            ],
        },
    } | changes
    return {
        "event": kind,
        "created_at": "2026-04-01T09:00:01.000000Z",
        "created_by": f"{API}/users/ADMIN",
        "payload": payload,
    }


def test_a_calendly_booking_is_a_contact_a_rep_a_meeting_and_an_activity() -> None:
    events = translated(calendly, invitee())
    found = by_record(events)
    assert {event["time"] for event in events} == {"2026-04-01T09:00:00.125000Z"}
    assert found["contact"] == {
        "system": "calendly",
        "record_id": ADA,
        "email": "Ada.Keller@example.com",
        "first_name": "Ada",
        "last_name": "Keller",
        "utm_source": "google",
    }
    assert found["rep"] == {
        "system": "calendly",
        "record_id": "U1",
        "email": "mia@us.example",
        "name": "Mia",
    }
    assert found["meeting"] == {
        "system": "calendly",
        "meeting_id": "EV1",
        "contact_id": ADA,
        "rep_id": "U1",
        "starts_at": "2026-04-14T08:00:00.000000Z",
        "ends_at": "2026-04-14T08:30:00.000000Z",
        "time_zone": "Europe/Berlin",
        "status": "booked",
    }
    assert found["activity"]["activity_type"] == "meeting_booked"
    assert found["activity"]["contact_id"] == ADA
    assert found["activity"]["custom"] == {"Team size?": "40"}


def test_two_calendly_subscriptions_to_one_booking_are_one() -> None:
    first, second = invitee(), invitee()
    second |= {"created_at": "2026-04-01T09:00:07Z", "created_by": f"{API}/users/OTHER"}
    assert translated(calendly, first) == translated(calendly, second)


def test_moving_a_calendly_meeting_ends_the_old_one_and_books_no_second() -> None:
    moved = invitee(old_invitee=f"{API}/scheduled_events/EV0/invitees/IN0")
    found = by_record(translated(calendly, moved))
    assert found["meeting"]["status"] == "rescheduled"
    assert "activity" not in found
    ended = invitee(
        "invitee.canceled",
        rescheduled=True,
        cancellation={"created_at": "2026-04-01T09:00:00Z", "canceled_by": "Ada"},
    )
    assert [event["data"]["status"] for event in translated(calendly, ended)] == ["cancelled"]


def test_a_calendly_no_show_keeps_what_is_known_of_the_meeting() -> None:
    absent = invitee("invitee_no_show.created", no_show={"created_at": "2026-04-14T08:20:00Z"})
    (event,) = translated(calendly, absent)
    assert event["time"] == "2026-04-14T08:20:00Z"
    assert event["data"]["status"] == "no_show"
    assert event["data"]["starts_at"] == "2026-04-14T08:00:00.000000Z"
    (back,) = translated(calendly, invitee("invitee_no_show.deleted", no_show=None))
    assert back["data"]["status"] == "booked"


def test_each_invitee_of_a_group_event_has_a_meeting_of_their_own() -> None:
    scheduled = invitee()["payload"]["scheduled_event"] | {"invitees_counter": {"limit": 20}}
    found = by_record(translated(calendly, invitee(scheduled_event=scheduled)))
    assert found["meeting"]["meeting_id"] == "EV1/IN1"


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (invitee("event_type.created"), "SCHEMA_UNKNOWN", "/event"),
        ({"event": "invitee.created"}, "SCHEMA_INVALID", "/payload"),
        (invitee(email=None), "SCHEMA_INVALID", "/payload/email"),
        (invitee(scheduled_event=[]), "SCHEMA_INVALID", "/payload/scheduled_event"),
        (invitee(created_at="today"), "FIELD_MISMATCH", "/payload/created_at"),
        (
            invitee(questions_and_answers=["x"]),
            "FIELD_MISMATCH",
            "/payload/questions_and_answers/0",
        ),
        ([], "SCHEMA_INVALID", ""),
    ],
)
def test_a_calendly_delivery_that_says_too_little_is_refused_by_path(
    body: Any, code: str, path: str
) -> None:
    assert refused(calendly, body) == (code, path)


# -- Cal.com ---------------------------------------------------------------------------------


def booking(trigger: str = "BOOKING_CREATED", **changes: Any) -> dict[str, Any]:
    payload = {
        "uid": "bFJeNb2uX8",
        "bookingId": 91,
        "title": "60min between Mia and Ada Keller",
        "startTime": "2026-04-14T08:00:00Z",
        "endTime": "2026-04-14T09:00:00Z",
        "organizer": {
            "id": 5,
            "name": "Mia",
            "email": "mia@us.example",
            "timeZone": "Asia/Kolkata",
        },
        "attendees": [
            {"email": "ada.keller@example.com", "name": "Ada Keller", "timeZone": "Europe/Berlin"}
        ],
        "status": "ACCEPTED",
    } | changes
    return {"triggerEvent": trigger, "createdAt": "2026-04-01T09:00:00.538Z", "payload": payload}


def test_a_calcom_booking_is_a_contact_a_rep_a_meeting_and_an_activity() -> None:
    found = by_record(translated(calcom, booking()))
    assert found["contact"]["record_id"] == ADA
    assert found["rep"] == {
        "system": "calcom",
        "record_id": "5",
        "email": "mia@us.example",
        "name": "Mia",
    }
    assert found["meeting"] == {
        "system": "calcom",
        "meeting_id": "bFJeNb2uX8",
        "contact_id": ADA,
        "rep_id": "5",
        "starts_at": "2026-04-14T08:00:00Z",
        "ends_at": "2026-04-14T09:00:00Z",
        "time_zone": "Europe/Berlin",
        "status": "booked",
    }
    assert found["activity"]["activity_type"] == "meeting_booked"


@pytest.mark.parametrize(
    ("trigger", "status"),
    [("BOOKING_CANCELLED", "cancelled"), ("BOOKING_REJECTED", "cancelled")],
)
def test_what_calcom_calls_off_is_cancelled(trigger: str, status: str) -> None:
    (event,) = translated(calcom, booking(trigger))
    assert event["data"]["status"] == status


def test_a_calcom_reschedule_ends_the_booking_it_replaces() -> None:
    moved = booking(
        "BOOKING_RESCHEDULED",
        uid="new",
        rescheduleUid="old",
        rescheduleStartTime="2026-04-13T08:00:00Z",
        rescheduleEndTime="2026-04-13T09:00:00Z",
    )
    meetings = [
        (event["data"]["meeting_id"], event["data"]["status"], event["data"]["starts_at"])
        for event in translated(calcom, moved)
        if event["type"] == "com.handoff.meeting"
    ]
    assert meetings == [
        ("new", "rescheduled", "2026-04-14T08:00:00Z"),
        ("old", "cancelled", "2026-04-13T08:00:00Z"),
    ]


def test_the_end_of_a_calcom_meeting_does_not_overrule_a_no_show_marked_during_it() -> None:
    flat = booking()["payload"] | {"triggerEvent": "MEETING_ENDED"}
    (ended,) = translated(calcom, flat)
    absent = {
        "triggerEvent": "BOOKING_NO_SHOW_UPDATED",
        "createdAt": "2026-04-14T08:10:00Z",
        "payload": {
            "bookingUid": "bFJeNb2uX8",
            "attendees": [{"email": "ada.keller@example.com", "noShow": True}],
        },
    }
    (missed,) = translated(calcom, absent)
    assert (ended["data"]["status"], missed["data"]["status"]) == ("held", "no_show")
    assert ended["subject"] == missed["subject"]
    assert ended["time"] < missed["time"]


def test_a_calcom_request_is_no_meeting_yet_and_a_ping_is_nothing() -> None:
    assert list(by_record(translated(calcom, booking("BOOKING_REQUESTED")))) == ["contact"]
    assert translated(calcom, {"triggerEvent": "PING", "createdAt": "2026-04-01T09:00:00Z"}) == []


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (booking("RECORDING_READY"), "SCHEMA_UNKNOWN", "/triggerEvent"),
        (booking(attendees=[]), "SCHEMA_INVALID", "/payload/attendees"),
        (booking(attendees=[{"name": "x"}]), "SCHEMA_INVALID", "/payload/attendees/0/email"),
        (booking(uid=None), "SCHEMA_INVALID", "/payload/uid"),
        (booking(startTime="soon"), "FIELD_MISMATCH", "/payload/startTime"),
    ],
)
def test_a_calcom_delivery_that_says_too_little_is_refused_by_path(
    body: Any, code: str, path: str
) -> None:
    assert refused(calcom, body) == (code, path)


# -- Typeform --------------------------------------------------------------------------------


def answer(kind: str, value: Any, ref: str, field_type: str | None = None) -> dict[str, Any]:
    field = {"id": f"id-{ref}", "type": field_type or kind, "ref": ref}
    return {"type": kind, kind: value, "field": field}


def response(*answers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    form = {
        "form_id": "lT4Z3j",
        "token": "a3a12ec67a1365927098a606107fac15",
        "landed_at": "2026-04-01T08:58:00Z",
        "submitted_at": "2026-04-01T09:00:00Z",
        "hidden": {"utm_source": "google", "company": "Keller Optik"},
        "definition": {"id": "lT4Z3j", "title": "Demo", "fields": []},
        "answers": list(answers),
    } | changes
    return {"event_id": "LtWXD3crgy", "event_type": "form_response", "form_response": form}


EMAIL = answer("email", "Ada.Keller@example.com", "q1")


def test_a_typeform_response_is_a_contact_an_activity_and_the_consents_it_names() -> None:
    events = translated(
        typeform,
        response(
            EMAIL,
            answer("text", "Ada", "first_name", "short_text"),
            answer("text", "de", "country", "dropdown"),
            answer("phone_number", "+49301234567", "q2"),
            answer("choice", {"label": "Team", "id": "c1"}, "plan"),
            answer("boolean", True, "consent_email", "legal"),
            answer("boolean", False, "consent_phone", "legal"),
            answer("boolean", True, "terms", "legal"),
        ),
    )
    contact, activity, *consents = (event["data"] for event in events)
    assert contact == {
        "system": "typeform",
        "record_id": ADA,
        "email": "Ada.Keller@example.com",
        "first_name": "Ada",
        "country": "DE",
        "phone": "+49301234567",
        "company": "Keller Optik",
        "utm_source": "google",
    }
    assert activity["activity_type"] == "form_submit"
    assert activity["form_id"] == "lT4Z3j"
    assert activity["custom"] == {"plan": "Team", "terms": True}
    assert [(row["channel"], row["status"]) for row in consents] == [
        ("email", "granted"),
        ("phone", "denied"),
    ]


def test_the_parts_of_a_typeform_contact_block_are_fields() -> None:
    block = {
        "id": "block",
        "type": "contact_info",
        "properties": {
            "fields": [
                {"id": "id-a", "subfield_key": "last_name"},
                {"id": "id-b", "subfield_key": "phone_number"},
            ]
        },
    }
    body = response(
        EMAIL,
        answer("text", "Keller", "a"),
        answer("phone_number", "+4930", "b"),
        definition={"fields": [block]},
    )
    found = by_record(translated(typeform, body))
    assert (found["contact"]["last_name"], found["contact"]["phone"]) == ("Keller", "+4930")


def test_two_typeform_webhooks_of_one_response_are_one() -> None:
    first, second = response(EMAIL), response(EMAIL)
    second["event_id"] = "other"
    assert translated(typeform, first) == translated(typeform, second)


def test_a_typeform_response_of_nobody_keeps_the_visit_but_no_consent() -> None:
    (event,) = translated(typeform, response(hidden={"anonymous_id": "a-1"}))
    assert event["data"]["anonymous_id"] == "a-1"
    nobody = response(answer("boolean", True, "consent_email", "legal"))
    assert refused(typeform, nobody) == ("SCHEMA_INVALID", "/form_response/answers")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (response() | {"event_type": "form_response_partial"}, "SCHEMA_UNKNOWN", "/event_type"),
        (response(submitted_at=None), "SCHEMA_INVALID", "/form_response/submitted_at"),
        (
            response(EMAIL, answer("boolean", True, "consent_fax", "legal")),
            "ENUM_UNKNOWN",
            "/form_response/answers/1/field/ref",
        ),
        (response(hidden={"email": 7}), "FIELD_MISMATCH", "/form_response/hidden/email"),
    ],
)
def test_a_typeform_delivery_that_says_too_little_is_refused_by_path(
    body: Any, code: str, path: str
) -> None:
    assert refused(typeform, body) == (code, path)
