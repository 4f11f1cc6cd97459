"""What is left of a row when a person is erased, and by what a value is known to be theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.erasure import keys
from ingestion.erasure.keys import ErasedKeys, Key, whom
from ingestion.erasure.named import (
    NOBODY,
    RECORDS,
    IsErased,
    any_of,
    redacted,
    what_is_left,
    without_addresses,
)

HERS = {
    Key("record", "ann", "crm"), Key("address", "ann@acme.example"), Key("visitor", "browser", "web"),
    Key("mailbox", "desk@acme.example", "web"), Key("person", "p1"),
}  # fmt: skip


def asking(system: str | None) -> IsErased:
    return keys.asking(frozenset(HERS), system)


def left(record: str, data: dict[str, Any]) -> dict[str, Any] | None:
    return what_is_left(data, RECORDS[record], asking(data.get("system")))


@pytest.mark.parametrize(
    ("record", "data"),
    [
        ("contact", {"system": "crm", "record_id": "ann"}),
        ("contact", {"system": "other", "record_id": "1", "email": " Ann@Acme.example"}),
        ("activity", {"system": "crm", "contact_id": "ann"}),
        ("activity", {"system": "web", "email": "ANN@acme.example"}),
        ("activity", {"system": "web", "email": "desk@acme.example"}),
        ("activity", {"system": "web", "anonymous_id": "browser"}),
        ("merge", {"system": "crm", "surviving_id": "ann", "merged_ids": ["bob"]}),
        ("merge", {"system": "crm", "surviving_id": "bob", "merged_ids": ["ann"]}),
        ("merge", {"system": "handoff", "surviving_id": "web:x", "merged_ids": ["crm:ann"]}),
        ("receipt", {"system": "salesforce", "person_id": "p1", "record_id": "00Q1"}),
        ("receipt", {"system": "crm", "person_id": "p2", "record_id": "ann"}),
    ],
)
def test_what_is_about_the_person_goes(record: str, data: dict[str, Any]) -> None:
    assert left(record, data) is None


@pytest.mark.parametrize(
    ("record", "data"),
    [
        # An id is one within its system.
        ("contact", {"system": "other", "record_id": "ann"}),
        ("activity", {"system": "other", "contact_id": "ann"}),
        # Whose record it is decides before the address that somebody typed.
        ("activity", {"system": "crm", "contact_id": "bob", "email": "ann@acme.example"}),
        # A mailbox that stands for a record in one system stands for nobody in another.
        ("activity", {"system": "other", "email": "desk@acme.example"}),
        ("contact", {"system": "web", "record_id": "1", "email": "desk@acme.example"}),
        ("rep", {"system": "crm", "record_id": "ann", "email": "ann@acme.example"}),
        ("merge", {"system": "handoff", "surviving_id": "web:x", "merged_ids": ["other:ann"]}),
    ],
)
def test_what_is_of_somebody_else_stays_as_it_is(record: str, data: dict[str, Any]) -> None:
    assert left(record, data) == data


def test_of_what_names_others_too_only_the_mention_goes() -> None:
    deal = {"system": "crm", "record_id": "d", "contact_ids": ["bob", "ann"], "amount_usd": 5}
    assert left("opportunity", deal) == {**deal, "contact_ids": ["bob"]}
    assert deal["contact_ids"] == ["bob", "ann"], "the row that is asked about is not changed"
    assert left("opportunity", {**deal, "contact_ids": ["ann"]}) == {**deal, "contact_ids": []}
    merge = {"system": "crm", "surviving_id": "x", "merged_ids": ["ann", "bob"]}
    assert left("merge", merge) == {**merge, "merged_ids": ["bob"]}
    contact = {"system": "web", "record_id": "b", "external_ids": [{"system": "crm", "record_id": "ann"}, {"system": "web", "record_id": "ann"}]}  # fmt: skip
    assert left("contact", contact) == {**contact, "external_ids": contact["external_ids"][1:]}


def test_a_call_with_two_stays_with_the_other_one() -> None:
    named = catalog.source("hubspot").NAMED["calls"]

    def call(*ids: str) -> dict[str, Any]:
        return {"associations": {"contacts": {"results": [{"id": each} for each in ids]}}}

    assert what_is_left(call("ann", "bob"), named, asking("crm")) == call("bob")
    assert what_is_left(call("ann"), named, asking("crm")) is None
    assert what_is_left(call("bob"), named, asking("crm")) == call("bob")


def test_a_meeting_is_nobodys_once_only_its_owner_is_left() -> None:
    named = catalog.source("calendar").NAMED["events"]

    def meeting(*guests: str) -> dict[str, Any]:
        return {"organizer": {"email": "rep@us.example"}, "attendees": [{"email": each} for each in guests]}  # fmt: skip

    both = meeting("rep@us.example", "ann@acme.example")
    assert what_is_left(both, named, asking("calendar")) is None
    three = meeting("rep@us.example", "Ann@acme.example", "bob@acme.example")
    assert what_is_left(three, named, asking("calendar")) == meeting("rep@us.example", "bob@acme.example")  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["ann@acme.example.au", "mary-ann@acme.example", "o'ann@acme.example", "xann@acme.example", "ann@acme.example-shop.com"],
)  # fmt: skip
def test_an_address_is_not_found_within_another(text: str) -> None:
    pattern = any_of({"ann@acme.example"})
    assert redacted({"note": text}, pattern) == {"note": text}
    assert without_addresses(text, asking(None)) == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("write to Ann@ACME.example.", "write to erased."),
        ("'ann@acme.example'", "'erased'"),
        ("<ann@acme.example>, bob@acme.example", "<erased>, bob@acme.example"),
        ("mailto:ann@acme.example?x=1", "mailto:erased?x=1"),
    ],
)
def test_an_address_goes_from_a_text(text: str, wanted: str) -> None:
    assert redacted([text], any_of({"ann@acme.example"})) == [wanted]
    if not text.startswith("'"):
        # A word that begins with an apostrophe may be an address too.
        assert without_addresses(text, asking(None)) == wanted


def test_ids_count_for_ever_and_addresses_for_what_was_before() -> None:
    erased_at = datetime(2026, 5, 1, tzinfo=UTC)
    made = {Key("made", "hash-of-ann", "web")}
    known = ErasedKeys(whom(HERS | made, erased_at, None))
    before, after = erased_at - timedelta(seconds=1), erased_at
    assert known.asking("crm", after)("record", "ann")
    assert known.asking("crm", None)("record", "ann")
    for kind, value in (("address", "Ann@acme.example"), ("visitor", "browser"), ("mailbox", "desk@acme.example"), ("record", "hash-of-ann"), ("person", "p1")):  # fmt: skip
        assert known.asking("web", before)(kind, value), kind
        assert not known.asking("web", after)(kind, value), kind
    assert not known.asking("other", before)("record", "ann")
    # Nothing of the values is kept.
    told = repr(known.whom.keys)
    assert not any(key.value in told for key in HERS)


def test_every_record_and_every_resource_says_where_it_names_people() -> None:
    assert RECORDS.keys() == registry.RECORD_TABLES.keys()
    for system in catalog.systems("source"):
        source = catalog.source(system)
        assert set(source.NAMED) == set(source.RESOURCES), system
    for record, named in RECORDS.items():
        if named is NOBODY:
            continue
        fields = registry.schema(record, registry.newest_version(record))["properties"]
        assert {place.removesuffix("[]") for _, place in named.places} <= set(fields), record


def test_nobody_else_says_that_somebody_was_erased() -> None:
    document = registry.schema("erasure", registry.newest_version("erasure"))["examples"][0]
    event = {
        "specversion": "1.0", "id": "1", "source": "handoff/erasure", "type": "com.handoff.erasure", "time": "2026-01-01T00:00:00Z",
        "subject": f"erasure/handoff/{document['erasure_id']}", "data": document,
    }  # fmt: skip
    [refused] = registry.validate_event(event, ("web",))
    assert (refused.code, refused.path) == ("FIELD_MISMATCH", "/source")
