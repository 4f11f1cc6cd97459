"""Signed nonsense: whatever a system sends is translated or refused with a catalogued code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.connectors.hubspot import webhook as hubspot
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
NOTIFICATIONS = st.fixed_dictionaries(
    {},
    optional={
        "eventId": ANY,
        "portalId": st.integers() | ANY,
        "occurredAt": st.integers(0, 10**14) | ANY,
        "subscriptionType": st.sampled_from(hubspot.TYPES) | ANY,
        "objectId": st.integers() | ANY,
        "propertyName": st.sampled_from(list(hubspot.PROPERTIES)) | ANY,
        "propertyValue": ANY,
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
        validate_event(event, {"hubspot", "web"})


@pytest.mark.parametrize("wrap", [lambda item: item, lambda item: [item]])
@given(notification=NOTIFICATIONS | ANY)
@settings(max_examples=250, deadline=None)
def test_any_hubspot_notification_is_translated_or_refused(wrap: Any, notification: Any) -> None:
    judge(hubspot, wrap(notification))


@given(FORMS | ANY)
@settings(max_examples=300, deadline=None)
def test_any_form_is_translated_or_refused(form: Any) -> None:
    judge(web, form)
