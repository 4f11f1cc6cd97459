"""Python and SQL ask one time-zone database, the pinned one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import jinja2
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion import time_zones

DBT_PROJECT = Path(__file__).parents[2] / "dbt_project"

# The vectors are of release 2025b. By the pinned one Cuba keeps summer time through the winter of
# 2026, and Morocco and Western Sahara are on UTC for good from September 2026: what was a change of
# clocks is none any more.
SINCE_CHANGED = {
    ("America/Havana", "2026-11-01T05:00:00Z"),
    ("America/Havana", "2027-03-14T05:00:00Z"),
    ("Africa/Casablanca", "2027-02-07T02:00:00Z"),
    ("Africa/Casablanca", "2028-03-05T02:00:00Z"),
    ("Africa/El_Aaiun", "2028-03-05T02:00:00Z"),
}


class Sql:
    """The model of the database and the macros over it, in a DuckDB of their own."""

    def __init__(self) -> None:
        sys.path.insert(0, str(DBT_PROJECT))
        try:
            from plugins.time_zones import Plugin
        finally:
            sys.path.remove(str(DBT_PROJECT))
        self.connection = duckdb.connect()
        self.connection.execute("set TimeZone = 'UTC'")
        Plugin.configure_connection(None, self.connection)
        model = DBT_PROJECT.joinpath("models/reference/time_zone_offsets.sql").read_text()
        model = re.sub(r"\{\{.*?\}\}", "", model)
        self.connection.execute(f"create table time_zone_offsets as {model}")
        macros = DBT_PROJECT.joinpath("macros/time.sql").read_text()
        self.macros: Any = (
            jinja2.Environment(extensions=["jinja2.ext.do"])
            .from_string(macros, globals={"ref": str})
            .module
        )

    def local_times(self, asked: list[tuple[datetime, str]]) -> list[datetime | None]:
        rows = pa.table(
            {
                "at": pa.array([at for at, _ in asked], pa.timestamp("us", "UTC")),
                "zone": [zone for _, zone in asked],
            }
        )
        return self._answers(self.macros.local_time("rows.at", "rows.zone"), rows)

    def instants(self, asked: list[tuple[datetime, str]]) -> list[datetime | None]:
        rows = pa.table(
            {
                "wall": pa.array([wall for wall, _ in asked], pa.timestamp("us")),
                "zone": [zone for _, zone in asked],
            }
        )
        return self._answers(self.macros.instant_of_local_time("rows.wall", "rows.zone"), rows)

    def _answers(self, expression: str, rows: pa.Table) -> list[datetime | None]:
        rows = rows.append_column("number", pa.array(range(rows.num_rows)))
        found = self.connection.sql(f"select {expression} as answer from rows order by number")
        answers: list[datetime | None] = found.to_arrow_table()["answer"].to_pylist()
        return answers


@pytest.fixture(scope="module")
def sql() -> Iterator[Sql]:
    sql = Sql()
    yield sql
    sql.connection.close()


def test_the_vectors_hold_in_python_and_in_sql(sql: Sql, shared_data: Path) -> None:
    vectors = json.loads((shared_data / "calendar" / "tz_transitions.json").read_bytes())
    assert len(vectors) == 148
    kept = [one for one in vectors if (one["zone"], one["utc"]) not in SINCE_CHANGED]
    assert len(kept) == 148 - len(SINCE_CHANGED)
    instants, walls = [], []
    for one in vectors:
        zone = time_zones.zone(one["zone"])
        at = datetime.fromisoformat(one["utc"])
        before, after = at - timedelta(seconds=1), at
        offsets = [
            int(when.astimezone(zone).utcoffset().total_seconds()) for when in (before, after)
        ]  # type: ignore[union-attr]
        assert (offsets == [one["offset_before"], one["offset_after"]]) == (one in kept), one
        instants += [(before, one["zone"]), (after, one["zone"])]
        for wall in ("local_from", "sample_local", "local_to"):
            walls.append((datetime.fromisoformat(one[wall]), one["zone"]))
    told = sql.local_times(instants)
    for number, one in enumerate(vectors):
        shown = [
            (wall - at.replace(tzinfo=None)).total_seconds()
            for wall, (at, _) in zip(
                told[2 * number :][:2], instants[2 * number :][:2], strict=True
            )
            if wall is not None
        ]
        assert (shown == [one["offset_before"], one["offset_after"]]) == (one in kept), one
    expected = [wall.replace(tzinfo=time_zones.zone(name)).astimezone(UTC) for wall, name in walls]
    assert sql.instants(walls) == expected


MOMENTS = st.datetimes(datetime(1970, 1, 3), datetime(2069, 12, 29)).map(
    lambda moment: moment.replace(fold=0)
)


@settings(max_examples=10, deadline=None)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=3))
def test_any_instant_and_clock_time_is_the_same_in_every_zone(
    sql: Sql, moments: list[datetime]
) -> None:
    asked = [(moment, name) for moment in moments for name in sorted(time_zones.names())]
    instants = [(moment.replace(tzinfo=UTC), name) for moment, name in asked]
    assert sql.local_times(instants) == [
        at.astimezone(ZoneInfo(name)).replace(tzinfo=None) for at, name in instants
    ]
    assert sql.instants(asked) == [
        wall.replace(tzinfo=ZoneInfo(name)).astimezone(UTC) for wall, name in asked
    ]


def test_around_every_change_of_every_zone_both_agree(sql: Sql) -> None:
    rows = sql.connection.execute(
        "select time_zone, valid_from_at, local_from from time_zone_offsets "
        "where valid_from_at > '2000-01-01' using sample 500 rows (reservoir, 7)"
    ).fetchall()
    near = [timedelta(seconds=by) for by in (-7_200, -3_600, -1, 0, 1_800, 3_600)]
    instants = [(at.astimezone(UTC) + by, name) for name, at, _ in rows for by in near]
    walls = [(wall + by, name) for name, _, wall in rows for by in near]
    assert sql.local_times(instants) == [
        at.astimezone(ZoneInfo(name)).replace(tzinfo=None) for at, name in instants
    ]
    assert sql.instants(walls) == [
        wall.replace(tzinfo=ZoneInfo(name)).astimezone(UTC) for wall, name in walls
    ]


def test_unknown_zones_and_far_times_have_no_answer(sql: Sql) -> None:
    at = datetime(2026, 4, 1, tzinfo=UTC)
    far = datetime(2070, 1, 1, tzinfo=UTC)
    assert sql.local_times([(at, "Mars/Phobos"), (at, ""), (far, "UTC"), (at, "UTC")]) == [
        None, None, None, at.replace(tzinfo=None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Mars/Phobos", "", "localtime", "../UTC", "europe/berlin", "PST"])
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        time_zones.zone(name)


@pytest.mark.parametrize(
    ("old", "new"),
    [("US/Pacific", "America/Los_Angeles"), ("Asia/Calcutta", "Asia/Kolkata"), ("GMT0", "UTC")],
)
def test_an_old_name_is_the_zone_it_was_renamed_to(sql: Sql, old: str, new: str) -> None:
    moments = [datetime(2026, month, 9, 12, tzinfo=UTC) for month in range(1, 13)]
    assert sql.local_times([(at, old) for at in moments]) == [
        at.astimezone(time_zones.zone(new)).replace(tzinfo=None) for at in moments
    ]


def test_the_operating_system_s_database_is_not_asked(tmp_path: Path) -> None:
    # Havana with the rules of Tokyo: what a machine may have is not what is pinned.
    zone = tmp_path / "America" / "Havana"
    zone.parent.mkdir()
    tokyo = "import importlib.resources as r; print(r.files('tzdata') / 'zoneinfo/Asia/Tokyo')"
    found = subprocess.run([sys.executable, "-c", tokyo], capture_output=True, check=True)
    zone.write_bytes(Path(found.stdout.decode().strip()).read_bytes())
    code = (
        "from datetime import datetime; from zoneinfo import ZoneInfo\n"
        "first = ZoneInfo('America/Havana').utcoffset(datetime(2026, 1, 1))\n"
        "from ingestion import time_zones\n"
        "print(first, ZoneInfo('America/Havana').utcoffset(datetime(2026, 1, 1)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
        cwd=DBT_PROJECT.parent,
    )
    assert told.stdout.decode().split() == ["9:00:00", "-1", "day,", "19:00:00"]
