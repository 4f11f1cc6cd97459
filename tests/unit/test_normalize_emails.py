"""Claims about spellings of one mailbox, and about why a value is no identifier."""

from __future__ import annotations

import json
from dataclasses import asdict

import idna
import pyarrow as pa
import pytest

from ingestion.normalize.emails import (
    canonical_email,
    canonical_emails,
    email_refusal,
    email_refusals,
    normalize_email,
)
from ingestion.normalize.phones import (
    normalize_phone,
    normalize_phones,
    phone_refusal,
    phone_refusals,
)
from models.policies.load import load_policies
from models.policies.rows import active_email_rules
from tests.unit.test_normalize import vectors

# Two valid vectors carry a display name, four invalid ones say that none is allowed: see NORMALIZE_VECTORS.md.
WITH_DISPLAY_NAME = {
    "MyName <me@example.org>",
    '"My.\\"Na\\\\me\\".Is" <"me \\" \\\\ me"@example.org>',
}


def test_every_published_valid_address_has_its_normal_form() -> None:
    rows = vectors("emails.json")["valid"]  # type: ignore[index]
    assert len(rows) == 16
    wrong = {}
    for row in rows:
        if row["input"] in WITH_DISPLAY_NAME:
            assert email_refusal(row["input"]) == "display_name"
            continue
        domain = idna.encode(row["domain"], uts46=True).decode("ascii")
        expected = f"{row['local_part'].lower()}@{domain}"
        if normalize_email(row["input"]) != expected:
            wrong[row["input"]] = normalize_email(row["input"])
    assert wrong == {}


def test_every_published_invalid_address_says_why() -> None:
    rows = vectors("emails.json")["invalid"]  # type: ignore[index]
    told = {row["input"]: email_refusal(row["input"]) for row in rows}
    assert len(told) == 54
    assert None not in told.values()
    # In words of the validator's own: of what is too long before the @ after normalisation it says so, we that the part is at fault.
    for row in rows:
        if "after the @-sign" in row["error"] and "long" not in row["error"]:
            assert told[row["input"]] in ("domain_invalid", "display_name"), row


@pytest.mark.parametrize(
    ("spelled", "reason"),
    [
        ("ada@acme.com", None),
        (None, None),
        ("", "empty"),
        (" \t", "empty"),
        ("call me", "no_at_sign"),
        ("Ada <ada@acme.com>", "display_name"),
        ("ada@acme", "domain_invalid"),
        ("ada@acme..com", "domain_invalid"),
        ("ada@10.0.0.1", "domain_invalid"),
        ("ada..l@acme.com", "local_part_invalid"),
        ("a@b@acme.com", "local_part_invalid"),
        ("one@a.com, two@b.com", "local_part_invalid"),
        ("x" * 65 + "@acme.com", "too_long"),
        ("ada@" + "a." * 130 + "com", "too_long"),
    ],
)
def test_a_value_that_is_no_address_says_why(spelled: str | None, reason: str | None) -> None:
    assert email_refusal(spelled) == reason
    assert email_refusals(pa.array([spelled, spelled], pa.string())).to_pylist() == [reason] * 2


def test_a_domain_is_one_however_it_is_spelled() -> None:
    assert normalize_email("Info@MÜNCHEN.de") == normalize_email("info@xn--mnchen-3ya.de")


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("a.d.a+news@googlemail.com", "ada@gmail.com"),
        ("ada@gmail.com", "ada@gmail.com"),
        # Nothing would be left.
        ("+news@gmail.com", "+news@gmail.com"),
        # Outlook heeds dots, and its domains are different people's.
        ("a.da+news@hotmail.com", "a.da@hotmail.com"),
        ("ada+x@fastmail.com", "ada@fastmail.com"),
        ("anything@ada.fastmail.com", "ada@fastmail.com"),
        ("ada+x@proton.me", "ada@proton.me"),
        # Nobody says so of these.
        ("ada-x@yahoo.com", "ada-x@yahoo.com"),
        ("a.da+x@acme.com", "a.da+x@acme.com"),
        ("ada+x@notgmail.com", "ada+x@notgmail.com"),
        ("x@ada.gmail.com", "x@ada.gmail.com"),
    ],
)
def test_spellings_of_one_mailbox_are_one(address: str, canonical: str) -> None:
    rules = active_email_rules(load_policies())
    assert canonical_email(address, rules) == canonical
    assert canonical_email(canonical, rules) == canonical
    text = json.dumps({domain: asdict(rule) for domain, rule in rules.items()})
    column = pa.array([address, None, "ada@acme.com"], pa.string())
    assert canonical_emails(column, pa.array([text] * 3)).to_pylist() == [
        canonical,
        None,
        "ada@acme.com",
    ]


@pytest.mark.parametrize(
    ("spelled", "region", "reason"),
    [
        ("030 901820", "DE", None),
        ("030 901820", "Germany", None),
        ("030 901820", "Atlantis", "region_unknown"),
        (None, "DE", None),
        ("", "DE", "empty"),
        ("on request", "DE", "no_number"),
        ("030 901820", None, "region_unknown"),
        ("030 901820", "XX", "region_unknown"),
        ("12", "US", "too_short"),
        ("1" * 20, "DE", "too_long"),
        ("555 0100 123", "US", "not_in_plan"),
    ],
)
def test_a_value_that_is_no_number_says_why(
    spelled: str | None, region: str | None, reason: str | None
) -> None:
    assert phone_refusal(spelled, region) == reason
    columns = (pa.array([spelled], pa.string()), pa.array([region], pa.string()))
    assert phone_refusals(*columns).to_pylist() == [reason]
    assert normalize_phones(*columns).to_pylist() == [normalize_phone(spelled, region)]


def test_every_published_invalid_number_says_why() -> None:
    rows = [row for row in vectors("phone_numbers.json") if not row.get("valid")]  # type: ignore[attr-defined]
    assert len(rows) == 120
    assert [row for row in rows if phone_refusal(row["raw_national"], row["region"]) is None] == []
