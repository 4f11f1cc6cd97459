"""A micro-batch of one form submit and a full rebuild, against dbt doing nothing and a plain copy."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory
from benchmarks.records import ANCHOR, form_submit, world

ROUNDS = 3
APPEND = 5_000
SLOWEST = 4


def run(size: int, folder: Path) -> list[Measurement]:
    """A warehouse of `size` people with about ten events each; then one form submit at a time."""
    from ingestion.landing.events import land_events
    from ingestion.settings import Settings
    from orchestration.policy_rows import load_policy_rows
    from orchestration.transform import manifest, transform

    settings = Settings(home=folder / "home")
    _append(settings, list(world(size)))
    land_events(settings)
    load_policy_rows(settings)
    manifest(settings)

    as_of = ANCHOR + timedelta(days=30)
    with watch_memory() as rebuild_peak:
        rebuilt = transform(settings, as_of=as_of)
    copied = _copy_raw(settings, folder)
    raw_rows = _count_raw(settings)

    clock = _Clock(as_of)
    trivial: dict[int, _TrivialProject] = {}
    batches = []
    for count, scope, title in (
        (1, "decisions", "hot path, 1 form submit"),
        (1_000, "decisions", "hot path, 1,000 form submits"),
        (1, "everything", "micro-batch, 1 form submit"),
    ):
        batches.append(_measure_batch(settings, folder, clock, trivial, count, scope, title, size))
    return [
        *batches,
        compare(
            f"full rebuild, {size:,} people",
            raw_rows,
            "raw rows",
            [rebuilt.seconds],
            [copied],
            rebuild_peak.mb,
            seconds=f"{rebuilt.seconds:.1f}",
            nodes=str(len(rebuilt.nodes)),
        ),
    ]


class _Clock:
    """Moves on with every batch, so that none is before the last."""

    def __init__(self, start: datetime) -> None:
        self.now = start
        self.batches = 0

    def tick(self) -> datetime:
        self.now += timedelta(minutes=1)
        self.batches += 1
        return self.now


def _measure_batch(
    settings: Any,
    folder: Path,
    clock: _Clock,
    trivial: dict[int, _TrivialProject],
    count: int,
    scope: Any,
    title: str,
    size: int,
) -> Measurement:
    """Batches of `count` submits by people already known; the first, which warms caches up, is not counted."""
    from ingestion.landing.events import land_events
    from orchestration.transform import transform

    ours: list[float] = []
    floor: list[float] = []
    by_node: defaultdict[str, list[float]] = defaultdict(list)
    with watch_memory() as peak:
        for number in range(ROUNDS + 1):
            as_of = clock.tick()
            first = size + clock.batches * 10_000
            people = range(number, number + 37 * count, 37)
            _append(
                settings,
                [
                    form_submit(first + position, person % size, "contact_sales", as_of)
                    for position, person in enumerate(people)
                ],
            )
            land_events(settings)
            done = transform(settings, as_of=as_of, scope=scope)
            if done.is_full_refresh or done.scope != scope:
                raise AssertionError(f"a batch became a full refresh: {done.reason}")
            if number == 0:
                continue
            ours.append(done.seconds)
            for node in done.nodes:
                by_node[node.name].append(node.seconds)
            nodes = len(done.nodes)
            if nodes not in trivial:
                trivial[nodes] = _TrivialProject(folder / f"trivial{nodes}", nodes)
            floor.append(trivial[nodes].run())
    slowest = sorted(((median(taken), name) for name, taken in by_node.items()), reverse=True)
    return compare(
        f"{title}, {size:,} people",
        1,
        "batch",
        ours,
        floor,
        peak.mb,
        nodes=str(len(by_node)),
        slowest="; ".join(f"{name} {seconds:.2f} s" for seconds, name in slowest[:SLOWEST]),
    )


def _append(settings: Any, events: list[dict[str, Any]]) -> None:
    from ingestion.log.owner import open_log

    log = open_log(settings)
    try:
        for start in range(0, len(events), APPEND):
            log.append(events[start : start + APPEND])
    finally:
        log.close()


def _raw_tables(connection: Any) -> list[str]:
    return [
        f'"{schema}"."{table}"'
        for schema, table in connection.execute(
            "select schema_name, table_name from duckdb_tables()"
            " where schema_name = 'raw_events' and table_name not like '\\_dlt%' escape '\\'"
        ).fetchall()
    ]


def _count_raw(settings: Any) -> int:
    from ingestion.landing.warehouse import connect

    with connect(settings) as connection:
        return sum(
            connection.execute(f"select count(*) from {table}").fetchone()[0]  # type: ignore[index]
            for table in _raw_tables(connection)
        )


def _copy_raw(settings: Any, folder: Path) -> float:
    """Seconds to write every raw row once more, to a file of its own."""
    from ingestion.landing.warehouse import connect

    with connect(settings) as connection:
        connection.execute(f"attach '{folder / 'copy.duckdb'}' as copied")
        tables = _raw_tables(connection)

        def copy() -> None:
            for number, table in enumerate(tables):
                connection.execute(f"create table copied.copy_{number} as from {table}")
            connection.execute("checkpoint copied")

        return seconds_of(copy)


class _TrivialProject:
    """A dbt project of as many tables as the batch has nodes, each of one row, run in the same warm
    process."""

    def __init__(self, folder: Path, nodes: int) -> None:
        from dbt.cli.main import dbtRunner

        (folder / "models").mkdir(parents=True)
        (folder / "dbt_project.yml").write_text(
            "name: trivial\nversion: '1.0.0'\nprofile: trivial\nconfig-version: 2\n"
            "models: {trivial: {+materialized: table}}\n",
            encoding="utf-8",
        )
        (folder / "profiles.yml").write_text(
            "trivial: {target: one, outputs: {one: {type: duckdb, threads: 1, keep_open: true,"
            f" path: '{folder / 'trivial.duckdb'}'}}}}}}\n",
            encoding="utf-8",
        )
        for number in range(nodes):
            (folder / "models" / f"model_{number}.sql").write_text(
                "select 1 as one", encoding="utf-8"
            )
        self._folder = folder
        self._arguments = ["--project-dir", str(folder), "--profiles-dir", str(folder)]
        with _environment(DBT_TARGET_PATH=str(folder / "target")):
            parsed = dbtRunner().invoke(["--quiet", "parse", *self._arguments])
            if not parsed.success:
                raise RuntimeError(str(parsed.exception))
            self._manifest: Any = parsed.result
            self._invoke()

    def run(self) -> float:
        """Seconds of one run."""
        with _environment(DBT_TARGET_PATH=str(self._folder / "target")):
            return seconds_of(self._invoke)

    def _invoke(self) -> None:
        from dbt.cli.main import dbtRunner

        result = dbtRunner(manifest=self._manifest).invoke(
            ["--quiet", "--no-write-json", "--log-level-file", "none", "run", *self._arguments]
        )
        if not result.success:
            raise RuntimeError(str(result.exception))


class _environment:
    """Sets variables for a block, and takes what dbt was told of the other project away."""

    def __init__(self, **values: str) -> None:
        self._values = values
        self._before: dict[str, str] = {}

    def __enter__(self) -> None:
        self._before = dict(os.environ)
        for name in ("DBT_PROJECT_DIR", "DBT_PROFILES_DIR", "DBT_LOG_PATH"):
            os.environ.pop(name, None)
        os.environ.update(self._values)
        os.environ["DBT_LOG_PATH"] = self._values["DBT_TARGET_PATH"]

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self._before)


KERNEL = Kernel(
    name="transform",
    measures="Seconds of the dbt run that brings the decisions (hot path) or the whole warehouse"
    " (micro-batch) up to new form submits, and of a rebuild of every derived table; policies and"
    " landing are not in it.",
    floor="For the batch: dbt running as many one-row tables in the same warm process. For the"
    " rebuild: DuckDB writing every raw row once to another file.",
    size_unit="people",
    default_size=2_000,
    run=run,
)
