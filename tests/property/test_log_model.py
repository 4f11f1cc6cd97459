"""The log against a dictionary as oracle: any appends, repeats, changed bodies and restarts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.edge.strict_json import MAX_DEPTH, read_items
from ingestion.errors.catalog import HandoffError
from ingestion.log.sqlite import SqliteLog

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
EVENTS = st.builds(
    lambda source, name, value: {"source": source, "id": name, "data": {"value": value}},
    st.sampled_from(["a", "b", "ab"]),
    st.sampled_from(["1", "2", "b1", "\x00", "é"]),
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
)
STEPS = st.lists(st.lists(EVENTS, max_size=6) | st.just("restart"), max_size=12)


def same(left: Any, right: Any) -> bool:
    return repr(left) == repr(right)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_the_log_answers_as_a_dictionary_would(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log" / "events.sqlite"
        log = SqliteLog(path)
        known: dict[tuple[str, str], tuple[int, Any]] = {}
        for step in steps:
            if step == "restart":
                log.close()
                log = SqliteLog(path)
                continue
            expected = []
            for event in step:
                key = (event["source"], event["id"])
                if key not in known:
                    known[key] = (len(known) + 1, event["data"]["value"])
                    expected.append(("accepted", known[key][0]))
                    continue
                seq, value = known[key]
                status = "duplicate" if same(value, event["data"]["value"]) else "conflict"
                expected.append((status, seq))
            assert [(answer.status, answer.seq) for answer in log.append(step)] == expected
        entries = log.read(limit=1_000)
        stored = [((e.event["source"], e.event["id"]), e.seq) for e in entries]
        assert stored == [(key, seq) for key, (seq, _) in known.items()]
        assert log.verify().broken_seq is None
        assert log.verify().checked == len(known)
        log.close()


JSON = st.recursive(
    SCALARS | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=6), st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_every_item_of_a_batch_is_read_with_its_own_text(values: list[Any], indent: Any) -> None:
    import json

    items, is_batch = read_items(json.dumps(values, indent=indent).encode())
    assert is_batch
    assert [repr(item.value) for item in items] == [repr(value) for value in values]
    assert [repr(json.loads(item.raw)) for item in items] == [repr(value) for value in values]
    assert all(item.violations == () for item in items)


@given(
    st.binary(max_size=60) | st.text(alphabet='[]{}",:1e9.-nul \\ud8', max_size=60).map(str.encode)
)
@settings(max_examples=400, deadline=None)
def test_whatever_bytes_come_they_are_read_or_refused(body: bytes) -> None:
    import json

    try:
        items, _ = read_items(body)
    except HandoffError as error:
        assert error.code == "SCHEMA_INVALID"
        return
    json.loads(body)
    assert all(isinstance(item.raw, bytes) for item in items)


@given(st.integers(1, 3_000), st.sampled_from(["[", '{"a":']))
@settings(max_examples=60, deadline=None)
def test_json_nested_too_deep_is_refused_and_no_deeper_crashes(depth: int, opener: str) -> None:
    body = ('{"x":' + opener * depth + "1" + {"[": "]"}.get(opener, "}") * depth + "}").encode()
    try:
        (item,), _ = read_items(body)
        refused = bool(item.violations)
    except HandoffError:
        refused = True
    assert refused == (depth + 1 > MAX_DEPTH)
