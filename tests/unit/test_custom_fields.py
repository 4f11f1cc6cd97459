"""Fields under custom: checked where they are defined, left alone where they are not."""

from __future__ import annotations

from typing import Any

import pytest

from ingestion.connectors import catalog
from ingestion.contracts.custom_fields import custom_fields, read_custom_fields
from ingestion.contracts.registry import validate_event
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

DEFINED = """\
contact:
  tier:
    type: text
    owner: salesforce
    description: Customer tier.
    allowed: [gold, silver]
  seats: {type: integer, owner: web, description: Seats.}
  renewed_on: {type: date, owner: web, description: Day.}
  seen_at: {type: instant, owner: web, description: When.}
  is_partner: {type: boolean, owner: web, description: Partner.}
  tags: {type: list, owner: web, description: Tags.}
  weight: {type: number, owner: web, description: Weight.}
"""


def contact(custom: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": "contact/web/1",
        "time": "2026-04-01T08:30:00Z",
        "data": {"record_id": "1", "system": "web", "custom": custom},
    }


@pytest.fixture
def defined(contract_world: Any) -> None:
    (contract_world.folder / "custom_fields.yml").write_text(DEFINED)


@pytest.mark.usefixtures("defined")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tier", "gold"), ("tier", None), ("seats", 3), ("seats", 3.0), ("renewed_on", "2026-04-01"),
        ("seen_at", "2026-04-01T08:30:00+02:00"), ("is_partner", False), ("tags", []), ("weight", 1.5),
        ("undefined", {"any": [1, "thing"]}),
    ],
)  # fmt: skip
def test_a_value_that_fits_passes_and_so_does_what_nobody_defined(name: str, value: Any) -> None:
    assert validate_event(contact({name: value}), ["web"]) == []


@pytest.mark.usefixtures("defined")
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("tier", "bronze", "ENUM_UNKNOWN"), ("tier", 1, "FIELD_MISMATCH"), ("seats", "3", "FIELD_MISMATCH"),
        ("seats", True, "FIELD_MISMATCH"), ("seats", 2.5, "FIELD_MISMATCH"), ("renewed_on", "20260401", "FIELD_MISMATCH"),
        ("renewed_on", "2026-02-30", "FIELD_MISMATCH"), ("seen_at", "2026-04-01", "FIELD_MISMATCH"),
        ("is_partner", 0, "FIELD_MISMATCH"), ("tags", "a", "FIELD_MISMATCH"), ("weight", True, "FIELD_MISMATCH"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_without_being_shown(
    name: str, value: Any, code: str
) -> None:
    [violation] = validate_event(contact({name: value}), ["web"])
    assert (violation.code, violation.path) == (code, f"/data/custom/{name}")
    assert "bronze" not in violation.message


@pytest.mark.parametrize(
    "text",
    [
        "contact: {a: {type: money, owner: web, description: x}}",
        "person: {a: {type: text, owner: web, description: x}}",
        "contact: {a: {type: text}}",
        "contact: {a: {type: integer, owner: web, description: x, allowed: [b]}}",
        "contact: 3",
        "- a",
        "a: [",
    ],
)
def test_a_definition_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(HandoffError, match=r"custom_fields\.yml"):
        read_custom_fields(text)


def test_our_own_definitions_name_systems_we_know(settings: Settings) -> None:
    assert custom_fields()
    known = catalog.known_systems(settings)
    assert [field.name for field in custom_fields() if field.owner not in known] == []
