"""Whatever an event's data holds, landing keeps the row and every value a column can hold."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.contracts.columns import arrow_schema
from ingestion.landing.events import to_table
from ingestion.log.interface import LogEntry

NOW = datetime(2026, 4, 1, tzinfo=UTC)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
    st.sampled_from(
        ["2026-04-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31", "1900-02-29"]
    ),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text("ab", max_size=1), SCALARS)
)
FIELDS = ("amount_usd", "closed_at", "is_won", "contact_ids", "stage", "custom")
DATA = st.dictionaries(st.sampled_from(FIELDS), VALUES)


def entry(seq: int, data: dict[str, Any]) -> LogEntry:
    event = {
        "id": str(seq),
        "source": "urn:test",
        "type": "com.handoff.opportunity",
        "subject": f"opportunity/web/{seq}",
        "time": "2026-04-01T00:00:00Z",
        "data": {"record_id": str(seq), "system": "web", **data},
    }
    return LogEntry(seq, NOW, event)


@settings(max_examples=150, deadline=None)
@given(st.lists(DATA, min_size=1, max_size=6))
def test_no_value_whatever_loses_a_row(found: list[dict[str, Any]]) -> None:
    unrepresentable: list[str] = []
    entries = [entry(seq, data) for seq, data in enumerate(found, start=1)]
    table = to_table("opportunity", entries, unrepresentable)
    assert table.schema.equals(arrow_schema("opportunity"))
    assert table["seq"].to_pylist() == [row.seq for row in entries]
    for index, data in enumerate(found):
        for name, value in data.items():
            held = table[name][index].as_py()
            named = any(
                text.startswith(f"opportunities.{name} of seq {index + 1}:")
                for text in unrepresentable
            )
            # A value is held, or was null, or is named as one that cannot be held.
            assert held is not None or value is None or named


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(10**15) + 1, 10**15 - 1), min_size=1, max_size=5))
def test_money_is_exact_to_the_cent(cents: list[int]) -> None:
    unrepresentable: list[str] = []
    amounts = [cent / 100 for cent in cents]
    table = to_table(
        "opportunity",
        [entry(seq, {"amount_usd": amount}) for seq, amount in enumerate(amounts)],
        unrepresentable,
    )
    assert table["amount_usd"].to_pylist() == [Decimal(cent) / 100 for cent in cents]
    assert unrepresentable == []
