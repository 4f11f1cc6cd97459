"""What webhooks mean in canonical records: every event is held to its contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.connectors.hubspot import webhook as hubspot
from ingestion.connectors.web import webhook as web
from ingestion.contracts.registry import validate_event
from ingestion.errors.catalog import HandoffError

NOW = datetime(2026, 4, 1, 12, 0, tzinfo=UTC)
SYSTEMS = {"hubspot", "web"}


def notification(**fields: Any) -> dict[str, Any]:
    return {
        "eventId": 100,
        "subscriptionId": 7,
        "portalId": 123,
        "appId": 9,
        "occurredAt": 1775044800125,
        "subscriptionType": "contact.propertyChange",
        "attemptNumber": 0,
        "objectId": 51,
    } | fields


def from_hubspot(*notifications: dict[str, Any]) -> list[dict[str, Any]]:
    events = hubspot.to_events(json.dumps(list(notifications)).encode(), NOW)
    for event in events:
        assert validate_event(event, SYSTEMS) == []
    return events


def form(consent: Any = None, **fields: Any) -> dict[str, Any]:
    data = {
        "form_id": "demo_request",
        "url": "https://www.example.com/demo?utm_source=google",
        "email": "Ada.Keller@Example.com ",
        "first_name": "Ada",
        "company": "Keller Optik GmbH",
        "country": "de",
        "utm_source": "google",
        "anonymous_id": "anon-1",
    } | fields
    if consent is not None:
        data["consent"] = consent
    return {"type": "form.submitted", "timestamp": "2026-04-01T12:00:00Z", "data": data}


def from_web(body: dict[str, Any]) -> list[dict[str, Any]]:
    events = web.to_events(json.dumps(body).encode(), NOW)
    for event in events:
        assert validate_event(event, SYSTEMS) == []
    return events


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("email", "ada@example.com", {"email": "ada@example.com"}),
        ("firstname", "Ada", {"first_name": "Ada"}),
        ("jobtitle", "CTO", {"job_title": "CTO"}),
        ("state", "BE", {"region": "BE"}),
        ("zip", "10969", {"postal_code": "10969"}),
        ("hubspot_owner_id", 7001, {"owner_id": "7001"}),
        ("lifecyclestage", "marketingqualifiedlead", {"lifecycle_stage": "mql"}),
        ("country", "de", {"country": "DE"}),
        ("country", "Germany", {"custom": {"country": "Germany"}}),
        ("phone", "", {"phone": None}),
        ("favourite_plan", "team", {"custom": {"favourite_plan": "team"}}),
    ],
)
def test_a_hubspot_property_becomes_our_field(name: str, value: Any, data: dict[str, Any]) -> None:
    (event,) = from_hubspot(notification(propertyName=name, propertyValue=value))
    assert event["data"] == {"system": "hubspot", "record_id": "51"} | data
    assert event["type"] == "com.handoff.contact"
    assert event["subject"] == "contact/hubspot/51"
    assert event["time"] == "2026-04-01T12:00:00.125Z"


@pytest.mark.parametrize(
    ("kind", "name", "value", "record", "data"),
    [
        ("company", "name", "Keller", "account", {"name": "Keller"}),
        ("company", "numberofemployees", "240", "account", {"employee_count": 240}),
        ("company", "annualrevenue", "1.5e6", "account", {"annual_revenue_usd": 1.5e6}),
        ("company", "annualrevenue", "", "account", {"annual_revenue_usd": None}),
        (
            "company",
            "numberofemployees",
            "many",
            "account",
            {"custom": {"numberofemployees": "many"}},
        ),
        ("company", "country", "Germany", "account", {"custom": {"country": "Germany"}}),
        ("deal", "dealstage", "closedwon", "opportunity", {"stage": "closedwon"}),
        ("deal", "amount", "48000", "opportunity", {"amount_usd": 48000.0}),
        (
            "deal",
            "createdate",
            "1775044800125",
            "opportunity",
            {"created_at": "2026-04-01T12:00:00.125Z"},
        ),
        # The expected date until the deal is closed, which this notification does not say.
        (
            "deal",
            "closedate",
            "1775044800125",
            "opportunity",
            {"custom": {"closedate": "1775044800125"}},
        ),
    ],
)
def test_companies_are_accounts_and_deals_are_opportunities(
    kind: str, name: str, value: str, record: str, data: dict[str, Any]
) -> None:
    told = notification(
        subscriptionType=f"{kind}.propertyChange", propertyName=name, propertyValue=value
    )
    (event,) = from_hubspot(told)
    assert event["data"] == {"system": "hubspot", "record_id": "51"} | data
    assert event["subject"] == f"{record}/hubspot/51"


@pytest.mark.parametrize(
    ("type_id", "record"), [("0-1", "contact"), ("0-2", "account"), ("0-3", "opportunity")]
)
def test_a_generic_subscription_names_its_object_by_its_type(type_id: str, record: str) -> None:
    told = notification(subscriptionType="object.deletion", objectTypeId=type_id)
    (event,) = from_hubspot(told)
    assert event["type"] == f"com.handoff.{record}"
    assert event["data"]["is_deleted"] is True


def test_creation_and_deletion_say_only_what_happened() -> None:
    created, deleted = from_hubspot(
        notification(subscriptionType="contact.creation"),
        notification(subscriptionType="contact.deletion"),
    )
    assert created["data"] == {"system": "hubspot", "record_id": "51"}
    assert deleted["data"] == {"system": "hubspot", "record_id": "51", "is_deleted": True}


def test_a_merge_into_a_third_id_ends_both_old_ids() -> None:
    (event,) = from_hubspot(
        notification(
            subscriptionType="contact.merge",
            primaryObjectId=51,
            mergedObjectIds=[388],
            newObjectId=903,
        )
    )
    assert event["data"] == {
        "system": "hubspot",
        "surviving_id": "903",
        "merged_ids": ["51", "388"],
    }


def test_an_older_merge_leaves_the_primary_id() -> None:
    (event,) = from_hubspot(
        notification(
            subscriptionType="contact.merge", primaryObjectId=51, mergedObjectIds=[388, 389]
        )
    )
    assert event["data"]["surviving_id"] == "51"
    assert event["data"]["merged_ids"] == ["388", "389"]


def test_a_notification_sent_again_is_the_same_event() -> None:
    first = notification(propertyName="city", propertyValue="Berlin")
    (once,) = from_hubspot(first)
    (again,) = from_hubspot(first | {"attemptNumber": 3, "subscriptionId": 8})
    assert once == again


def test_a_reused_hubspot_event_id_with_other_content_is_another_event() -> None:
    one, other = from_hubspot(
        notification(propertyName="city", propertyValue="Berlin"),
        notification(propertyName="city", propertyValue="Bonn"),
    )
    assert one["id"] != other["id"]


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"subscriptionType": "ticket.creation"}, "SCHEMA_UNKNOWN", "/subscriptionType"),
        ({"subscriptionType": "company.merge"}, "SCHEMA_UNKNOWN", "/subscriptionType"),
        (
            {"subscriptionType": "object.creation", "objectTypeId": "0-5"},
            "SCHEMA_UNKNOWN",
            "/objectTypeId",
        ),
        ({"subscriptionType": "object.creation"}, "SCHEMA_UNKNOWN", "/objectTypeId"),
        ({"occurredAt": "yesterday"}, "SCHEMA_INVALID", "/occurredAt"),
        ({"occurredAt": True}, "SCHEMA_INVALID", "/occurredAt"),
        ({"objectId": None}, "SCHEMA_INVALID", "/objectId"),
        ({"portalId": 1.5}, "SCHEMA_INVALID", "/portalId"),
        ({"propertyName": ""}, "SCHEMA_INVALID", "/propertyName"),
        ({"subscriptionType": "contact.merge"}, "SCHEMA_INVALID", "/primaryObjectId"),
    ],
)
def test_a_notification_that_says_too_little_is_refused_by_path(
    change: dict[str, Any], code: str, path: str
) -> None:
    body = json.dumps([notification(propertyName="city", propertyValue="x") | change]).encode()
    with pytest.raises(HandoffError) as raised:
        hubspot.to_events(body, NOW)
    assert (raised.value.code, raised.value.path) == (code, path)


def test_a_form_becomes_contact_activity_and_consent_of_one_person() -> None:
    contact, activity, consent = from_web(form({"email": True, "notice_version": "2026-01"}))
    person = contact["data"]["record_id"]
    assert contact["data"]["country"] == "DE"
    assert contact["data"]["email"] == "Ada.Keller@Example.com"
    assert activity["data"]["activity_type"] == "form_submit"
    assert activity["data"]["contact_id"] == person
    assert activity["data"]["form_id"] == "demo_request"
    assert consent["data"]["contact_id"] == person
    assert consent["data"]["status"] == "granted"
    assert consent["data"]["notice_version"] == "2026-01"
    assert "ada" not in person


def test_the_person_of_a_form_does_not_depend_on_the_case_of_the_address() -> None:
    first, _ = from_web(form(email="ada.keller@example.com"))
    second, _ = from_web(form(email="ADA.KELLER@example.com"))
    assert first["subject"] == second["subject"]


def test_a_consent_box_left_empty_is_a_no() -> None:
    consents = [
        event["data"]
        for event in from_web(form({"email": False, "phone": True}))
        if event["type"] == "com.handoff.consent"
    ]
    assert [(row["channel"], row["status"]) for row in consents] == [
        ("email", "denied"),
        ("phone", "granted"),
    ]


def test_a_form_sent_again_in_another_spelling_is_the_same_events() -> None:
    body = form({"email": True})
    reordered = {"data": dict(reversed(body["data"].items())), **body}
    assert web.to_events(json.dumps(body).encode(), NOW) == web.to_events(
        json.dumps(reordered, indent=2).encode(), NOW
    )


def test_a_form_without_an_address_keeps_the_visit_of_the_anonymous_visitor() -> None:
    (activity,) = from_web(form(email=""))
    assert activity["data"]["anonymous_id"] == "anon-1"
    assert "contact_id" not in activity["data"]


def test_further_fields_of_a_form_are_kept_under_custom() -> None:
    _, activity = from_web(form(seats=40, message="Call me"))
    assert activity["data"]["custom"] == {"seats": 40, "message": "Call me"}


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ([], "SCHEMA_INVALID", ""),
        ({"type": "form.viewed"}, "SCHEMA_UNKNOWN", "/type"),
        ({"type": "form.submitted"}, "SCHEMA_INVALID", "/timestamp"),
        ({"type": "form.submitted", "timestamp": "x"}, "SCHEMA_INVALID", "/data"),
        (form(email="", anonymous_id=""), "SCHEMA_INVALID", "/data/email"),
        (form(email=5), "FIELD_MISMATCH", "/data/email"),
        (form({"fax": True}), "ENUM_UNKNOWN", "/data/consent/fax"),
        (form({"email": "yes"}), "FIELD_MISMATCH", "/data/consent/email"),
        (form({"email": True}, email=""), "SCHEMA_INVALID", "/data/email"),
    ],
)
def test_a_form_that_cannot_be_read_is_refused_by_path(body: Any, code: str, path: str) -> None:
    with pytest.raises(HandoffError) as raised:
        web.to_events(json.dumps(body).encode(), NOW)
    assert (raised.value.code, raised.value.path) == (code, path)
