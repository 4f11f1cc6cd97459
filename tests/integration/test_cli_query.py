"""`handoff query`: answers as table, CSV and JSON that other programs read, and cannot be talked into anything else."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/etc/*')",
        "select * from '/etc/passwd'",
        "copy (select 1) to '{folder}/out.csv'",
        "copy marts.fct_mqls to '{folder}/out.parquet' (format parquet)",
        "export database '{folder}/all'",
        "attach '{folder}/other.duckdb'",
        "attach ':memory:' as other; create table other.t as select 1; copy other.t to '{folder}/t.csv'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "reset enable_external_access",
        "set lock_configuration = false",
        "create table marts.mine as select 1",
        "delete from marts.fct_mqls",
        "drop schema marts cascade",
        "create secret s (type s3, key_id 'k', secret 's')",
    ],
)
def test_a_query_reaches_no_file_no_network_and_changes_nothing(
    company: Any, tmp_path: Path, sql: str
) -> None:
    before = company.settings.serving_path.read_bytes()
    said = company.handoff("query", sql.format(folder=tmp_path))
    assert said.code == 2
    assert "QUERY_INVALID" in said.err
    assert list(tmp_path.iterdir()) == []
    assert company.settings.serving_path.read_bytes() == before


def test_csv_is_read_back_as_it_was(company: Any) -> None:
    said = company.handoff(
        "query", """select 'a,"b"' as quoted, 'x' || chr(10) || 'y' as lines, null as nothing, 1.5 as number""",
        "--format", "csv",
    )  # fmt: skip
    assert list(csv.reader(io.StringIO(said.out, newline=""))) == [
        ["quoted", "lines", "nothing", "number"],
        ['a,"b"', "x\ny", "", "1.5"],
    ]


def test_json_is_json_whatever_the_values_are(company: Any) -> None:
    said = company.handoff(
        "query",
        "select 'nan'::double as n, [1, 'inf'::double] as l, {'a': date '2026-01-01'} as s, "
        "timestamptz '2026-11-01 00:00:00+00' as t, 12.50::decimal(18, 2) as d, 1 as twice, 2 as twice, null as nothing",
        "--json",
    )
    assert said.json == [
        {
            "n": None,
            "l": [1.0, None],
            "s": {"a": "2026-01-01"},
            "t": "2026-11-01 00:00:00+00:00",
            "d": "12.50",
            "twice": 1,
            "twice_1": 2,
            "nothing": None,
        }
    ]


def test_a_reader_that_has_seen_enough_is_no_error(company: Any) -> None:
    with subprocess.Popen(
        [
            Path(sys.executable).with_name("handoff"),
            "query",
            "from range(300000)",
            "--format",
            "csv",
        ],
        env={**os.environ, "HANDOFF_HOME": str(company.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == b"range\n"
        command.stdout.close()
        assert command.stderr is not None
        assert command.stderr.read() == b""
    assert command.returncode == 0


def test_what_looks_like_markup_is_printed_as_it_is(company: Any) -> None:
    said = company.handoff("query", "select '[/b] [red]no :smile:' as value")
    assert said.code == 0
    assert "[/b] [red]no :smile:" in said.out


def test_every_published_table_can_be_asked(company: Any) -> None:
    tables = company.handoff(
        "query",
        "select schema_name || '.' || table_name as name from duckdb_tables() where database_name = current_database()",
        "--json",
    ).json
    names = {row["name"] for row in tables}
    assert {
        "marts.fct_mqls",
        "marts.dim_people",
        "ops.quarantine",
        "sync.sync_salesforce__leads",
    } <= names
    assert not {name for name in names if name.startswith("raw_")}
    counted = company.handoff(
        "query",
        " union all ".join(
            f"select '{name}' as name, count(*) as rows from {name}" for name in names
        ),
        "--json",
    )
    assert {row["name"] for row in counted.json} == names


def test_consent_can_be_asked_for_any_instant(company: Any) -> None:
    [first] = company.handoff(
        "query",
        "select person_id, occurred_at from marts.fct_consents order by occurred_at limit 1",
        "--json",
    ).json
    answers = company.handoff(
        "query",
        f"select (select count(*) from marts.consent_as_of(timestamptz '{first['occurred_at']}')) as at_first, "
        f"(select count(*) from marts.consent_as_of(timestamptz '{first['occurred_at']}' - interval 1 second)) as before",
        "--json",
    ).json
    assert answers[0]["before"] == 0
    assert answers[0]["at_first"] >= 1


def test_the_file_opens_in_every_duckdb_client_in_use(company: Any) -> None:
    # Byte 12 of the header is the storage version; 67 is what DuckDB 1.4.0 and everything later reads.
    assert company.settings.serving_path.read_bytes()[12] == 67
