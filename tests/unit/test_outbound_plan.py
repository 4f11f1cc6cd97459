"""Plans: identity, order, seal and staleness."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.outbound.plan import (
    ObjectCounts,
    Plan,
    build_plan,
    is_stale,
    load_plan,
    operation_id,
    require_fresh,
    seal,
)

NOW = datetime(2026, 4, 14, 8, tzinfo=UTC)


def row(number: int, *, object_name: str = "Lead", **changed: Any) -> dict[str, Any]:
    payload = changed.pop("payload", {"LastName": f"Name {number}"})
    return {
        "operation_id": operation_id(object_name, f"p{number}", payload),
        "object": object_name,
        "action": "upsert",
        "external_id_field": "Handoff_Person_Id__c",
        "external_id": f"p{number}",
        "target_id": None,
        "person_id": f"p{number}",
        "payload": json.dumps(payload),
        "changes": json.dumps({name: {"old": None, "new": new} for name, new in payload.items()}),
        "reasons": json.dumps(["score:1"]),
        "trace_parent": None,
        "is_consented": True,
        "depends_on_external_id": None,
        **changed,
    }


def plan_of(rows: Any, planned_at: datetime = NOW) -> Plan:
    return build_plan(
        "salesforce", rows, as_of=planned_at, observed_marker="load-1", planned_at=planned_at
    )


def test_the_same_wishes_give_the_same_plan_id_in_any_order_and_at_any_time() -> None:
    later = datetime(2026, 4, 15, tzinfo=UTC)
    first, second = plan_of([row(1), row(2)]), plan_of([row(2), row(1)], later)
    assert first.plan_id == second.plan_id
    assert first.operations == second.operations
    assert plan_of([row(1), row(3)]).plan_id != first.plan_id


def test_an_arrow_table_and_a_list_of_rows_make_the_same_plan() -> None:
    rows = [row(1), row(2)]
    assert plan_of(pa.Table.from_pylist(rows)) == plan_of(rows)


def test_records_are_planned_before_the_records_that_point_to_them() -> None:
    task = row(
        0, object_name="Aaa_Task", external_id="t0", depends_on_external_id="p9", operation_id="a"
    )
    plan = plan_of([task, row(9)])
    assert [operation.object for operation in plan.operations] == ["Lead", "Aaa_Task"]


def test_counts_tell_creates_from_updates_and_refusals() -> None:
    update = row(2, action="update", target_id="00Q2")
    known = row(3, changes=json.dumps({"LastName": {"old": "Before", "new": "Name 3"}}))
    plan = plan_of([row(1), update, known, row(4, is_consented=False)])
    assert plan.counts() == {"Lead": ObjectCounts(creates=1, updates=2, refused=1)}


def test_consent_that_is_not_a_clear_yes_is_a_no() -> None:
    for value in (None, "true", 1, False):
        assert plan_of([row(1, is_consented=value)]).operations[0].is_consented is False


def test_a_sealed_plan_reads_back_as_it_was(tmp_path: Path) -> None:
    plan = plan_of([row(1), row(2, trace_parent="00-aa-bb-01", depends_on_external_id="p1")])
    path = seal(plan, tmp_path / "plans")
    assert path == tmp_path / "plans" / f"{plan.plan_id}.json"
    assert path.stat().st_mode & 0o077 == 0
    assert load_plan(tmp_path / "plans", plan.plan_id) == plan
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("Name 1", "Name 9"),
        lambda text: text.replace('"is_consented": false', '"is_consented": true'),
        lambda text: text.replace("load-1", "load-2"),
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "",
    ],
    ids=["payload", "consent", "marker", "torn", "other", "empty"],
)
def test_a_changed_plan_is_refused(tmp_path: Path, edit: Any) -> None:
    plan = plan_of([row(1), row(2, is_consented=False)])
    path = seal(plan, tmp_path)
    changed = edit(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(HandoffError) as caught:
        load_plan(tmp_path, plan.plan_id)
    assert caught.value.code == "PLAN_TAMPERED"


def test_a_plan_renamed_to_another_id_is_refused(tmp_path: Path) -> None:
    path = seal(plan_of([row(1)]), tmp_path)
    other = plan_of([row(2)]).plan_id
    path.rename(tmp_path / f"{other}.json")
    with pytest.raises(HandoffError) as caught:
        load_plan(tmp_path, other)
    assert caught.value.code == "PLAN_TAMPERED"


@pytest.mark.parametrize("name", ["salesforce-" + "0" * 20, "../secrets", "", "salesforce-x"])
def test_an_unknown_plan_is_named_with_those_that_exist(tmp_path: Path, name: str) -> None:
    known = seal(plan_of([row(1)]), tmp_path).stem
    with pytest.raises(HandoffError, match=known) as caught:
        load_plan(tmp_path, name)
    assert caught.value.code == "PLAN_UNKNOWN"


def test_a_plan_is_stale_once_the_sync_model_wants_something_else() -> None:
    plan = plan_of([row(1), row(2)])
    assert not is_stale(plan, [row(2), row(1)])
    require_fresh(plan, [row(1), row(2)])
    for current in ([row(1)], [row(1), row(2), row(3)], [row(1), row(2, is_consented=False)]):
        assert is_stale(plan, current)
        with pytest.raises(HandoffError) as caught:
            require_fresh(plan, current)
        assert caught.value.code == "PLAN_STALE"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"action": "delete"}, "delete"),
        ({"external_id": ""}, "external_id"),
        ({"action": "update"}, "target_id"),
        ({"payload": {}}, "payload"),
        ({"payload": {"Id": "00Q"}}, "Id"),
        ({"changes": "{"}, "changes"),
        ({"reasons": "{}"}, "reasons"),
    ],
)
def test_a_row_that_cannot_be_an_operation_is_refused_by_name(
    changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(HandoffError, match=named) as caught:
        plan_of([row(1, **changed)])
    assert caught.value.code == "FIELD_MISMATCH"


def test_one_idempotency_key_for_two_writes_is_refused_and_a_repeated_row_counts_once() -> None:
    assert len(plan_of([row(1), row(1)]).operations) == 1
    with pytest.raises(HandoffError, match="same-key"):
        plan_of([row(1, operation_id="same-key"), row(2, operation_id="same-key")])
