"""Guards: what a plan may do to a system at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.outbound.guard import Guard, check_guard, require_guard
from ingestion.outbound.plan import Plan, build_plan

NOW = datetime(2026, 4, 14, 8, tzinfo=UTC)


def plan_with(creates: int = 0, updates: int = 0, refused: int = 0) -> Plan:
    rows: list[dict[str, Any]] = []
    for number in range(creates + updates + refused):
        is_update = creates <= number < creates + updates
        rows.append(
            {
                "object": "Lead",
                "action": "update" if is_update else "upsert",
                "external_id_field": "Handoff_Person_Id__c",
                "external_id": f"p{number}",
                "target_id": f"00Q{number}" if is_update else None,
                "person_id": f"p{number}",
                "payload": {"LastName": "x"},
                "is_consented": number < creates + updates,
            }
        )
    return build_plan("salesforce", rows, as_of=NOW, observed_marker="", planned_at=NOW)


GUARD = Guard(max_creates=10, max_updates=100, max_update_share=0.5)


@pytest.mark.parametrize(
    ("creates", "updates", "known", "broken"),
    [
        (10, 0, 0, []),
        (11, 0, 0, ["max_creates"]),
        (0, 100, 200, []),
        (0, 101, 1000, ["max_updates"]),
        (0, 51, 100, ["max_update_share"]),
        (0, 50, 100, []),
        (11, 101, 101, ["max_creates", "max_updates", "max_update_share"]),
        # In a small org one record more or less would decide, so the share is not judged.
        (0, 20, 20, []),
        (0, 21, 21, ["max_update_share"]),
        (0, 21, 0, ["max_update_share"]),
    ],
)
def test_a_plan_is_refused_exactly_beyond_its_limits(
    creates: int, updates: int, known: int, broken: list[str]
) -> None:
    found = check_guard(plan_with(creates, updates), {"Lead": GUARD}, {"Lead": known})
    assert [violation.limit for violation in found] == broken


def test_rows_without_consent_do_not_count_because_they_are_not_written() -> None:
    assert check_guard(plan_with(creates=10, refused=50), {"Lead": GUARD}, {}) == []


def test_an_object_without_a_guard_may_not_be_written() -> None:
    found = check_guard(plan_with(creates=1), {"Task": GUARD}, {"Lead": 10})
    assert [violation.limit for violation in found] == ["guard"]


def test_a_refusal_gives_the_numbers_and_the_remedy() -> None:
    with pytest.raises(HandoffError) as caught:
        require_guard(plan_with(creates=11), {"Lead": GUARD}, {})
    assert caught.value.code == "GUARD_REFUSED"
    assert "11 creates" in caught.value.message
    assert "allows 10" in caught.value.message
    assert "max_creates" in caught.value.remedy
