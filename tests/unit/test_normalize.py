"""Claims about the normal forms of identifiers, against published vectors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingestion.normalize.emails import normalize_email
from ingestion.normalize.phones import normalize_phone

VECTORS = Path(__file__).parents[2].parent / "shared" / "data" / "normalize"


def vectors(name: str) -> object:
    """The vectors, or a skip that says what is missing."""
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"{path} is absent: the published vectors are not part of this repository")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("spelled", "normal"),
    [
        (" Ada.Lovelace@Example-Corp.COM ", "ada.lovelace@example-corp.com"),
        ("info@MÜNCHEN.de", "info@xn--mnchen-3ya.de"),
        ("no address", None),
        ("two@@signs.com", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_has_one_normal_form_or_none(spelled: str | None, normal: str | None) -> None:
    assert normalize_email(spelled) == normal


def test_every_published_invalid_address_links_nobody() -> None:
    invalid = vectors("emails.json")["invalid"]  # type: ignore[index]
    assert [row["input"] for row in invalid if normalize_email(row["input"]) is not None] == []


@pytest.mark.parametrize("spelling", ["raw_national", "raw_international", "raw_rfc3966"])
def test_every_published_number_becomes_its_e164_form(spelling: str) -> None:
    rows = [row for row in vectors("phone_numbers.json") if row.get("valid") and row.get(spelling)]  # type: ignore[attr-defined]
    assert len(rows) > 400
    wrong = {
        (row["region"], row[spelling]): normalize_phone(row[spelling], row["region"])
        for row in rows
        if normalize_phone(row[spelling], row["region"]) != row["e164"]
    }
    assert wrong == {}


def test_a_number_without_region_needs_its_prefix() -> None:
    assert normalize_phone("+49 30 901820", None) == "+4930901820"
    assert normalize_phone("030 901820", None) is None
    assert normalize_phone("030 901820", "DE") == "+4930901820"
    assert normalize_phone("12", "DE") is None
