"""Leads dealt to reps as DuckDB calls it, against everybody in turn by one window function: the least that could be called routing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory

START = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000
TERRITORIES, REPS, COUNTRIES = ("dach", "emea", "americas", "apac"), 50, ("DE", "FR", "US", "JP")
YEAR = 365 * 86_400_000_000
LAST = 500


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` leads over a year to fifty reps of four territories, with weights, a day's limit, absences and deadlines in business hours; then
    the last few behind the others, as a batch brings them."""
    del folder
    import duckdb

    with duckdb.connect() as connection:
        _register(connection)
        _make(connection, size)
        with watch_memory() as peak:
            seconds = seconds_of(lambda: _deal(connection, "true"))
        floor = seconds_of(lambda: connection.execute(_FLOOR).fetchall())
        whole = compare(
            f"{size:,} leads dealt whole", size, "leads", [seconds], [floor], peak.mb,
            **{"furthest from the share, turns": f"{_furthest_off(connection):.2f}"},
        )  # fmt: skip
        return [whole, _batch(connection, size)]


def _batch(connection: Any, size: int) -> Measurement:
    _deal(connection, f"number <= {size - LAST}")
    connection.execute("create or replace table kept as select * from dealt")
    ours = [
        seconds_of(lambda: _deal(connection, f"number > {size - LAST}", "kept")) for _ in range(3)
    ]
    floor = [seconds_of(lambda: connection.execute(_FLOOR_OF_LAST).fetchall()) for _ in range(3)]
    return compare(f"{LAST} leads behind the others", LAST, "leads", ours, floor)


_FLOOR = """
    create or replace table in_turn as
    select lead_id, (row_number() over (partition by country order by known_us, lead_id)) % 13 as rep from leads
"""
_FLOOR_OF_LAST = f"""
    create or replace table in_turn as
    select lead_id, (row_number() over (partition by country order by known_us, lead_id)) % 13 as rep
    from leads where number > (select max(number) - {LAST} from leads)
"""


def _register(connection: Any) -> None:
    from models.routing.tables import ARGUMENTS, outcome_type, route_leads, rows_type

    connection.create_function(
        "route_leads", route_leads, [*map(rows_type, ARGUMENTS), "BIGINT", "BIGINT"], outcome_type(),
        type="arrow", null_handling="special",
    )  # fmt: skip


def _make(connection: Any, size: int) -> None:
    from models.policies.load import load_policies
    from models.policies.rows import policy_tables

    policies = policy_tables(load_policies())["routing_versions"]
    connection.register("policies", policies)
    connection.execute("create table rules as select version, document from policies")
    connection.execute(
        f"""
        create table reps as
        select 'rep' || n as rep_id, cast(null as bigint) as valid_from_us, 'Rep ' || n as name, 'rep' || n || '@example.com' as email,
            true as is_active, [0.5, 1.0, 1.0, 2.0][1 + n % 4] as weight,
            '["' || {list(TERRITORIES)}[1 + n % 4] || '"]' as territories, '[]' as product_lines,
            greatest(10, {size} // 12000) as capacity, ['Europe/Berlin', 'America/New_York', 'Asia/Tokyo'][1 + n % 3] as time_zone,
            '09:00-17:00' as working_hours, cast(null as varchar) as working_days
        from range({REPS}) as numbers (n);
        create table absences as
        select 'rep' || n % {REPS} as rep_id, {START} + n * 86400000000 as starts_us, {START} + (n + 7) * 86400000000 as ends_us,
            {START} as known_from_us, cast(null as bigint) as known_to_us
        from range(0, 365, 3) as numbers (n);
        create table leads as
        select n as number, printf('lead%08d', n) as lead_id, printf('person%08d', n) as person_id, 'v1' as routing_version,
            ['A', 'B', 'C', 'D'][1 + n % 4] as grade, {list(COUNTRIES)}[1 + n * 7919 % 4] as country,
            cast({START} + n * ({YEAR} // {size}) as bigint) as known_us
        from range({size}) as numbers (n)
        """
    )


def _deal(connection: Any, which: str, kept: str | None = None) -> None:
    from models.routing.tables import ARGUMENTS, LEADS, rows_type

    def rows(columns: str, table: str) -> str:
        return f"(select coalesce(list({{{columns}}}), []) from {table})"

    told = {name: name for name in ("lead_id", "person_id", "routing_version", "grade", "country")}
    of_lead = ", ".join(
        f"'{name}': "
        + told.get(
            name,
            {"known_us": "known_us", "reached_us": "known_us", "is_erased": "false", "facts_hash": "cast(number as ubigint)"}.get(
                name, f"cast(null as {kind})"
            ),
        )
        for name, kind in LEADS.items()
    )  # fmt: skip
    state = [
        f"(select coalesce(dealt['{part}'], []) from {kept})" if kept else f"cast([] as {rows_type(columns)})"
        for part, columns in (("shares", ARGUMENTS[5]), ("loads", ARGUMENTS[6]))
    ]  # fmt: skip
    through = f"(select dealt['through'] from {kept})" if kept else "null"
    reps = ", ".join(f"'{name}': {name}" for name in ARGUMENTS[1])
    absences = ", ".join(f"'{name}': {name}" for name in ARGUMENTS[2])
    connection.execute(
        f"""
        create or replace table dealt as select route_leads(
            {rows("'version': version, 'document': document", "rules")},
            {rows(reps, "reps")},
            {rows(absences, "absences")},
            {rows(of_lead, f"leads where {which}")},
            [],
            {state[0]}, {state[1]}, [], {through}, {START}
        ) as dealt
        """
    )


def _furthest_off(connection: Any) -> float:
    """Most turns anybody is off their share at the end."""
    rows = connection.execute(
        "select share.entitled, share.had from (select unnest(dealt['shares']) as share from dealt)"
    ).fetchall()
    owners = connection.execute(
        "select decision.rep_id from (select unnest(dealt['decisions']) as decision from dealt)"
    ).fetchall()
    assert len(Counter(owner for (owner,) in owners)) == REPS
    return max(abs(entitled - had) for entitled, had in rows)


KERNEL = Kernel(
    name="routing",
    measures="A year of leads dealt to fifty reps in four territories by weight, with a day's limit, absences and deadlines in"
    " business hours, each decision with its path; and a few more behind them.",
    floor="Everybody in turn, by one window function: no weights, nobody ever away, no path.",
    size_unit="leads",
    default_size=1_000_000,
    run=run,
)
