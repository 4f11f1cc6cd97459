"""A whole world landed and rebuilt, stage by stage beside the floor of each, and smaller ones as a curve."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks import worlds
from benchmarks.measure import Kernel, Measurement, seconds_of
from benchmarks.plain_scores import one_pass
from benchmarks.rebuilding import DBT, Rebuilt, rebuild

# A smaller world tells less about growth than about starting dbt.
SMALLEST = 100_000


def run(size: int, folder: Path) -> list[Measurement]:
    """Worlds of `size`, a tenth and a hundredth of it; the smaller ones' stages are not told."""
    smaller = [size // part for part in (100, 10) if size // part >= SMALLEST]
    found: list[Measurement] = []
    for events in (*smaller, size):
        place = folder / str(events)
        place.mkdir()
        rebuilt = rebuild(worlds.world_of(events), place)
        measured = _measure(rebuilt, events, place)
        found += measured if events == size else measured[-1:]
        # A hundred million events leave no room for what is measured already.
        shutil.rmtree(rebuilt.settings.root)
    return found


def _measure(rebuilt: Rebuilt, events: int, folder: Path) -> list[Measurement]:
    """A row for each stage; last the row of all of them."""
    floors = _Floors(rebuilt, folder)
    world = f"{events:,} events"
    landing_floor = floors.landing()
    rows = [
        _row(
            f"{world}: landing by dlt",
            events,
            rebuilt.landing_seconds,
            landing_floor,
            rebuilt.landing_peak_mb,
        )
    ]
    ours, floor = rebuilt.landing_seconds, landing_floor
    cpu = time.process_time()
    by_size = sorted(rebuilt.stages, key=lambda stage: -rebuilt.seconds_of(stage))
    for stage in by_size:
        parts = floors.of(stage)
        seconds, least = rebuilt.seconds_of(stage), sum(parts.values())
        ours, floor = ours + seconds, floor + least
        slowest = sorted(rebuilt.stages[stage], key=lambda node: -node.seconds)[:2]
        told = {"floor_is": " + ".join(f"{part} {taken:.2f} s" for part, taken in parts.items())}
        if stage != DBT:
            told["slowest"] = "; ".join(f"{node.name} {node.seconds:.2f} s" for node in slowest)
        rows.append(_row(f"{world}: {stage}", events, seconds, least, None, **told))
    cpu = time.process_time() - cpu
    taken = rebuilt.transformed.seconds
    rebuild_floor = floor - landing_floor
    sizes = {
        # Another load on the machine stretches the seconds between, these hardly.
        "of_the_processor": f"{rebuilt.cpu_seconds:.1f} of {cpu:.1f} s",
        "seconds_per_million": f"{taken / events * 1e6:.1f}",
        "file": f"{rebuilt.file_mb:,.0f} MB",
        "spilled": f"{rebuilt.spill_mb:,.0f} MB",
        "memory_limit": rebuilt.settings.duckdb_memory_limit,
    }
    rows.append(_row(f"{world}: landing and rebuild", events, ours, floor, None))
    rows.append(_row(f"{world}: rebuild", events, taken, rebuild_floor, rebuilt.peak_mb, **sizes))
    return rows


def _row(
    case: str, events: int, ours: float, floor: float, peak_mb: float | None, **facts: str
) -> Measurement:
    told = {"seconds": f"{ours:.2f} of {floor:.2f}", **facts}
    return Measurement(case, events, "events", ours, floor, ours / floor, peak_mb, told)


class _Floors:
    """The least each stage would take on the rebuilt warehouse, by parts; nothing is changed in it.

    Of every stage a part is writing its finished tables once: whoever makes them has to.
    """

    def __init__(self, rebuilt: Rebuilt, folder: Path) -> None:
        self._rebuilt = rebuilt
        self._folder = folder

    def landing(self) -> float:
        """DuckDB reading the same Parquet into tables."""
        import duckdb

        kept, settings = self._rebuilt.kept, self._rebuilt.settings
        path = self._folder / "landing-floor.duckdb"
        with duckdb.connect(
            str(path),
            config={
                "memory_limit": settings.duckdb_memory_limit,
                "threads": settings.duckdb_threads,
            },
        ) as plain:
            plain.execute("set enable_progress_bar = false")

            def load() -> None:
                for table in sorted(kept.iterdir()):
                    plain.execute(
                        f"create table {table.name} as from read_parquet('{table}/*.parquet')"
                    )
                plain.execute("checkpoint")

            seconds = seconds_of(load)
        path.unlink()
        return seconds

    def of(self, stage: str) -> dict[str, float]:
        """Seconds of each part of a stage's floor."""
        from ingestion.landing.warehouse import connect

        nodes = self._rebuilt.stages[stage]
        path = self._folder / "floor.duckdb"
        with connect(self._rebuilt.settings) as connection:
            connection.execute("set enable_progress_bar = false")
            connection.execute(f"attach '{path}' as floor")
            try:
                if stage == DBT:
                    return {"views alone": _views(connection)}
                parts = {}
                if stage == "identity":
                    parts["scipy"] = _components(connection)
                if stage == "scores":
                    parts["one pass"] = _scores(connection)
                tables = [(node.schema, node.name) for node in nodes]
                if stage == "MQLs":
                    parts["one pass"] = _mqls(connection)
                if stage == "attribution":
                    parts["one pass"] = _touchpoints(connection)
                    # Those it has just written.
                    tables.remove(("marts", "fct_touchpoints"))
                parts["writing"] = _copy(connection, tables)
                return parts
            finally:
                connection.execute("detach floor")
                path.unlink(missing_ok=True)


def _copy(connection: Any, tables: list[tuple[str, str]]) -> float:
    def copy() -> None:
        for number, (schema, name) in enumerate(tables):
            connection.execute(f'create table floor.copy_{number} as from "{schema}"."{name}"')
        connection.execute("checkpoint floor")

    return seconds_of(copy)


def _views(connection: Any) -> float:
    """As many views as the project has, without dbt."""
    names = connection.execute(
        "select schema_name, view_name from duckdb_views() where not internal"
        " and schema_name in ('staging', 'intermediate')"
    ).fetchall()

    def create() -> None:
        for number, (schema, name) in enumerate(names):
            connection.execute(f'create temp view view_{number} as from "{schema}"."{name}"')

    return seconds_of(create)


def _components(connection: Any) -> float:
    """scipy on the identifiers as they link, fetched to memory and numbered; as many people come out."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    persons = 0

    def solve() -> None:
        nonlocal persons
        records = connection.execute(
            "select record_key from intermediate.int_identity__records"
        ).fetchnumpy()["record_key"]
        links = connection.execute(
            "select record_key, min(record_key) over (partition by identifier_key) as first"
            " from intermediate.int_identity__identifiers where is_linking"
            " qualify count(*) over (partition by identifier_key) <= max_records"
        ).fetchnumpy()
        records.sort()
        left, right = (np.searchsorted(records, links[name]) for name in ("record_key", "first"))
        weights = np.ones(len(left), dtype=np.int8)
        graph = coo_array((weights, (left, right)), shape=(len(records), len(records)))
        persons, _ = connected_components(graph, directed=False)

    seconds = seconds_of(solve)
    ours = _one(
        connection, "select count(distinct person_id) from intermediate.int_identity__people"
    )
    if persons != ours:
        raise AssertionError(f"{persons} people by scipy, {ours} in the warehouse")
    return seconds


def _scores(connection: Any) -> float:
    """Every score in one pass, no ledger between. The same scores come out, or it would be no floor."""
    query = f"create table floor.scores as {one_pass(connection, worlds.AS_OF)}"

    def score() -> None:
        connection.execute(query)
        connection.execute("checkpoint floor")

    seconds = seconds_of(score)
    wrong = _one(
        connection,
        "select count(*) from marts.fct_scores as ours left join floor.scores using (person_id)"
        " where not coalesce(abs(ours.total_score - scores.total_score) < 1e-5, false)",
    )
    if wrong:
        raise AssertionError(f"{wrong} scores differ from those of one pass")
    return seconds


def _mqls(connection: Any) -> float:
    """When each person first reached the threshold, in one window pass over the ledger.

    Points of one rule decay alike, so their worth at an entry is a running sum of points grown to a
    common instant, shrunk to the entry's: no entry has to meet every other of its person.
    """
    columns, alike = [], []
    for rule, life, cap in connection.execute(
        "select rule_id, half_life_days, cap from raw_policies.scoring_rules where is_active"
    ).fetchall():
        if life is None and cap is None:
            alike.append(f"'{rule}'")
            continue
        days = f"days / {life}" if life else "0"
        grown, shrunk = f"pow(2, {days})", f"pow(2, -{days})"
        running = f"sum(points * {grown}) filter (where rule_id = '{rule}') over earlier"
        worth = f"coalesce({running}, 0) * {shrunk}"
        columns.append(f"least({worth}, {cap})" if cap else worth)
    if alike:
        constant = f"filter (where rule_id in ({', '.join(alike)})) over earlier"
        columns.append(f"coalesce(sum(points) {constant}, 0)")
    query = (
        "create table floor.reached as with within_reach as ("
        "select person_id from (select person_id, rule_id,"
        " least(sum(greatest(points, 0)), coalesce(any_value(cap), cast('infinity' as double))) as most"
        " from marts.fct_score_ledger group by all) group by person_id"
        " having sum(most) >= (select mql_threshold - 1e-6 from raw_policies.scoring_versions where is_active)"
        "), near as (select person_id, rule_id, points, occurred_at,"
        " (epoch_us(occurred_at) - (select min(epoch_us(occurred_at)) from marts.fct_score_ledger)) / 86.4e9 as days"
        " from marts.fct_score_ledger where person_id in (from within_reach)),"
        f" worth as (select person_id, occurred_at, {' + '.join(columns)} as score from near"
        " window earlier as (partition by person_id order by occurred_at range between unbounded preceding and current row))"
        " select person_id, min(occurred_at) as reached_at from worth"
        " where round(score, 6) >= (select mql_threshold from raw_policies.scoring_versions where is_active)"
        " group by person_id"
    )
    seconds = seconds_of(lambda: connection.execute(query))
    wrong = _one(
        connection,
        "select count(*) from floor.reached as plain full join"
        " (from marts.fct_mqls where crossing_number = 1) as ours using (person_id)"
        " where plain.reached_at is distinct from ours.reached_at",
    )
    if wrong:
        raise AssertionError(f"{wrong} people reached the threshold at another instant in one pass")
    return seconds


def _touchpoints(connection: Any) -> float:
    """What may be credited, read from the activities once."""
    query = (
        "create table floor.touchpoints as select activity_id, person_id, account_id, activity_type,"
        " coalesce(utm_medium, campaign_id, referrer) as channel, campaign_id, occurred_at"
        " from marts.fct_activities where activity_type in"
        " (select activity_type from raw_policies.kpi_activity_types where is_active and role = 'touchpoint')"
    )
    return seconds_of(lambda: connection.execute(query))


def _one(connection: Any, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


KERNEL = Kernel(
    name="rebuild",
    measures="Landing a world through dlt, and dbt making every derived table from nothing: seconds"
    " of the nodes by stage, peak memory, the file, and what spilled beside it.",
    floor="For landing DuckDB reading the same Parquet; for a stage DuckDB writing its finished"
    " tables once, and before that scipy on the identifiers, one plain SQL pass for all scores, one"
    " for who qualified when, one for the touchpoints; for dbt itself the same views without it.",
    size_unit="events",
    default_size=1_000_000,
    run=run,
)
