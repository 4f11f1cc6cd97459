"""What the contracts refuse, and whether the words say what to mend."""

from __future__ import annotations

import copy
import subprocess
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from benchmarks import records
from ingestion.contracts.instants import parse_instant
from ingestion.contracts.registry import (
    RECORD_TABLES,
    Violation,
    enum_document,
    enum_names,
    newest_version,
    schema,
    validate_event,
)

SYSTEMS = ("hubspot", "salesforce", "marketo")


def event(data: Any, record: str = "contact", **envelope: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:test",
        "type": f"com.handoff.{record}",
        "subject": f"{record}/hubspot/1",
        "time": "2026-04-01T08:30:00Z",
        "data": data,
        **envelope,
    }


def contact(**fields: Any) -> dict[str, Any]:
    return event({"record_id": "1", "system": "hubspot", **fields})


def rep(**fields: Any) -> dict[str, Any]:
    return event({"record_id": "1", "system": "hubspot", **fields}, "rep")


def only(violations: list[Violation]) -> Violation:
    [violation] = violations
    return violation


CASES = [
    pytest.param(
        contact(system="crmm"),
        ("ENUM_UNKNOWN", "/data/system"),
        "unknown system 'crmm'; known: hubspot, salesforce, marketo",
        id="unknown system",
    ),
    pytest.param(
        contact(shoe_size=44),
        ("FIELD_MISMATCH", "/data/shoe_size"),
        "unknown field 'shoe_size'; put it under custom",
        id="unknown field",
    ),
    pytest.param(
        contact(emial="a@example.com"),
        ("FIELD_MISMATCH", "/data/emial"),
        "unknown field 'emial'; did you mean 'email'?",
        id="mistyped field",
    ),
    pytest.param(
        rep(shoe_size=44),
        ("FIELD_MISMATCH", "/data/shoe_size"),
        "unknown field 'shoe_size'; known: record_id, system, email",
        id="unknown field without custom",
    ),
    pytest.param(
        event({"record_id": "1"}),
        ("SCHEMA_INVALID", "/data/system"),
        "required field 'system' is missing",
        id="missing field",
    ),
    pytest.param(
        event({"record_id": None, "system": "hubspot"}),
        ("SCHEMA_INVALID", "/data/record_id"),
        "required field 'record_id' is null",
        id="null in a required field",
    ),
    pytest.param(
        contact(is_deleted="yes"),
        ("FIELD_MISMATCH", "/data/is_deleted"),
        "'is_deleted' is the text 'yes'; expected true or false, or null to empty it",
        id="wrong type",
    ),
    pytest.param(
        contact(record_id=51),
        ("FIELD_MISMATCH", "/data/record_id"),
        "'record_id' is the number 51; expected text",
        id="number as id",
    ),
    pytest.param(
        contact(first_name=""),
        ("FIELD_MISMATCH", "/data/first_name"),
        "'first_name' is empty text; send null to empty it, or leave it out",
        id="empty text",
    ),
    pytest.param(
        contact(country="Germany"),
        ("FIELD_MISMATCH", "/data/country"),
        "'country' is 'Germany'; expected two capital letters",
        id="country in words",
    ),
    pytest.param(
        contact(lifecycle_stage="marketingqualifiedlead"),
        ("ENUM_UNKNOWN", "/data/lifecycle_stage"),
        "'marketingqualifiedlead' is what hubspot says for 'mql'",
        id="a system's own word",
    ),
    pytest.param(
        event(
            {"activity_id": "1", "system": "hubspot", "activity_type": "form_sumbit"}, "activity"
        ),
        ("ENUM_UNKNOWN", "/data/activity_type"),
        "'form_sumbit'; allowed: email_open, email_click, form_submit,",
        id="mistyped enum value",
    ),
    pytest.param(
        contact(external_ids=[{"system": "salesforce"}]),
        ("SCHEMA_INVALID", "/data/external_ids/0/record_id"),
        "required field 'record_id' is missing",
        id="missing field in an array",
    ),
    pytest.param(
        contact(external_ids=[None]),
        ("FIELD_MISMATCH", "/data/external_ids/0"),
        "'external_ids[0]' is null; expected an object",
        id="null in an array",
    ),
    pytest.param(
        rep(time_zone="Mars/Phobos"),
        ("FIELD_MISMATCH", "/data/time_zone"),
        "'Mars/Phobos'; expected an IANA time zone",
        id="unknown time zone",
    ),
    pytest.param(
        rep(weight=0),
        ("FIELD_MISMATCH", "/data/weight"),
        "'weight' is 0; expected a number above 0",
        id="weight of zero",
    ),
    pytest.param(
        rep(capacity=1.5),
        ("FIELD_MISMATCH", "/data/capacity"),
        "expected a whole number",
        id="half a lead",
    ),
    pytest.param(
        event({"record_id": "1", "system": "hubspot", "amount_usd": 1e16}, "opportunity"),
        ("FIELD_MISMATCH", "/data/amount_usd"),
        "expected a number of at most 999999999999999",
        id="more money than the warehouse can hold",
    ),
    pytest.param(
        event({"channel": "email", "lawful_basis": "consent", "status": "granted"}, "consent"),
        ("SCHEMA_INVALID", "/data"),
        "at least one of 'contact_id' or 'email' must be given",
        id="consent of nobody",
    ),
    pytest.param(
        event({"system": "hubspot", "surviving_id": "1", "merged_ids": []}, "merge"),
        ("FIELD_MISMATCH", "/data/merged_ids"),
        "expected at least 1 entries",
        id="merge of nothing",
    ),
    pytest.param(
        event({"contact_id": "1", "to": "mql"}, "stage_change"),
        ("SCHEMA_INVALID", "/data/from"),
        "required field 'from' is missing",
        id="stage change from nowhere",
    ),
    pytest.param(
        event([]), ("FIELD_MISMATCH", "/data"), "'data' is an array", id="data is an array"
    ),
    pytest.param(
        event(None), ("SCHEMA_INVALID", "/data"), "required field 'data' is null", id="no data"
    ),
    pytest.param(
        {**contact(), "time": "2026-04-01T08:30:00"},
        ("FIELD_MISMATCH", "/time"),
        "expected an RFC 3339 instant with a zone",
        id="time without zone",
    ),
    pytest.param(
        {**contact(), "subject": "51"},
        ("FIELD_MISMATCH", "/subject"),
        "expected <record>/<system>/<id>",
        id="bare subject",
    ),
    pytest.param(
        {**contact(), "subject": "rep/hubspot/1"},
        ("FIELD_MISMATCH", "/subject"),
        "'subject' says 'rep' where type says 'contact'",
        id="subject of another record type",
    ),
    pytest.param(
        {**contact(), "subject": "contact/salesforce/1"},
        ("FIELD_MISMATCH", "/subject"),
        "'subject' says 'salesforce' where 'system' says 'hubspot'",
        id="subject in another system",
    ),
    pytest.param(
        {**contact(), "subject": "contact/hubspot/zzz"},
        ("FIELD_MISMATCH", "/subject"),
        "'subject' says 'zzz' where 'record_id' says '1'",
        id="subject with another id",
    ),
    pytest.param(
        {
            **event({"plan_id": "p", "operation_id": "o", "status": "sent"}, "receipt"),
            "subject": "receipt/salesforce/other",
        },
        ("FIELD_MISMATCH", "/subject"),
        "'subject' says 'other' where 'operation_id' says 'o'",
        id="receipt of another operation",
    ),
    pytest.param(
        {**contact(), "specversion": "0.3"},
        ("ENUM_UNKNOWN", "/specversion"),
        "'specversion' is '0.3'; allowed: '1.0'",
        id="old CloudEvents",
    ),
    pytest.param(
        {**contact(), "correlationId": "1"},
        ("FIELD_MISMATCH", "/correlationId"),
        "lower-case letters and digits only",
        id="attribute name of another standard",
    ),
    pytest.param(
        {**contact(), "data_base64": "eyJ9"},
        ("FIELD_MISMATCH", "/data_base64"),
        "send JSON under data",
        id="binary data",
    ),
    pytest.param(
        {**contact(), "datacontenttype": "text/csv"},
        ("FIELD_MISMATCH", "/datacontenttype"),
        "expected application/json",
        id="other media type",
    ),
    pytest.param(
        {**contact(), "type": "com.handoff.contacts"},
        ("SCHEMA_UNKNOWN", "/type"),
        "unknown type 'com.handoff.contacts'; known: com.handoff.contact, com.handoff.account",
        id="unknown type",
    ),
    pytest.param(
        {**contact(), "dataschema": "urn:handoff:contract:contact:9.0.0"},
        ("SCHEMA_UNKNOWN", "/dataschema"),
        "unknown version '9.0.0' of the contact contract; known: 1.0.0",
        id="unknown version",
    ),
    pytest.param(
        {**contact(), "dataschema": "urn:handoff:contract:rep:1.0.0"},
        ("SCHEMA_UNKNOWN", "/dataschema"),
        "is no contract of com.handoff.contact",
        id="contract of another record",
    ),
    pytest.param(
        {**contact(), "type": ["com.handoff.contact"]},
        ("FIELD_MISMATCH", "/type"),
        "'type' is an array",
        id="type is an array",
    ),
    pytest.param([], ("SCHEMA_INVALID", ""), "must be a JSON object", id="no object at all"),
    pytest.param(
        contact(custom={1: 2}), ("SCHEMA_INVALID", ""), "is not JSON", id="keys that are numbers"
    ),
    pytest.param(
        contact(first_name="\ud800"), ("SCHEMA_INVALID", ""), "is not JSON", id="half a character"
    ),
    pytest.param(
        contact(custom={"at": datetime(2026, 1, 1, tzinfo=UTC)}),
        ("SCHEMA_INVALID", ""),
        "is not JSON",
        id="python's own types",
    ),
]


