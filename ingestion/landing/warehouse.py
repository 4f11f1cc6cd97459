"""Appends Arrow tables to one raw schema of the warehouse, exactly once whatever dies; knows no
record and no system."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.landing.dlt_home import use_dlt_home
from ingestion.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# dlt column hints by table and column, as `ingestion.contracts.columns.dlt_columns` gives them.
Hints = Mapping[str, Mapping[str, Mapping[str, Any]]]

LOAD_ID = "_dlt_load_id"
# A load of so many rows takes longer than tidying up after it.
_MANY_ROWS = 50_000
# Bytes. Rows in it are in memory as well.
_LONG_LOG = 64_000_000
_LOADS_DDL = """
    create table if not exists {schema}._dlt_loads (
        load_id varchar not null,
        schema_name varchar,
        status bigint not null,
        inserted_at timestamp with time zone not null,
        schema_version_hash varchar
    )
"""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One load: `load_id` is None when there was nothing; `removed` are leftovers of loads that
    had died."""

    load_id: str | None
    rows: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def load(
    settings: Settings, dataset: str, tables: Mapping[str, pa.Table], hints: Hints
) -> LoadReport:
    """Append `tables` to schema `dataset` as one load, after clearing what earlier loads left
    unfinished."""
    schemas = {name: table.schema for name, table in tables.items()}
    with open_raw(settings, dataset, schemas, hints) as raw:
        report = raw.append(tables)
        return LoadReport(report.load_id, report.rows, raw.removed, report.seconds)


@contextmanager
def open_raw(
    settings: Settings, dataset: str, schemas: Mapping[str, pa.Schema], hints: Hints
) -> Iterator[RawSchema]:
    """Open the warehouse as its one writer, with every table of `schemas` present and only
    finished loads in it.

    Raises WAREHOUSE_LOCKED when another process writes, WAREHOUSE_CORRUPT when the file cannot be
    read.
    """
    connection = connect(settings)
    try:
        raw = RawSchema(settings, connection, dataset, schemas, hints)
        raw.forget_unfinished_package()
        raw.create_tables()
        raw.delete_unfinished_rows()
        yield raw
    finally:
        connection.close()


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """The warehouse's one writing connection, in UTC; the caller closes it, as dbt needs the file
    next."""
    import duckdb

    path = settings.warehouse_path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Settings are set, not passed: connections of one process share the open file only when
        # they ask for it in the same words, and dbt passes none.
        connection = duckdb.connect(str(path))
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise HandoffError("WAREHOUSE_LOCKED", f"cannot write {path}: {error}") from error
        raise HandoffError("WAREHOUSE_CORRUPT", f"cannot open {path}: {error}") from error
    except duckdb.ConnectionException as error:
        # This process holds the file open in another way: the file itself is sound.
        raise HandoffError("INTERNAL", f"cannot open {path} a second time: {error}") from error
    except duckdb.Error as error:
        raise HandoffError("WAREHOUSE_CORRUPT", f"cannot open {path}: {error}") from error
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"set memory_limit = '{settings.duckdb_memory_limit}'")
    connection.execute(f"set threads = {settings.duckdb_threads}")
    return connection


