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

# Seven runs and their deaths take minutes.
pytestmark = pytest.mark.prove

Marts = dict[str, Counter[tuple[Any, ...]]]

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
    "valid_from",
    "known_at",
    "received_hour_at",
    "lag_p50_seconds",
    "lag_p95_seconds",
)


def differences(one: Marts, other: Marts) -> dict[str, Any]:
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
    signal: signal.Signals = signal.SIGKILL


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


MODELS = "artifacts/dbt/run/handoff/models"


def _has(pattern: str) -> Callable[[Any, str], bool]:
    return lambda company, _: any(company.home.glob(pattern))


MOMENTS = (
    Moment("polled, not landed", _has("log/archive/salesforce/leads/*.parquet")),
    Moment("early among the models", _has(f"{MODELS}/staging/*/stg_*.sql")),
    Moment("late among the models", _has(f"{MODELS}/marts/fct_scores.sql"), signal=signal.SIGINT),
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
    deaths: dict[str, Any]


@pytest.fixture(scope="module")
def survived(start_company: Any, ran: Any) -> Survived:
    company = start_company("killed")
    as_of = ran.arguments[-1]
    deaths = {}
    for moment in MOMENTS:
        moment.before(company)
        command = company.start("run", "--as-of", as_of)
        deadline = time.monotonic() + 150
        while command.poll() is None and not moment.has_come(company, command.said()):
            assert time.monotonic() < deadline, f"{moment.name} never came: {command.said()}"
            time.sleep(0.002)
        command.send(moment.signal)
        deaths[moment.name] = command.wait()
    last = company.handoff("run", "--as-of", as_of)
    assert last.code == 0, last.err
    return Survived(company, deaths)


def test_every_kill_hit_a_run_that_was_not_finished(survived: Survived) -> None:
    assert {name: outcome.code for name, outcome in survived.deaths.items()} == {
        moment.name: -signal.SIGKILL if moment.signal == signal.SIGKILL else 130
        for moment in MOMENTS
    }


def test_ctrl_c_is_answered_in_one_line(survived: Survived) -> None:
    said = survived.deaths["late among the models"].err
    assert said.splitlines()[-1] == "stopped; what was finished is kept, run it again to go on"
    assert "Traceback" not in said


def test_runs_killed_at_every_moment_end_in_the_same_marts(survived: Survived, ran: Any) -> None:
    assert (
        differences(survived.company.marts(without=CLOCKED), ran.company.marts(without=CLOCKED))
        == {}
    )


def test_a_mart_that_lacks_a_row_would_be_noticed(ran: Any, tmp_path: Path) -> None:
    import duckdb

    home = tmp_path / "home"
    shutil.copytree(ran.company.home / "serving", home / "serving")
    altered = ran.company.alone(home)
    with duckdb.connect(str(altered.settings.serving_path)) as connection:
        connection.execute(
            "delete from marts.fct_mqls where mql_id = (select min(mql_id) from marts.fct_mqls)"
        )
    assert set(differences(altered.marts(without=CLOCKED), ran.company.marts(without=CLOCKED))) == {
        "fct_mqls"
    }


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