@pytest.mark.parametrize(("bad", "place", "words"), CASES)
def test_a_breach_is_named_with_its_place_and_remedy(
    bad: dict[str, Any], place: tuple[str, str], words: str
) -> None:
    violation = only(validate_event(bad, SYSTEMS))
    assert (violation.code, violation.path) == place
    assert words in violation.message


def test_all_breaches_are_reported_at_once() -> None:
    bad = {**contact(system="crmm", emial="x", is_deleted=1, lifecycle_stage="nope"), "time": "now"}
    del bad["data"]["record_id"]
    assert {violation.path for violation in validate_event(bad, SYSTEMS)} == {
        "/data/system",
        "/data/emial",
        "/data/is_deleted",
        "/data/lifecycle_stage",
        "/data/record_id",
        "/time",
    }


def test_an_empty_object_lacks_every_required_attribute() -> None:
    missing = [violation.path for violation in validate_event({}, SYSTEMS)]
    assert missing == [f"/{name}" for name in schema("envelope", "1.0.0")["required"]]


def test_a_path_is_an_escaped_json_pointer() -> None:
    assert only(validate_event(contact(**{"a/b~c": 1}), SYSTEMS)).path == "/data/a~1b~0c"


def test_a_message_does_not_repeat_what_names_a_person() -> None:
    violation = only(validate_event(contact(birth_date="31.12.1999"), SYSTEMS))
    assert "31.12.1999" not in violation.message
    assert "expected a date YYYY-MM-DD" in violation.message