def has_table(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> bool:
    """Whether there is such a table: one that a model makes comes with the first run that knows the model."""
    return bool(
        connection.execute(
            "select 1 from duckdb_tables() where schema_name = ? and table_name = ?", [schema, name]
        ).fetchall()
    )


def write_ahead_log(settings: Settings) -> Path:
    """Where DuckDB keeps what was committed since the last checkpoint; there is none after one."""
    path = settings.warehouse_path
    return path.with_name(path.name + ".wal")


@contextmanager
def held_open(settings: Settings) -> Iterator[None]:
    """Keep the file open for the steps of one batch: each of them connects, and opening reads the
    catalogue while the last closing writes a checkpoint."""
    connection = connect(settings)
    try:
        yield
    finally:
        connection.close()


class RawSchema:
    """One raw schema, open for appending; made by `open_raw`, valid until that block ends."""

    def __init__(
        self,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        dataset: str,
        schemas: Mapping[str, pa.Schema],
        hints: Hints,
    ) -> None:
        """Keep what `open_raw` found; no statement is run."""
        self.settings = settings
        self.connection = connection
        self.dataset = dataset
        self.schemas = schemas
        self.hints = hints
        self.removed: dict[str, int] = {}

    def forget_unfinished_package(self) -> None:
        """Delete dlt's work folder: a package left there would be loaded again, or wedge every
        later load.

        https://github.com/dlt-hub/dlt/issues/4052 and the LoadPackageAlreadyCompleted state.
        """
        shutil.rmtree(self.settings.dlt_dir / self.dataset, ignore_errors=True)

    def create_tables(self) -> None:
        """Create missing tables and columns, so that models can select from tables no record has
        reached yet."""
        existing: dict[str, set[str]] = {}
        rows = self.connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = ?",
            [self.dataset],
        ).fetchall()
        for table, column in rows:
            existing.setdefault(table, set()).add(column)
        statements = []
        if "_dlt_loads" not in existing:
            statements.append(f"create schema if not exists {_quoted(self.dataset)}")
            statements.append(_LOADS_DDL.format(schema=_quoted(self.dataset)))
        for table, schema in self.schemas.items():
            address = f"{_quoted(self.dataset)}.{_quoted(table)}"
            types = {name: self._sql_type(table, schema.field(name)) for name in schema.names}
            if table not in existing:
                columns = [f"{_quoted(name)} {type_}" for name, type_ in types.items()]
                columns.append(f"{LOAD_ID} varchar not null")
                statements.append(f"create table {address} ({', '.join(columns)})")
                continue
            for name in types.keys() - existing[table]:
                statements.append(f"alter table {address} add column {_quoted(name)} {types[name]}")
        if not statements:
            return
        self.connection.execute("begin")
        for statement in statements:
            self.connection.execute(statement)
        self.connection.execute("commit")

    def delete_unfinished_rows(self) -> None:
        """Delete rows of loads that did not complete; otherwise the next load would write them
        twice.

        Before every load what the last one left is deleted, so whatever is unfinished came after
        the newest finished load: asking for those alone leaves history unread.
        """
        newest = self.value(
            f"select coalesce(max(load_id), '') from {_quoted(self.dataset)}._dlt_loads"
            " where status = 0"
        )
        for table in self.schemas:
            address = f"{_quoted(self.dataset)}.{_quoted(table)}"
            unfinished = f"from {address} where {LOAD_ID} > '{newest}'"
            # Counting first keeps the usual case read-only; a delete that finds nothing still costs
            # a commit.
            count = self.value(f"select count(*) {unfinished}")
            if count:
                self.connection.execute(f"delete {unfinished}")
                self.removed[table] = int(count)

    def value(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """The first column of the first row of `sql`, or None."""
        row = self.connection.execute(sql, parameters or []).fetchone()
        return None if row is None else row[0]

    def greatest(self, column: str, tables: list[str]) -> int:
        """The greatest `column` over `tables`, 0 when all are empty."""
        parts = " union all ".join(
            f"select max({_quoted(column)}) as greatest"
            f" from {_quoted(self.dataset)}.{_quoted(table)}"
            for table in tables
        )
        return int(self.value(f"select max(greatest) from ({parts})") or 0)

    def append(self, tables: Mapping[str, pa.Table]) -> LoadReport:
        """Append the non-empty `tables` as one dlt load package; complete only once `_dlt_loads`
        names it."""
        tables = {name: table for name, table in tables.items() if table.num_rows}
        if not tables:
            return LoadReport(None)
        for name, table in tables.items():
            # dlt's contracts do not bind on a table's first load, so a foreign column is refused
            # here.
            if not table.schema.equals(self.schemas[name]):
                raise ValueError(
                    f"{self.dataset}.{name}: columns {table.schema}"
                    f" differ from {self.schemas[name]}"
                )
        started = time.perf_counter()
        self.forget_unfinished_package()
        use_dlt_home(self.settings.dlt_dir)
        import dlt
        from dlt.common.configuration.utils import get_resolved_traces

        pipeline = dlt.pipeline(
            self.dataset,
            destination=dlt.destinations.duckdb(self.connection),
            dataset_name=self.dataset,
            pipelines_dir=str(self.settings.dlt_dir),
        )
        resources = [
            dlt.resource([table], name=name, write_disposition="append")
            for name, table in tables.items()
        ]
        try:
            info = pipeline.run(resources, schema=self._dlt_schema(), loader_file_format="parquet")
        finally:
            # dlt logs how it found each setting for the life of the process, thousands of entries a
            # load, and through the frames of exceptions in them every table that was ever loaded.
            get_resolved_traces().clear()
        info.raise_on_failed_jobs()
        load_id = info.loads_ids[0]
        rows = {name: table.num_rows for name, table in tables.items()}
        if sum(rows.values()) >= _MANY_ROWS:
            del resources, info
            self._give_memory_back()
        return LoadReport(load_id, rows, seconds=time.perf_counter() - started)

    def _give_memory_back(self) -> None:
        """What a large load leaves behind adds up while a backlog lands: cycles in dlt that hold
        its tables, Arrow's free pages, and rows that DuckDB keeps until a checkpoint, which it does
        not write by itself while dlt's connection is open."""
        import pyarrow as pa

        gc.collect()
        pa.default_memory_pool().release_unused()
        log = write_ahead_log(self.settings)
        if log.exists() and log.stat().st_size > _LONG_LOG:
            self.connection.execute("checkpoint")

    def _dlt_schema(self) -> Any:
        """Every table of the schema, whatever this load carries: dlt then keeps one schema
        version, not one per subset."""
        from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
        from dlt.common.schema import Schema
        from dlt.common.schema.utils import dlt_load_id_column, new_table

        schema = Schema(self.dataset)
        for table, arrow in self.schemas.items():
            columns = py_arrow_to_table_schema_columns(arrow)
            for name, column in columns.items():
                hint = self.hints.get(table, {}).get(name, {})
                if hint.get("data_type") == "json":
                    column["data_type"] = "json"
            columns[LOAD_ID] = dlt_load_id_column()
            schema.update_table(
                new_table(table, write_disposition="append", columns=list(columns.values()))
            )
        return schema

    def _sql_type(self, table: str, field: pa.Field) -> str:
        import pyarrow as pa

        if self.hints.get(table, {}).get(field.name, {}).get("data_type") == "json":
            return "json"
        kind = field.type
        if pa.types.is_timestamp(kind):
            return "timestamp with time zone"
        if pa.types.is_decimal(kind):
            return f"decimal({kind.precision}, {kind.scale})"
        names = {
            pa.int64(): "bigint",
            pa.float64(): "double",
            pa.bool_(): "boolean",
            pa.date32(): "date",
            pa.string(): "varchar",
        }
        return names[kind]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
