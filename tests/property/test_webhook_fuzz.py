"""Signed nonsense: whatever a system sends is translated or refused with a catalogued code."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.connectors.calcom import webhook as calcom
from ingestion.connectors.calendly import webhook as calendly
from ingestion.connectors.hubspot import webhook as hubspot
from ingestion.connectors.marketo import webhook as marketo
from ingestion.connectors.safe_xml import Element, read_xml
from ingestion.connectors.salesforce import changes
from ingestion.connectors.salesforce import webhook as salesforce
from ingestion.connectors.typeform import webhook as typeform
from ingestion.connectors.web import webhook as web
from ingestion.contracts.registry import validate_event
from ingestion.edge.strict_json import read_items
from ingestion.errors.catalog import HandoffError

NOW = datetime(2026, 4, 1, tzinfo=UTC)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
TEXTS = st.sampled_from(
    ["", "a@b.example", "2026-04-01T00:00:00Z", "2026-04-01 00:00:00", "1", "0x1f", "Ada Keller"]
)


NOTIFICATIONS = st.fixed_dictionaries(
    {},
    optional={
        "eventId": ANY,
        "portalId": st.integers() | ANY,
        "occurredAt": st.integers(0, 10**14) | ANY,
        "subscriptionType": st.sampled_from([*hubspot.TYPES, "object.creation"]) | ANY,
        "objectTypeId": st.sampled_from(list(hubspot.OBJECT_TYPES)) | ANY,
        "objectId": st.integers() | ANY,
        "propertyName": st.sampled_from(
            [*hubspot.PROPERTIES, *hubspot.COMPANY_PROPERTIES, *hubspot.DEAL_PROPERTIES]
        )
        | ANY,
        "propertyValue": ANY | TEXTS,
        "primaryObjectId": st.integers() | ANY,
        "mergedObjectIds": st.lists(st.integers() | ANY, max_size=3) | ANY,
        "newObjectId": st.integers() | ANY,
    },
)
FORMS = st.fixed_dictionaries(
    {"type": st.just("form.submitted"), "timestamp": st.just("2026-04-01T00:00:00Z") | ANY},
    optional={
        "data": ANY
        | st.fixed_dictionaries(
            {},
            optional={
                "email": st.text(min_size=1, max_size=5) | ANY,
                "country": ANY,
                "form_id": ANY,
                "anonymous_id": ANY,
                "submission_id": ANY,
                "consent": ANY
                | st.dictionaries(st.sampled_from(web.CHANNELS), ANY | st.booleans()),
                "message": ANY,
            },
        )
    },
)


def judge(module: Any, body: Any) -> None:
    try:
        raw = json.dumps(body).encode()
        (item,), _ = read_items(b"[" + raw + b"]")
        if item.violations:
            return
        events = module.to_events(raw, NOW)
    except HandoffError as error:
        assert error.path is not None
        return
    assert module.to_events(raw, NOW) == events
    for event in events:
        # A judgement, whatever it is: validation never fails on what translation makes.
        validate_event(event, {module.SYSTEM})


@pytest.mark.parametrize("wrap", [lambda item: item, lambda item: [item]])
@given(notification=NOTIFICATIONS | ANY)
@settings(max_examples=250, deadline=None)
def test_any_hubspot_notification_is_translated_or_refused(wrap: Any, notification: Any) -> None:
    judge(hubspot, wrap(notification))


@given(FORMS | ANY)
@settings(max_examples=300, deadline=None)
def test_any_form_is_translated_or_refused(form: Any) -> None:
    judge(web, form)


AT = "2026-04-01T00:00:00Z"
CALENDLY = {
    "event": "invitee.created",
    "payload": {
        "uri": "https://api/invitees/I",
        "email": "a@b.example",
        "name": "Ada Keller",
        "first_name": None,
        "timezone": "UTC",
        "created_at": AT,
        "updated_at": AT,
        "old_invitee": None,
        "cancellation": {"created_at": AT},
        "no_show": {"created_at": AT},
        "tracking": {"utm_source": "x"},
        "questions_and_answers": [{"question": "q", "answer": "a"}],
        "scheduled_event": {
            "uri": "https://api/events/E",
            "start_time": AT,
            "end_time": AT,
            "invitees_counter": {"limit": 1},
            "event_memberships": [{"user": "u", "user_email": "r@b.example", "user_name": "R"}],
        },
    },
}
CALCOM = {
    "triggerEvent": "BOOKING_RESCHEDULED",
    "createdAt": AT,
    "payload": {
        "uid": "u",
        "bookingUid": "u",
        "rescheduleUid": "old",
        "rescheduleStartTime": AT,
        "startTime": AT,
        "endTime": AT,
        "organizer": {"id": 5, "email": "r@b.example", "name": "R"},
        "attendees": [{"email": "a@b.example", "name": "A B", "timeZone": "UTC", "noShow": True}],
    },
}
TYPEFORM = {
    "event_type": "form_response",
    "form_response": {
        "token": "t",
        "form_id": "f",
        "submitted_at": AT,
        "hidden": {"utm_source": "x", "email": "a@b.example", "anonymous_id": "n"},
        "definition": {
            "fields": [{"properties": {"fields": [{"id": "2", "subfield_key": "last_name"}]}}]
        },
        "answers": [
            {"type": "email", "email": "a@b.example", "field": {"id": "1", "ref": "q"}},
            {"type": "text", "text": "K", "field": {"id": "2", "ref": "r"}},
            {"type": "text", "text": "de", "field": {"id": "3", "ref": "country"}},
            {"type": "boolean", "boolean": True, "field": {"id": "4", "ref": "consent_email"}},
            {"type": "choices", "choices": {"labels": ["x"]}, "field": {"id": "5", "ref": "s"}},
        ],
    },
}
MARKETO = {
    "event": "lead.updated",
    "munchkin_id": "m",
    "occurred_at": "2026-04-01 00:00:00",
    "time_zone": "UTC",
    "activity_type": "Open Email",
    "activity_id": 4,
    "url": "x",
    "lead": {"id": 7, "unsubscribed": "1", **dict.fromkeys(marketo.FIELDS, "DE")},
}
HEADER = {
    "entityName": "Lead",
    "changeType": "UPDATE",
    "recordIds": ["00Q1"],
    "transactionKey": "t",
    "sequenceNumber": 1,
    "commitTimestamp": 1775044800125,
    "nulledFields": ["Name.FirstName"],
}
FIELDS = sorted({name for _, known in changes.OBJECTS.values() for name in known})
CHANGED: dict[str, Any] = dict.fromkeys(FIELDS, "12") | {
    "Name": {"FirstName": "A"},
    "IsClosed": True,
    "IsWon": True,
    "CloseDate": "2026-04-01",
    "WhoId": "00Q1",
    "TaskSubtype": "Call",
    "ConvertedContactId": "0031",
    "IsDeleted": False,
}
NOTIFIED = {
    "NotificationId": "04l1",
    "OrganizationId": "00D1",
    "sObject": {"type": "Lead", "Id": "00Q1", "SystemModstamp": AT} | CHANGED,
}
KINDS: dict[str, list[Any]] = {
    "event": [*calendly.EVENTS, *marketo.EVENTS],
    "triggerEvent": list(calcom.TRIGGERS),
    "changeType": [*changes.CHANGES, *changes.GAPS],
    "entityName": list(changes.OBJECTS),
    "type": list(changes.OBJECTS),
}
HOSTILE = ["\x00", "x" * 300, 10**20, -1, 1e308, [[]], {"": {}}, "0x1f", "../..", "2026-04-01"]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every member and entry."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    below = [
        [(*path, name), *(places(value, (*path, name)) if isinstance(value, dict | list) else [])]
        for name, value in items
    ]
    return [found for each in below for found in each]


def spoil(document: Any, data: Any) -> Any:
    """A good delivery, of any kind, with up to three members gone or holding something else."""
    copy = deepcopy(document)
    for name, kinds in KINDS.items():
        for path in [path for path in places(copy) if path[-1] == name]:
            put(copy, path, data.draw(st.sampled_from(kinds)))
    for _ in range(data.draw(st.integers(0, 3))):
        if not (there := places(copy)):
            break
        path = data.draw(st.sampled_from(there))
        put(copy, path, data.draw(st.just(...) | ANY | st.sampled_from(HOSTILE)))
    return copy


def put(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    if value is ...:
        del document[path[-1]]
    else:
        # A value drawn twice must not be one object: the next change would go into both.
        document[path[-1]] = deepcopy(value)


@pytest.mark.parametrize(
    ("module", "document"),
    [
        (calendly, CALENDLY),
        (calcom, CALCOM),
        (typeform, TYPEFORM),
        (marketo, MARKETO),
        (salesforce, {"ChangeEventHeader": HEADER} | CHANGED),
        (salesforce, NOTIFIED),
    ],
    ids=["calendly", "calcom", "typeform", "marketo", "change-events", "outbound-messages"],
)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_delivery_is_translated_or_refused(module: Any, document: Any, data: Any) -> None:
    judge(module, spoil(document, data))


@given(st.text(alphabet="<>/a!?&;[]=\"' \x00\u00e9", max_size=60) | st.binary(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_xml_is_read_or_refused(body: Any) -> None:
    raw = body if isinstance(body, bytes) else body.encode()
    for read in (read_xml, salesforce.notifications):
        try:
            assert isinstance(read(raw), Element | list)
        except HandoffError as error:
            assert error.path is not None
