"""Each rule of compatibility by the change it names, with a document it hurts where it hurts senders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from ingestion.contracts import registry
from ingestion.contracts.compatibility import RULES, accepts, compare

TEXT = {"type": "string"}
CLOSED = {"type": "object", "additionalProperties": False}

# Rule, old schema, new schema, and a document that the old one takes and the new one refuses.
BREAKS_SENDERS: list[tuple[str, Any, Any, Any]] = [
    ("field_removed", CLOSED | {"properties": {"a": TEXT}}, CLOSED, {"a": "x"}),
    ("required_field_added", {"type": "object"}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}, {}),
    ("field_became_required", {"type": "object", "properties": {"a": TEXT}}, {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}, {}),
    ("null_refused", {"type": ["string", "null"]}, TEXT, None),
    ("null_refused", {"enum": ["a", None]}, {"enum": ["a"]}, None),
    ("type_narrowed", {"type": "number"}, {"type": "integer"}, 1.5),
    ("enum_added", TEXT, {"type": "string", "enum": ["a"]}, "b"),
    ("enum_value_removed", {"enum": ["a", "b"]}, {"enum": ["a"]}, "b"),
    ("enum_value_removed", {"enum": [1, True]}, {"enum": [1]}, True),
    ("format_added", TEXT, {"type": "string", "format": "date"}, "soon"),
    ("format_changed", {"type": "string", "format": "ipv4"}, {"type": "string", "format": "date"}, "10.0.0.1"),
    ("pattern_added", TEXT, {"type": "string", "pattern": "^a"}, "b"),
    ("pattern_changed", {"type": "string", "pattern": "^b"}, {"type": "string", "pattern": "^a"}, "b"),
    ("pattern_changed", {"type": "string", "pattern": "^(a|b)/"}, {"type": "string", "pattern": "^(a|c)/"}, "b/"),
    ("pattern_changed", {"type": "string", "pattern": "^(a|b)/"}, {"type": "string", "pattern": "^(a|b|c)/x"}, "b/"),
    ("bound_tightened", TEXT, {"type": "string", "minLength": 1}, ""),
    ("bound_tightened", {"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 1}, "ab"),
    ("bound_tightened", {"type": "number", "minimum": 0}, {"type": "number", "exclusiveMinimum": 0}, 0),
    ("bound_tightened", {"type": "number", "maximum": 9}, {"type": "number", "maximum": 9, "exclusiveMaximum": 9}, 9),
    ("bound_tightened", {"type": "array"}, {"type": "array", "maxItems": 1}, [1, 2]),
    ("type_narrowed", {"type": "array"}, {"type": "array", "items": TEXT}, [1]),
    ("uniqueness_added", {"type": "array"}, {"type": "array", "uniqueItems": True}, [1, 1]),
    ("additional_properties_refused", {"type": "object"}, CLOSED, {"x": 1}),
    ("field_claimed", {"type": "object"}, {"type": "object", "properties": {"a": TEXT}}, {"a": 1}),
    ("alternative_required", {"type": "object"}, {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {}),
    ("alternative_required", {"anyOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT]}, None),
    ("unjudged_keyword", {"type": "object"}, {"type": "object", "minProperties": 1}, {}),
]  # fmt: skip

FIELD = {"type": ["string", "null"], "x-pii": "none", "description": "A field."}


def record(**fields: Any) -> dict[str, Any]:
    return CLOSED | {"properties": fields, "required": [n for n in fields if n.startswith("must_")]}


BREAKS_READERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("column_type_changed", record(n=FIELD | {"type": "integer"}), record(n=FIELD | {"type": "number"})),
    ("column_type_changed", record(t=FIELD | {"format": "date-time"}), record(t=FIELD)),
    ("column_type_changed", record(t=FIELD), record(t=FIELD | {"type": ["string", "integer", "null"]})),
    ("column_renamed", record(a=FIELD), record(a=FIELD | {"x-column": "b"})),
    ("field_became_optional", record(must_a=FIELD), {**record(must_a=FIELD), "required": []}),
    ("field_became_optional", record(must_a=FIELD | {"type": "string"}), record(must_a=FIELD)),
    ("enum_lifted", record(a=FIELD | {"enum": ["x", None]}), record(a=FIELD)),
    ("default_changed", record(a=FIELD), record(a=FIELD | {"default": "x"})),
    ("protection_lowered", record(a=FIELD | {"x-pii": "direct"}), record(a=FIELD)),
    ("field_removed", record(a=FIELD, b=FIELD), record(a=FIELD)),
]  # fmt: skip

HURTS_NOBODY: list[tuple[str, Any, Any]] = [
    ("optional_field_added", record(a=FIELD), record(a=FIELD, b=FIELD)),
    ("null_taken", record(a=FIELD | {"type": "string"}), record(a=FIELD)),
    ("enum_value_added", record(a=FIELD | {"enum": ["x"]}), record(a=FIELD | {"enum": ["x", "y"]})),
    ("format_removed", record(a=FIELD | {"format": "time-zone"}), record(a=FIELD)),
    ("pattern_removed", record(a=FIELD | {"pattern": "^a"}), record(a=FIELD)),
    ("pattern_widened", record(a=FIELD | {"pattern": "^(a|b)/.+$"}), record(a=FIELD | {"pattern": "^(a|b|c)/.+$"})),
    ("bound_loosened", record(a=FIELD | {"maxLength": 9}), record(a=FIELD | {"maxLength": 99})),
    ("protection_raised", record(a=FIELD), record(a=FIELD | {"x-pii": "direct"})),
    ("registry_changed", record(a=FIELD), record(a=FIELD | {"x-registry": "urn:handoff:enum:x"})),
    ("words_changed", record(a=FIELD), record(a=FIELD | {"description": "Said otherwise."})),
    ("type_widened", record(a=FIELD | {"type": "array", "items": TEXT}), record(a=FIELD | {"type": "array", "items": {"type": ["string", "integer"]}})),
    ("uniqueness_removed", record(a=FIELD | {"type": "array", "uniqueItems": True}), record(a=FIELD | {"type": "array"})),
    ("additional_properties_taken", record(a=FIELD), record(a=FIELD) | {"additionalProperties": True}),
    ("alternative_dropped", record(a=FIELD) | {"anyOf": [{"required": ["a"]}]}, record(a=FIELD)),
    ("inner_field_became_optional", record(a=FIELD | {"type": "object", "properties": {"x": {}}, "required": ["x"]}), record(a=FIELD | {"type": "object", "properties": {"x": {}}})),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "old", "new", "hurt"), BREAKS_SENDERS)
def test_a_change_that_refuses_a_document_is_breaking_by_its_rule(
    rule: str, old: Any, new: Any, hurt: Any
) -> None:
    assert Draft202012Validator(old, validate_formats=True).is_valid(hurt)
    assert not Draft202012Validator(new, validate_formats=True).is_valid(hurt)
    assert rule in {change.rule for change in accepts(old, new) if change.is_breaking}
    assert RULES[rule].hurts == "senders"


@pytest.mark.parametrize(("rule", "old", "new"), BREAKS_READERS)
def test_a_change_of_what_a_column_holds_is_breaking_for_readers(
    rule: str, old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert rule in {change.rule for change in compare(old, new) if change.is_breaking}


@pytest.mark.parametrize(("rule", "old", "new"), HURTS_NOBODY)
def test_a_change_that_hurts_nobody_needs_no_major_version(rule: str, old: Any, new: Any) -> None:
    changes = compare(old, new)
    assert rule in {change.rule for change in changes}
    assert [change for change in changes if change.is_breaking] == []


def test_every_rule_has_a_case() -> None:
    named = {case[0] for case in (*BREAKS_SENDERS, *BREAKS_READERS, *HURTS_NOBODY)}
    assert named == RULES.keys()


def test_a_contract_does_not_differ_from_itself() -> None:
    for record_name in registry.RECORD_TABLES:
        document = registry.resolved(registry.schema(record_name, "1.0.0"))
        assert compare(document, document) == []


def test_a_change_says_where_in_the_event_it_is() -> None:
    inner = {"type": "object", "properties": {"start": TEXT}}
    old = record(hours=FIELD | {"type": "array", "items": inner})
    new = record(hours=FIELD | {"type": "array", "items": inner | {"properties": {"start": TEXT | {"minLength": 1}}}})  # fmt: skip
    [change] = compare(old, new)
    assert (change.rule, change.path) == ("bound_tightened", "/data/hours/*/start")


def test_the_page_lists_every_rule_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| (patch|minor|major) \| (\w+) \| (.+) \|$", page, re.M)
    assert listed == [(name, rule.bump, rule.hurts, rule.meaning) for name, rule in RULES.items()]