def test_a_flood_of_breaches_is_cut_and_quick(cpu_cost: Any) -> None:
    flood = contact(**{f"field_{number}": 1 for number in range(50_000)})
    assert len(validate_event(flood, SYSTEMS)) == 100
    assert cpu_cost(lambda: validate_event(flood, SYSTEMS)) < 2


_CAPPED = """
import resource, sys
from ingestion.contracts.registry import validate_event

event = {"specversion": "1.0", "id": "1", "source": "urn:test", "type": "com.handoff.contact",
         "subject": "contact/hubspot/1", "time": "2026-04-01T08:30:00Z",
         "data": {"record_id": "1", "system": "hubspot"}}
validate_event({**event, "id": ""}, ["hubspot"])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 256 * 2**20,) * 2)
exec(sys.argv[1])
found = validate_event(event, ["hubspot"])
print(found[0].code, found[0].path, found[0].message, sep="|")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cap counts Linux's pages")
@pytest.mark.parametrize(
    ("flood", "told"),
    [
        pytest.param(
            "event |= {f'A{n}': 1 for n in range(60_000)}",
            "SCHEMA_INVALID||the event has 60007 attributes; expected at most 64, "
            "with the record's fields under data",
            id="attributes",
        ),
        pytest.param(
            "event |= {f'A{n}': 1 for n in range(57)};"
            "event['data']['custom'] = {str(n): n for n in range(60_000)}",
            "FIELD_MISMATCH|/A0|attribute name 'A0' is not CloudEvents: "
            "lower-case letters and digits only",
            id="attribute names beside a large record",
        ),
        pytest.param(
            "event['data']['external_ids'] = [0] * 500_000",
            "FIELD_MISMATCH|/data/external_ids|'external_ids' is an array of 500000 entries; "
            "expected at most 10000 entries",
            id="array",
        ),
        pytest.param(
            "event |= {'type': 'com.handoff.rep', 'subject': 'rep/hubspot/1'};"
            "event['data']['working_hours'] = {'days': ['x'] * 500_000}",
            "FIELD_MISMATCH|/data/working_hours/days|'working_hours.days' is an array of 500000 "
            "entries; expected at most 10000 entries",
            id="array within a field",
        ),
        pytest.param(
            "event['data'] |= {f'field_{n}': 1 for n in range(60_000)}",
            "FIELD_MISMATCH|/data/field_0|unknown field 'field_0'; put it under custom",
            id="unknown fields",
        ),
    ],
)
def test_an_event_of_a_megabyte_of_faults_is_answered_in_little_memory(
    flood: str, told: str
) -> None:
    answered = subprocess.run(
        [sys.executable, "-c", _CAPPED, flood], capture_output=True, text=True, timeout=60
    )
    assert answered.stdout.strip() == told, answered.stderr


def test_null_empties_an_optional_field_and_unsets_an_optional_attribute() -> None:
    optional = {name: None for name in schema("contact", "1.0.0")["properties"]}
    emptied = contact(**{**optional, "record_id": "1", "system": "hubspot"})
    assert validate_event({**emptied, "dataschema": None, "traceparent": None}, SYSTEMS) == []


def test_a_consent_of_an_emptied_person_is_refused() -> None:
    data = {"channel": "email", "lawful_basis": "consent", "status": "granted", "email": None}
    assert only(validate_event(event(data, "consent"), SYSTEMS)).code == "SCHEMA_INVALID"


def test_a_first_stage_comes_from_nothing() -> None:
    change = event({"contact_id": "1", "from": None, "to": "mql"}, "stage_change")
    assert validate_event(change, SYSTEMS) == []


def test_a_mistyped_email_is_kept_for_staging_to_judge() -> None:
    assert validate_event(contact(email="jamesd75collins.biz"), SYSTEMS) == []


def test_an_id_may_hold_slashes_and_a_record_without_one_is_named_by_its_sender() -> None:
    slashed = contact(record_id="a/b") | {"subject": "contact/hubspot/a/b"}
    assert validate_event(slashed, SYSTEMS) == []
    [example, *_] = schema("consent", "1.0.0")["examples"]
    consent = event(example, "consent", subject="consent/hubspot/51/email")
    assert validate_event(consent, SYSTEMS) == []


def test_the_made_up_people_of_the_benchmarks_keep_their_contracts() -> None:
    for made in islice(records.world(20), 200):
        assert validate_event(made, ("web",)) == [], made


def test_an_event_of_the_future_is_accepted_because_models_ask_as_of_when() -> None:
    assert validate_event({**contact(), "time": "2099-01-01T00:00:00Z"}, SYSTEMS) == []
    described = schema("envelope", "1.0.0")["properties"]["time"]["description"]
    assert "future is accepted" in described


def test_extension_attributes_pass() -> None:
    extended = {**contact(), "partitionkey": "51", "sampledrate": 10, "replayed": True}
    assert validate_event(extended, SYSTEMS) == []


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-04-01T08:30:00Z", datetime(2026, 4, 1, 8, 30, tzinfo=UTC)),
        ("2026-04-01t08:30:00.5z", datetime(2026, 4, 1, 8, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-04-01T08:30:00+05:45", datetime(2026, 4, 1, 2, 45, tzinfo=UTC)),
        ("2026-04-01T08:30:00.123456789Z", datetime(2026, 4, 1, 8, 30, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_as_utc(text: str, instant: datetime) -> None:
    assert parse_instant(text) == instant
    assert parse_instant(text).tzinfo is UTC
    assert validate_event({**contact(), "time": text}, SYSTEMS) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-01",
        "2026-04-01T08:30:00",
        "2026-04-01 08:30:00Z",
        "2026-02-30T08:30:00Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00",
        "2026-04-01T08:30:00+24:00",
        "2026-04-01T08:30:00Z\n",
        "٢٠٢٦-04-01T08:30:00Z",
    ],
)
def test_an_instant_the_warehouse_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)
    assert only(validate_event({**contact(), "time": text}, SYSTEMS)).path == "/time"


def _oracle(record: str) -> jsonschema.Draft202012Validator:
    """Another implementation, reading the files as they stand and resolving $ref by itself."""
    enums = (enum_document(name) for name in enum_names())
    registry: Any = Registry().with_resources(
        (document["$id"], Resource.from_contents(document)) for document in enums
    )
    document = schema(record, newest_version(record))
    return jsonschema.Draft202012Validator(document, registry=registry)


ORACLES = {record: _oracle(record) for record in RECORD_TABLES}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "hubspot", "mql", "email", "granted", "created", "DE"]),
    st.lists(st.sampled_from(["a", 1, None]), max_size=2),
    st.dictionaries(st.sampled_from(["system", "record_id", "x"]), st.just("a"), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_another_validator_agrees_about_mutilated_records(draw: st.DataObject) -> None:
    record = draw.draw(st.sampled_from(sorted(RECORD_TABLES)))
    document = schema(record, newest_version(record))
    data = copy.deepcopy(draw.draw(st.sampled_from(document["examples"])))
    for name in draw.draw(st.lists(st.sampled_from(sorted(document["properties"])), max_size=3)):
        field = document["properties"][name]
        if draw.draw(st.booleans()):
            data.pop(name, None)
        elif "format" not in field:
            # Formats are ours to assert; the other validator takes them as annotations.
            data[name] = draw.draw(VALUES)
    if draw.draw(st.integers(0, 9)) == 0:
        data["shoe_size"] = 44
    known = (*SYSTEMS, "calendar", str(data.get("system")))
    keys = ("operation_id", "erasure_id", "record_id", "activity_id", "meeting_id", "surviving_id")
    key = next((data[name] for name in keys if data.get(name)), "1")
    subject = f"{record}/{data.get('system') or 'hubspot'}/{key}"
    found = validate_event(event(data, record, subject=subject), known)
    assert (found == []) == ORACLES[record].is_valid(data), found
