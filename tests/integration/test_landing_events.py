"""The event log in the warehouse: every table there, every event once, nothing written
elsewhere."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingestion.contracts.columns import arrow_schema
from ingestion.contracts.registry import RECORD_TABLES
from ingestion.errors.catalog import HandoffError
from ingestion.landing import warehouse
from ingestion.landing.events import land_events
from ingestion.log.interface import Rejection
from ingestion.log.owner import open_log
from ingestion.settings import Settings

ROOT = Path(__file__).parents[2]
SYSTEM_TABLES = {
    "raw_hubspot": {"contacts", "companies", "owners", "campaigns", "events"},
    "raw_salesforce": {
        "leads", "contacts", "accounts", "opportunities", "users", "tasks",
        "opportunity_contact_roles",
    },
    "raw_calendar": {"events"},
    "raw_calendly": {"organization_memberships", "invitees"},
    "raw_calcom": {"bookings"},
    "raw_ad_spend": {"days", "files"},
    "raw_enrichment": {"companies"},
    "raw_caldav": {"objects"},
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def append(settings: Settings, *events: dict[str, Any]) -> None:
    log = open_log(settings)
    log.append(events)
    log.close()


def event(number: int, record: str = "contact", **data: Any) -> dict[str, Any]:
    key = "activity_id" if record == "activity" else "record_id"
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "urn:test",
        "type": f"com.handoff.{record}",
        "subject": f"{record}/web/{number}",
        "time": "2026-04-01T10:30:00.125+02:00",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "data": {key: str(number), "system": "web", **data},
    }


def rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    connection = warehouse.connect(settings)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_after_the_first_landing_every_raw_table_exists_with_its_columns(
    settings: Settings,
) -> None:
    assert land_events(settings).rows == {}
    found: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in rows(
        settings, "select table_schema, table_name, column_name from information_schema.columns"
    ):
        found.setdefault((schema, table), set()).add(column)
    for record, table in [*RECORD_TABLES.items(), ("rejections", "rejections")]:
        assert found["raw_events", table] == {*arrow_schema(record).names, "_dlt_load_id"}
    for schema, tables in SYSTEM_TABLES.items():
        for table in tables:
            assert {"record_id", "payload", "row_hash", "_dlt_load_id"} <= found[schema, table]
    for schema in ("raw_events", *SYSTEM_TABLES):
        assert "status" in found[schema, "_dlt_loads"]


def test_columns_have_the_types_of_the_contract(settings: Settings) -> None:
    append(settings, event(1, "opportunity", amount_usd=10.5, closed_at="2026-05-01T00:00:00Z"))
    land_events(settings)
    types = dict(
        rows(
            settings,
            "select column_name, data_type from information_schema.columns"
            " where table_schema = 'raw_events' and table_name = 'opportunities'",
        )
    )
    assert types["seq"] == "BIGINT"
    assert types["amount_usd"] == "DECIMAL(18,2)"
    assert types["closed_at"] == types["occurred_at"] == "TIMESTAMP WITH TIME ZONE"
    assert types["contact_ids"] == types["null_fields"] == "JSON"
    assert types["is_won"] == "BOOLEAN"


def test_an_event_keeps_its_values_nulls_and_times(settings: Settings) -> None:
    append(
        settings, event(1, email="Ada@Example.com", phone=None, custom={"a": [1]}, is_deleted=False)
    )
    land_events(settings)
    [found] = rows(
        settings,
        "select seq, event_id, event_subject, contract_version, occurred_at::text, email,"
        " phone, is_deleted, custom::text, null_fields::text, trace_parent is not null,"
        " received_at is not null,"
        " _dlt_load_id in (select load_id from raw_events._dlt_loads where status = 0)"
        " from raw_events.contacts",
    )
    assert found == (
        1, "e1", "contact/web/1", "1.0.0", "2026-04-01 08:30:00.125+00", "Ada@Example.com",
        None, False, '{"a":[1]}', '["phone"]', True, True, True,
    )  # fmt: skip


def test_landing_again_adds_nothing_and_later_events_continue(settings: Settings) -> None:
    append(settings, event(1), event(2, "activity", activity_type="page_view"))
    first = land_events(settings)
    assert (first.rows, first.first_seq, first.last_seq) == ({"contacts": 1, "activities": 1}, 1, 2)
    assert land_events(settings).rows == {}
    append(settings, event(3))
    third = land_events(settings)
    assert (third.rows, third.first_seq, third.last_seq) == ({"contacts": 1}, 3, 3)


def test_a_deleted_warehouse_is_rebuilt_with_the_same_rows(settings: Settings) -> None:
    append(settings, *(event(number, email=f"p{number}@example.com") for number in range(50)))
    sql = "select * exclude (_dlt_load_id) from raw_events.contacts order by seq"
    land_events(settings)
    before = rows(settings, sql)
    settings.warehouse_path.unlink()
    land_events(settings)
    assert rows(settings, sql) == before


def test_quarantined_payloads_land_as_rejections_once(settings: Settings) -> None:
    log = open_log(settings)
    log.quarantine([Rejection("file", "SCHEMA_INVALID", "/id", "no id", b"\xff{}", "c-1")])
    log.close()
    assert land_events(settings).rows == {"rejections": 1}
    assert land_events(settings).rows == {}
    sql = "select seq, door, code, path, payload from raw_events.rejections"
    assert rows(settings, sql) == [(1, "file", "SCHEMA_INVALID", "/id", "\ufffd{}")]


def test_rows_of_a_load_that_never_completed_are_removed_and_landed_again(
    settings: Settings,
) -> None:
    append(settings, event(1), event(2), event(3))
    land_events(settings)
    connection = warehouse.connect(settings)
    connection.execute("delete from raw_events._dlt_loads")
    connection.close()
    report = land_events(settings)
    assert (report.removed, report.rows) == ({"contacts": 3}, {"contacts": 3})
    assert rows(settings, "select count(*), count(distinct seq) from raw_events.contacts") == [
        (3, 3)
    ]


def test_a_leftover_package_in_the_work_folder_is_not_loaded_again(settings: Settings) -> None:
    append(settings, event(1))
    land_events(settings)
    # What a killed load leaves: dlt would load this package, and refuse every later one.
    package = settings.dlt_dir / "raw_events" / "load" / "normalized" / "1.0"
    package.mkdir(parents=True)
    (package / "package_completed.json").write_text("{}")
    append(settings, event(2))
    assert land_events(settings).rows == {"contacts": 1}
    assert rows(settings, "select count(*) from raw_events.contacts") == [(2,)]


def test_a_new_column_of_a_contract_is_added_to_a_table_that_exists(settings: Settings) -> None:
    narrow = pa.schema([pa.field("seq", pa.int64())])
    wide = pa.schema([pa.field("seq", pa.int64()), pa.field("note", pa.string())])
    warehouse.load(settings, "raw_x", {"t": pa.table({"seq": [1]}, schema=narrow)}, {})
    warehouse.load(settings, "raw_x", {"t": pa.table({"seq": [2], "note": ["n"]}, schema=wide)}, {})
    assert rows(settings, "select seq, note from raw_x.t order by seq") == [(1, None), (2, "n")]


def test_a_table_that_differs_from_its_schema_is_refused_before_dlt_sees_it(
    settings: Settings,
) -> None:
    schema = pa.schema([pa.field("seq", pa.int64())])
    with (
        warehouse.open_raw(settings, "raw_x", {"t": schema}, {}) as raw,
        pytest.raises(ValueError, match="differ"),
    ):
        raw.append({"t": pa.table({"seq": [1], "extra": [2]})})


def test_values_no_column_can_hold_become_null_and_are_named(settings: Settings) -> None:
    deep = event(1, "account", employee_count=10**18)
    log = open_log(settings)
    # Past the contract on purpose: an older contract may have allowed what this one forbids.
    log.append(
        [
            deep,
            event(2, "account", annual_revenue_usd=10**17),
            event(3, "account", employee_count=3.0),
        ]
    )
    log.close()
    report = land_events(settings)
    assert report.rows == {"accounts": 3}
    assert (
        len(report.unrepresentable) == 1
        and "accounts.annual_revenue_usd of seq 2" in report.unrepresentable[0]
    )
    sql = "select employee_count, annual_revenue_usd from raw_events.accounts order by seq"
    assert rows(settings, sql) == [(10**18, None), (None, None), (3, None)]


def test_nothing_is_written_outside_the_home_and_the_warehouse_is_left_unlocked(
    settings: Settings, tmp_path: Path
) -> None:
    append(settings, event(1))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = (
        "import sys; from pathlib import Path; from ingestion.settings import Settings;"
        "from ingestion.landing.events import land_events; import duckdb;"
        "home = Path(sys.argv[1]); land_events(Settings(home=home));"
        "duckdb.connect(str(home / 'warehouse.duckdb')).close()"
    )
    names = {
        "HOME": elsewhere,
        "XDG_DATA_HOME": elsewhere,
        "XDG_CONFIG_HOME": elsewhere,
        "TMPDIR": elsewhere,
    }
    environment = {
        **os.environ,
        **{name: str(path) for name, path in names.items()},
        "PYTHONPATH": str(ROOT),
    }
    var = Path("/var/dlt")
    before = var.exists()
    done = subprocess.run(
        [sys.executable, "-c", script, str(settings.home)],
        cwd=elsewhere, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(elsewhere.rglob("*")) == []
    assert var.exists() == before


def test_a_warehouse_in_use_by_another_process_says_so(settings: Settings) -> None:
    land_events(settings)
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]);"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(settings.warehouse_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(HandoffError) as caught:
            land_events(settings)
        holder.communicate("")
    assert caught.value.code == "WAREHOUSE_LOCKED"
    assert land_events(settings).rows == {}


def test_a_process_that_lands_for_long_keeps_nothing_of_it(settings: Settings) -> None:
    """dlt's log of resolved settings kept every table of every load: a worker grew by all it landed."""
    schema = pa.schema([pa.field("seq", pa.int64())])

    def land() -> tuple[int, int]:
        table = pa.table({"seq": range(50_000)}, schema=schema)
        warehouse.load(settings, "raw_x", {"t": table}, {})
        del table
        gc.collect()
        return pa.total_allocated_bytes(), len(gc.get_objects())

    land()
    bytes_before, objects_before = land()
    for _ in range(3):
        bytes_after, objects_after = land()
    assert bytes_after <= bytes_before
    assert objects_after < objects_before + 1_000


