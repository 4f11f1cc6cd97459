"""Reading back: what counts as the same value, and what became of a write."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ingestion.outbound.confirm import Standing, is_same, judge, standing


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("2026-04-14T10:00:00+02:00", "2026-04-14T08:00:00.000+0000"),
        ("2026-04-14T08:00:00.400Z", "2026-04-14T08:00:00.000+0000"),
        (85, 85.0),
        (Decimal("85.10"), 85.1),
        ("85", 85.0),
        ("Ada ", "Ada"),
        ("a\nb", "a\r\nb"),
        ("", None),
        ("  ", None),
        (True, "true"),
    ],
)
def test_what_a_crm_echoes_its_own_way_is_the_same(left: Any, right: Any) -> None:
    assert is_same(left, right)
    assert is_same(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("2026-04-14T10:00:00Z", "2026-04-14T08:00:00.000+0000"),
        ("0123", "123"),
        (0, None),
        (False, None),
        (False, 0),
        ("Ada", "ada"),
        (85, "eighty-five"),
        ("2026-04-14", "2026-04-15"),
    ],
)
def test_what_differs_in_meaning_is_not_the_same(left: Any, right: Any) -> None:
    assert not is_same(left, right)
    assert not is_same(right, left)


CHANGES = {"Title": {"old": "CTO", "new": "CEO"}, "Phone": {"old": None, "new": "1"}}
WANTED = {"Title": "CEO", "Phone": "1"}


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (None, Standing.ABSENT),
        ({"Title": "CTO", "Phone": None}, Standing.AS_BEFORE),
        ({"Title": "CEO", "Phone": "1"}, Standing.AS_WANTED),
        ({"Title": "CEO", "Phone": None}, Standing.PARTLY),
        ({"Title": "CFO", "Phone": None}, Standing.MOVED),
        ({"Title": "CEO", "Phone": "2"}, Standing.MOVED),
    ],
)
def test_a_record_stands_to_a_wish_in_one_of_five_ways(
    current: dict[str, Any] | None, expected: Standing
) -> None:
    assert standing(WANTED, CHANGES, current) is expected


def test_a_field_without_a_known_value_before_cannot_have_moved() -> None:
    assert standing({"Title": "CEO"}, {}, {"Title": "CFO"}) is Standing.AS_BEFORE


@pytest.mark.parametrize(
    ("before", "current", "status", "code"),
    [
        ({"Title": "CTO"}, {"Title": "CEO"}, "confirmed", None),
        (None, {"Title": "CEO "}, "confirmed", None),
        ({"Title": "CTO"}, {"Title": "CFO"}, "superseded", None),
        ({"Title": "CTO"}, {"Title": "CTO"}, "failed", "SILENT_NOOP"),
        (None, {"Title": None}, "failed", "SILENT_NOOP"),
        ({"Title": "CTO"}, None, "failed", "SILENT_NOOP"),
    ],
)
def test_a_write_is_confirmed_superseded_or_was_a_silent_no(
    before: dict[str, Any] | None, current: dict[str, Any] | None, status: str, code: str | None
) -> None:
    verdict = judge({"Title": "CEO"}, before, current)
    assert (verdict.status, verdict.code) == (status, code)


def test_a_verdict_names_fields_and_never_their_values() -> None:
    verdict = judge({"Email": "ada@example.com"}, None, {"Email": "other@example.com"})
    assert "Email" in (verdict.message or "")
    assert "@" not in (verdict.message or "")
