"""Parsing columns in bulk gives what parsing each event gives, whatever the events hold."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.contracts.columns import record_columns
from ingestion.contracts.registry import RECORD_TABLES
from ingestion.landing import columnar
from ingestion.landing.events import _one_by_one, to_tables
from ingestion.log.encoding import encode_event
from ingestion.log.interface import StoredEvent

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ODD_TEXT = st.sampled_from(
    ["", "\x00", "\\", '"', '":null', '"custom":', '"type":"com.handoff.contact"', "a\nb\r\u2028", "\x7f\x1f", "😀\ufeff", "\\u0041", "x" * 3000]
)  # fmt: skip
INSTANTS = st.one_of(
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.datetimes().map(lambda at: at.isoformat() + "+05:45"),
    st.sampled_from(
        [
            "2026-04-01T10:30:00Z", "2026-04-01T10:30:00.123456789-11:30", "2026-04-01t10:30:00z", "2026-04-01T10:30:00.5+23:59",
            "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999Z",
            "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z", "2026-04-01T24:00:00Z", "2026-04-01T10:30:00",
            "2026-04-01 10:30:00Z", "1582-10-10T00:00:00Z", "1969-12-31T23:59:59.999999Z",
        ]
    ),
)  # fmt: skip
DAYS = st.one_of(
    st.dates().map(lambda day: day.isoformat()),
    st.sampled_from(["2026-02-30", "0000-01-01", "20260401", "2026-W01-1", "9999-12-31", "26-1-1"]),
)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**9), 10**9, places=3).map(float),
    st.sampled_from([0.005, 0.015, 1.005, 2.675, -0.0, 2.0**53, 2**53 + 1, 1e16, 1e-7, 3.0, 123456789012345.67]),
)  # fmt: skip
NESTED = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, ODD_TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXT, st.just("type")), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
BY_KIND: dict[str, st.SearchStrategy[Any]] = {
    "text": st.one_of(TEXT, ODD_TEXT),
    "instant": INSTANTS,
    "date": DAYS,
    "integer": st.one_of(st.integers(-(2**63), 2**63 - 1)),
    "number": NUMBERS,
    "money": NUMBERS,
    "boolean": st.booleans(),
    "json": NESTED,
}


@st.composite
def events(draw: st.DrawFn, usual: bool) -> dict[str, Any]:
    record = draw(st.sampled_from(sorted(RECORD_TABLES)))
    data: dict[str, Any] = {}
    for column in record_columns(record):
        of_kind = BY_KIND[column.kind]
        if not usual and draw(st.integers(0, 30)) == 0:
            of_kind = NESTED
        if draw(st.booleans()):
            data[column.field] = draw(st.one_of(of_kind, of_kind, st.none()))
    if not usual and draw(st.booleans()):
        data[draw(TEXT)] = draw(NESTED)
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": draw(st.one_of(TEXT, ODD_TEXT).filter(bool)),
        "subject": draw(TEXT),
        "type": f"com.handoff.{record}",
        "time": draw(INSTANTS),
        "data": data,
    }
    if draw(st.booleans()):
        event["traceparent"] = draw(st.one_of(TEXT, st.none()))
    if draw(st.booleans()):
        event["dataschema"] = f"urn:handoff:contract:{record}:1.0.0"
    names = draw(st.permutations(sorted(event)))
    return {name: event[name] for name in names}


def outcome(work: Any, stored: list[StoredEvent]) -> Any:
    """Rows by table, what could not be held, or what it failed with."""
    unrepresentable: list[str] = []
    try:
        tables = work(stored, unrepresentable)
    except Exception as error:
        return repr(error)
    rows: dict[str, list[Any]] = {}
    for name, table in tables:
        # repr tells -0.0 from 0.0.
        rows.setdefault(name, []).extend(map(repr, table.to_pylist()))
        assert table.schema
    return {name: sorted(found) for name, found in rows.items()}, sorted(unrepresentable)


def stored_rows(sent: list[dict[str, Any]]) -> list[StoredEvent]:
    return [
        StoredEvent(seq, 1_780_000_000_000_000 + seq, encode_event(event).payload)
        for seq, event in enumerate(sent, start=1)
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.booleans().flatmap(events), min_size=1, max_size=6))
def test_columns_parsed_in_bulk_are_those_of_each_event(sent: list[dict[str, Any]]) -> None:
    stored = stored_rows(sent)
    assert outcome(to_tables, stored) == outcome(_one_by_one, stored)


def test_usual_events_are_parsed_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the comparison would be of the same way with itself."""
    sent = [
        {
            "id": str(number),
            "source": "urn:test",
            "subject": "s",
            "type": "com.handoff.opportunity",
            "time": "2026-04-01T10:30:00.5+02:00",
            "data": {
                "record_id": str(number), "system": "web", "amount_usd": 10.505, "closed_at": None, "is_won": True,
                "contact_ids": ["1", {"a": [1.0, None]}],
            },
        }
        for number in range(50)
    ]  # fmt: skip
    found = columnar.parse("opportunity", stored_rows(sent))
    assert found is not None
    assert found.num_rows == 50
    first = found.to_pylist()[0]
    assert (first["null_fields"], first["contact_ids"]) == (
        '["closed_at"]',
        '["1",{"a":[1.0,null]}]',
    )
    assert str(first["amount_usd"]) == "10.50"
    assert columnar.parse("opportunity", stored_rows([{**sent[0], "data": {"stage": 3}}])) is None
    assert orjson.loads(first["contact_ids"]) == sent[0]["data"]["contact_ids"]
