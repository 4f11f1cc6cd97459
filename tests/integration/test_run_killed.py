"""A run that dies at any moment loses nothing, makes nothing twice, and the next one ends where an undisturbed one ends."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

Table = Counter[tuple[Any, ...]]

# When something reached us or left us is the clock's doing; everything else must come out the same.
CLOCKED = (
    "received_at",
    "first_received_at",
    "loaded_at",
    "assigned_at",
    "sla_due_at",
    "planned_at",
    "sent_at",
    "answered_at",
    "confirmed_at",
    "plan_id",
    "attempt",
)
# An attempt that was cut short is one attempt more.
COUNTS_ATTEMPTS = ("fct_event_acceptance",)
ATTEMPT_KPIS = ("event_delivery_success", "lead_ingestion_latency")


def marts(company: Any) -> dict[str, Table]:
    """Every mart as a bag of rows, without what only the clock decides."""
    columns = company.rows(
        "select table_name, column_name from duckdb_columns() where schema_name = 'marts' "
        "and database_name = current_database() order by table_name, column_index"
    )
    tables: dict[str, list[str]] = {}
    for table, column in columns:
        if table not in COUNTS_ATTEMPTS and column not in CLOCKED:
            tables.setdefault(table, []).append(f'"{column}"')
    taken: dict[str, Table] = {}
    for table, names in tables.items():
        where = f"where kpi not in {ATTEMPT_KPIS}" if table == "fct_kpis_daily" else ""
        rows = company.rows(f"select {', '.join(names)} from marts.{table} {where}")
        taken[table] = Counter(tuple(_rounded(value) for value in row) for row in rows)
    return taken


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}")
    return repr(value) if isinstance(value, list | dict) else value


def differences(one: dict[str, Table], other: dict[str, Table]) -> dict[str, Any]:
    """Per mart, some rows only one of the two has."""
    return {
        table: ([*(one[table] - other[table])][:3], [*(other[table] - one[table])][:3])
        for table in one.keys() | other.keys()
        if one.get(table) != other.get(table)
    }


@dataclass(frozen=True)
class Moment:
    """A moment to die at: `has_come` looks at what the run has left behind or said so far."""

    name: str
    has_come: Callable[[Any, str], bool]
    before: Callable[[Any], None] = lambda company: None


def _break_lead_answers(company: Any) -> None:
    """The CRM takes the leads, but its answer never arrives."""
    httpx.post(
        f"{company.url}/sandbox/faults",
        json={
            "path_prefix": "/salesforce/services/data/v62.0/composite/sobjects",
            "method": "PATCH",
            "status": 503,
            "retry_after": 20,
            "after_commit": True,
        },
    ).raise_for_status()


def _has(pattern: str) -> Callable[[Any, str], bool]:
    return lambda company, _: any(company.home.glob(pattern))


MOMENTS = (
    Moment("polled, not landed", _has("log/archive/salesforce/leads/*.parquet")),
    Moment("landing", _has("dlt/raw_salesforce/*")),
    Moment("between models", _has("artifacts/dbt/run/handoff/models/marts/fct_scores.sql")),
    Moment("publishing", _has("serving/.*.part")),
    Moment(
        "after the CRM took the leads, before it answered",
        lambda company, _: any(row["is_fault"] for row in company.requests()),
        _break_lead_answers,
    ),
    Moment("recording receipts", lambda _, said: said.count("… transforming") > 1),
)


@dataclass(frozen=True)
class Survived:
    """A company whose runs were killed at every moment, and then left alone."""

    company: Any
    deaths: tuple[str, ...]


@pytest.fixture(scope="module")
def survived(start_company: Any, ran: Any) -> Survived:
    company = start_company("killed")
    as_of = ran.arguments[-1]
    deaths: list[str] = []
    for moment in MOMENTS:
        moment.before(company)
        command = company.start("run", "--as-of", as_of)
        deadline = time.monotonic() + 150
        while command.poll() is None and not moment.has_come(company, command.said()):
            assert time.monotonic() < deadline, f"{moment.name} never came: {command.said()}"
            time.sleep(0.002)
        command.send(signal.SIGKILL)
        if command.wait().code == -signal.SIGKILL:
            deaths.append(moment.name)
    last = company.handoff("run", "--as-of", as_of)
    assert last.code == 0, last.err
    return Survived(company, tuple(deaths))


def test_every_kill_hit_a_run_that_was_not_finished(survived: Survived) -> None:
    assert survived.deaths == tuple(moment.name for moment in MOMENTS)


def test_runs_killed_at_every_moment_end_in_the_same_marts(survived: Survived, ran: Any) -> None:
    assert differences(marts(survived.company), marts(ran.company)) == {}


def test_a_mart_that_lacks_a_row_would_be_noticed(ran: Any, tmp_path: Path) -> None:
    import duckdb

    home = tmp_path / "home"
    shutil.copytree(ran.company.home / "serving", home / "serving")
    altered = ran.company.alone(home)
    with duckdb.connect(str(altered.settings.serving_path)) as connection:
        connection.execute(
            "delete from marts.fct_mqls where mql_id = (select min(mql_id) from marts.fct_mqls)"
        )
    assert set(differences(marts(altered), marts(ran.company))) == {"fct_mqls"}


def test_killed_runs_made_no_lead_and_no_task_twice(survived: Survived, ran: Any) -> None:
    for query in (
        "SELECT Handoff_Person_Id__c FROM Lead WHERE Handoff_Person_Id__c != null",
        "SELECT Handoff_Task_Key__c FROM Task WHERE Handoff_Task_Key__c != null",
    ):
        key = query.split()[1]
        there = Counter(row[key] for row in survived.company.soql(query))
        assert set(there.values()) == {1}
        assert there == Counter(row[key] for row in ran.company.soql(query))


def test_every_row_received_by_killed_runs_is_accounted_for(survived: Survived) -> None:
    doctor = survived.company.handoff("doctor", "--json")
    assert doctor.code == 0, doctor.out
    counts = doctor.json["reconciliation"]
    assert counts
    assert [count for count in counts if count["missing"]] == []


def test_a_killed_run_leaves_no_part_of_a_serving_file_in_the_way(survived: Survived) -> None:
    names = {path.name for path in (survived.company.home / "serving").iterdir()}
    assert names == {"handoff.duckdb"}
