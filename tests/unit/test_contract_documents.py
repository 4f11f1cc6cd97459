"""The contract and enumeration files themselves: complete, described, exemplified, standard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from ingestion.contracts.registry import (
    FOLDER,
    RECORD_TABLES,
    contract_of,
    enum_document,
    enum_names,
    enum_of,
    enum_values,
    event_type,
    newest_version,
    record_of,
    schema,
    system_value,
    validate_event,
    versions,
)

SYSTEMS = ("hubspot", "salesforce", "marketo", "web", "calendar")
RECORDS = tuple(RECORD_TABLES)
DOCUMENTS = [(record, version) for record in (*RECORDS, "envelope") for version in versions(record)]
# What an event may say without a value: a first stage has none before it.
REQUIRED_BUT_NULLABLE = {("stage_change", "from")}


KEYS = ("operation_id", "erasure_id", "record_id", "activity_id", "meeting_id", "surviving_id")


def event(record: str, data: dict[str, Any]) -> dict[str, Any]:
    key = next((data[name] for name in KEYS if name in data), "1")
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:test",
        "type": event_type(record),
        "subject": f"{record}/{data.get('system', 'hubspot')}/{key}",
        "time": "2026-04-01T08:30:00Z",
        "data": data,
    }


def properties(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema, those of nested objects too, with its dotted path."""
    for name, field in node.get("properties", {}).items():
        yield f"{path}{name}", field
        yield from properties(field, f"{path}{name}.")
        yield from properties(field.get("items", {}), f"{path}{name}[].")


def takes_null(field: dict[str, Any]) -> bool:
    return "null" in field.get("type", ()) or {"type": "null"} in field.get("anyOf", ())


def test_every_record_has_a_folder_and_every_folder_a_record() -> None:
    folders = {path.name for path in FOLDER.iterdir() if list(path.glob("[0-9]*.json"))}
    assert folders == {*RECORDS, "envelope"}


@pytest.mark.parametrize(("record", "version"), DOCUMENTS)
def test_a_contract_is_valid_json_schema_2020_12(record: str, version: str) -> None:
    document = schema(record, version)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:handoff:contract:{record}:{version}"
    jsonschema_rs.meta.validate(document)


@pytest.mark.parametrize("name", enum_names())
def test_an_enumeration_is_valid_json_schema_2020_12(name: str) -> None:
    document = enum_document(name)
    assert document["$id"] == f"urn:handoff:enum:{name}"
    jsonschema_rs.meta.validate(document)


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_is_described_and_classed(record: str) -> None:
    document = schema(record, newest_version(record))
    for path, field in properties(document):
        assert field["description"].endswith("."), path
        assert len(field["description"].split()) >= 2, path
        if "usd" in path.rpartition(".")[2]:
            assert "US dollars" in field["description"], path
    for name, field in document["properties"].items():
        assert field["x-pii"] in ("direct", "indirect", "none"), name


@pytest.mark.parametrize("record", RECORDS)
def test_optional_fields_may_be_emptied_and_required_ones_may_not(record: str) -> None:
    document = schema(record, newest_version(record))
    for name, field in document["properties"].items():
        required = name in document["required"] and (record, name) not in REQUIRED_BUT_NULLABLE
        assert takes_null(field) is not required, name


@pytest.mark.parametrize("record", RECORDS)
def test_the_examples_are_accepted(record: str) -> None:
    examples = schema(record, newest_version(record))["examples"]
    assert len(examples) >= 2
    for example in examples:
        assert validate_event(event(record, example), SYSTEMS) == []


@pytest.mark.parametrize("record", RECORDS)
def test_the_first_example_is_minimal_and_the_last_is_full(record: str) -> None:
    document = schema(record, newest_version(record))
    minimal, full = document["examples"][0], document["examples"][-1]
    assert set(full) == set(document["properties"])
    for name in minimal:
        without = {key: value for key, value in minimal.items() if key != name}
        assert validate_event(event(record, without), SYSTEMS), f"{name} is not needed"


def test_the_examples_of_the_envelope_are_accepted() -> None:
    examples = schema("envelope", "1.0.0")["examples"]
    assert len(examples) >= 2
    for example in examples:
        assert validate_event(example, SYSTEMS) == []


def test_the_envelope_takes_every_record_as_subject() -> None:
    for record in RECORDS:
        [example, *_] = schema(record, newest_version(record))["examples"]
        assert validate_event(event(record, example), SYSTEMS) == []
    stranger = {**event("contact", {"record_id": "1", "system": "web"}), "subject": "lead/web/1"}
    assert [violation.path for violation in validate_event(stranger, SYSTEMS)] == ["/subject"]


@pytest.mark.parametrize("name", enum_names())
def test_every_value_of_an_enumeration_is_described(name: str) -> None:
    for option in enum_document(name)["oneOf"]:
        assert option["description"].endswith("."), option["const"]
    assert len(set(enum_values(name))) == len(enum_values(name)) > 1


@pytest.mark.parametrize("name", enum_names())
def test_systems_picklists_map_to_values_that_exist(name: str) -> None:
    systems = enum_document(name)["systems"]
    assert {"hubspot", "salesforce", "marketo"} <= set(systems)
    for system, picklist in systems.items():
        for theirs, ours in picklist.items():
            assert ours in enum_values(name), f"{system} {theirs}"
            assert system_value(name, system, theirs) == ours


def test_every_enumeration_is_used_by_a_contract() -> None:
    used = set()
    for record in RECORDS:
        for _, field in properties(schema(record, newest_version(record))):
            used.add(enum_of(field))
            used.add(field.get("x-registry", "").removeprefix("urn:handoff:enum:"))
    assert set(enum_names()) <= used


def test_a_word_no_picklist_has_maps_to_nothing() -> None:
    assert system_value("activity_type", "hubspot", "e_submitted_form_v2") == "form_submit"
    assert system_value("activity_type", "hubspot", "e_unheard_of") is None
    assert system_value("activity_type", "pipedrive", "e_submitted_form_v2") is None


def test_types_and_records_name_each_other() -> None:
    for record in RECORDS:
        assert record_of(event_type(record)) == record
    named = contract_of({"type": "com.handoff.stage_change"})
    assert (named.record, named.version) == ("stage_change", "1.0.0")