@pytest.mark.parametrize("tidies_up", [True, False], ids=["as it is", "without tidying up"])
def test_a_backlog_leaves_neither_tables_nor_a_long_log_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tidies_up: bool
) -> None:
    """Fifty loads of 200,000 rows took 8 GB; the second case shows that the first would see it."""
    monkeypatch.setattr(warehouse, "_LONG_LOG", 500_000)
    if not tidies_up:
        monkeypatch.setattr(warehouse, "_MANY_ROWS", sys.maxsize)
    schema = pa.schema([pa.field("seq", pa.int64())])
    kept, logged = [], []
    gc.collect()
    gc.disable()
    try:
        with warehouse.open_raw(settings, "raw_x", {"t": schema}, {}) as raw:
            for number in range(8):
                first = number * 10**7
                raw.append({"t": pa.table({"seq": range(first, first + 50_000)}, schema=schema)})
                kept.append(pa.total_allocated_bytes())
                log = warehouse.write_ahead_log(settings)
                logged.append(log.stat().st_size if log.exists() else 0)
    finally:
        gc.enable()
    assert (kept[-1] <= kept[1]) is tidies_up, kept
    assert (max(logged) < 1_000_000) is tidies_up, logged


def test_a_damaged_warehouse_says_how_to_rebuild_it(settings: Settings) -> None:
    settings.root.mkdir(parents=True)
    settings.warehouse_path.write_bytes(b"not a database" * 1_000)
    with pytest.raises(HandoffError) as caught:
        land_events(settings)
    assert caught.value.code == "WAREHOUSE_CORRUPT"
    assert "full-refresh" in caught.value.remedy


def test_json_columns_can_be_queried_as_json(settings: Settings) -> None:
    append(settings, event(1, external_ids=[{"system": "salesforce", "record_id": "00Q"}]))
    land_events(settings)
    [(found,)] = rows(settings, "select external_ids from raw_events.contacts")
    assert json.loads(found) == [{"system": "salesforce", "record_id": "00Q"}]
