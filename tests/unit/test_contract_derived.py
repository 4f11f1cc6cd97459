"""What is derived from the contracts: fresh, and taken by dlt, dbt and Great Expectations."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingestion.contracts import generate
from ingestion.contracts.columns import arrow_schema, dlt_columns, raw_tables, table_columns

INSTANT = datetime(2026, 4, 1, 8, 30, tzinfo=UTC)
OPPORTUNITY: dict[str, Any] = {
    "seq": 1,
    "event_id": "1",
    "event_source": "urn:test",
    "event_subject": "opportunity/salesforce/006",
    "contract_version": "1.0.0",
    "occurred_at": INSTANT,
    "received_at": INSTANT,
    "null_fields": '["owner_id"]',
    "record_id": "006",
    "system": "salesforce",
    "contact_ids": '["003"]',
    "amount_usd": Decimal("48000.10"),
    "closed_at": INSTANT,
    "is_won": True,
}
ACTIVITY: dict[str, Any] = {
    **{name: OPPORTUNITY[name] for name in list(OPPORTUNITY)[:8]},
    "activity_id": "evt-1",
    "system": "hubspot",
    "activity_type": "form_submit",
}


@pytest.fixture(scope="module")
def derived_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("derived")
    assert generate.main([], root) == 0
    return root


def test_the_derived_files_of_the_project_are_fresh() -> None:
    assert generate.stale_files() == [], f"run `{generate.COMMAND}` and commit what it writes"


def test_check_names_what_is_stale_and_writes_nothing(
    derived_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    shutil.copytree(derived_root, root)
    assert generate.main(["--check"], root) == 0
    edited = root / generate.SOURCES_FILE
    edited.write_text(edited.read_text() + "# by hand\n")
    (root / generate.SUITES_FOLDER / "raw_events__contacts.generated.json").unlink()
    (root / generate.SUITES_FOLDER / "raw_events__leads.generated.json").write_text("{}")
    assert generate.main(["--check"], root) == 1
    told = capsys.readouterr().err
    for name in (generate.SOURCES_FILE, "raw_events__contacts", "raw_events__leads"):
        assert name in told
    assert "raw_events__accounts" not in told
    assert edited.read_text().endswith("# by hand\n")
    assert generate.main([], root) == 0
    assert generate.stale_files(root) == []


def test_every_raw_table_starts_with_the_position_in_the_log() -> None:
    for record in raw_tables():
        names = [column.name for column in table_columns(record)]
        assert names[0] == "seq"
        assert len(set(names)) == len(names)
        assert arrow_schema(record).names == names == list(dlt_columns(record))


def test_reserved_words_of_sql_are_no_column_names() -> None:
    names = {column.field: column.name for column in table_columns("stage_change")}
    assert (names["from"], names["to"]) == ("from_stage", "to_stage")


def test_dlt_lands_a_row_with_the_types_of_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    import dlt
    import duckdb

    database = tmp_path / "landed.duckdb"
    pipeline = dlt.pipeline(
        "contract_hints",
        destination=dlt.destinations.duckdb(str(database)),
        dataset_name="raw_events",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    rows = pa.Table.from_pylist([OPPORTUNITY], schema=arrow_schema("opportunity"))
    pipeline.run(rows, table_name="opportunities", columns=dlt_columns("opportunity"))
    with duckdb.connect(str(database), read_only=True) as connection:
        described = connection.sql("describe raw_events.opportunities").fetchall()
        landed = connection.sql(
            "select amount_usd, contact_ids->>0, epoch_us(closed_at) from raw_events.opportunities"
        ).fetchall()
    types = {name: kind for name, kind, *_ in described}
    assert types["amount_usd"] == "DECIMAL(18,2)"
    assert types["closed_at"] == "TIMESTAMP WITH TIME ZONE"
    assert (types["contact_ids"], types["seq"], types["is_won"]) == ("JSON", "BIGINT", "BOOLEAN")
    assert landed == [(Decimal("48000.10"), "003", int(INSTANT.timestamp() * 1_000_000))]


def test_dbt_reads_the_sources_and_their_tests_catch_a_bad_row(
    derived_root: Path, tmp_path: Path
) -> None:
    import duckdb
    from dbt.cli.main import dbtRunner

    project = tmp_path / "project"
    models = project / "models"
    models.mkdir(parents=True)
    shutil.copy(derived_root / generate.SOURCES_FILE, models)
    (project / "dbt_project.yml").write_text(
        "name: contracts\nprofile: contracts\nmodel-paths: [models]\n"
        "flags: {send_anonymous_usage_stats: false}\n"
    )
    database = tmp_path / "raw.duckdb"
    (project / "profiles.yml").write_text(
        "contracts:\n  target: dev\n  outputs:\n"
        f"    dev: {{type: duckdb, path: '{database}', keep_open: false}}\n"
    )
    bad = {**ACTIVITY, "event_id": "2", "activity_type": "form_sumbit"}
    activities = pa.Table.from_pylist([ACTIVITY, bad], schema=arrow_schema("activity"))
    with duckdb.connect(str(database)) as connection:
        connection.register("activities_arrow", activities)
        connection.execute("create schema raw_events")
        connection.execute(
            "create table raw_events.activities as "
            "select *, '1' as _dlt_load_id from activities_arrow"
        )
    folders = ["--project-dir", str(project), "--profiles-dir", str(project)]
    folders += ["--log-path", str(tmp_path / "logs"), "--target-path", str(tmp_path / "target")]
    # Deprecated spellings of tests and meta are errors here: dbt would drop them one day.
    outcome = dbtRunner().invoke(
        ["--quiet", "--warn-error", "test", *folders, "--select", "source:raw_events.activities"]
    )
    assert outcome.exception is None, outcome.exception
    by_status: dict[str, set[tuple[str, str]]] = {"pass": set(), "fail": set()}
    for result in outcome.result.results:
        test = (result.node.test_metadata.name, result.node.column_name)
        by_status[str(result.status)].add(test)
    assert by_status["fail"] == {("unique", "seq"), ("accepted_values", "activity_type")}
    assert ("not_null", "activity_id") in by_status["pass"]


def test_great_expectations_runs_the_suites_on_a_frame(
    derived_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas("contracts")

    def failing(record: str, rows: list[dict[str, Any]]) -> set[str]:
        file = f"raw_events__{raw_tables()[record]}.generated.json"
        content = json.loads((derived_root / generate.SUITES_FOLDER / file).read_text())
        suite = gx.ExpectationSuite(name=content["name"], expectations=content["expectations"])
        assert len(suite.expectations) == len(content["expectations"])
        frame = pa.Table.from_pylist(rows, schema=arrow_schema(record)).to_pandas()
        asset = source.add_dataframe_asset(f"{record}_{len(source.assets)}")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        outcome = batch.validate(suite, result_format="BOOLEAN_ONLY")
        assert not any(result.exception_info.get("raised_exception") for result in outcome.results)
        return {
            f"{result.expectation_config.type}:{result.expectation_config.kwargs.get('column')}"
            for result in outcome.results
            if not result.success
        }

    for record in raw_tables():
        assert failing(record, []) == set()
    assert failing("activity", [ACTIVITY]) == set()
    assert failing("opportunity", [OPPORTUNITY]) == set()
    bad = {**ACTIVITY, "activity_type": "form_sumbit", "occurred_at": None}
    assert failing("activity", [ACTIVITY, bad]) == {
        "expect_column_values_to_be_in_set:activity_type",
        "expect_column_values_to_be_unique:seq",
        "expect_column_values_to_not_be_null:occurred_at",
    }
