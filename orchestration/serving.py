"""Publishes what analysts read as a file of its own, by atomic rename, and answers queries from it; nothing here writes the warehouse."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.durable_file import sync_to_disk
from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings

if TYPE_CHECKING:
    import duckdb

PUBLISHED_SCHEMAS = ("marts", "sync", "ops", "reference")

# The newest storage version that every DuckDB client in use can read: files of 2.x's own are closed to 1.x, its JDBC driver and wasm.
STORAGE_VERSION = "v1.4.0"

# As a table macro: any instant, answered in SQL, by the rule the gates go by (fct_consents.is_current): of what stood the most restrictive.
_CONSENT_AS_OF = """
    create or replace macro marts.consent_as_of(instant) as table
    select person_id, channel, purpose, purpose_kind, effective_status as status, lawful_basis, source, notice_version, occurred_at, expires_at
    from marts.fct_consents
    where occurred_at <= cast(instant as timestamptz)
        and coalesce(superseded_at > cast(instant as timestamptz), true)
        and coalesce(expires_at > cast(instant as timestamptz), true)
    qualify row_number() over (
        partition by person_id, channel, purpose
        order by case effective_status when 'withdrawn' then 4 when 'denied' then 3 when 'pending' then 2 else 1 end desc,
            occurred_at desc, received_at desc, consent_id desc
    ) = 1
"""

# Nobody has to know the schema to ask.
_CONSENT_AS_OF_MAIN = "create or replace macro main.consent_as_of(instant) as table select * from marts.consent_as_of(instant)"

# What clocks of a zone show, by the pinned database: DuckDB's own `at time zone` asks another release.
_LOCAL_TIME = """
    create or replace macro reference.local_time(instant, zone) as (
        select max((instant at time zone 'UTC') + to_seconds(offset_seconds)) from reference.time_zone_offsets
        where time_zone = zone and valid_from_at <= instant and instant < valid_to_at
    )
"""

_HIDDEN = ("ops", "hidden_people")
_IS_HIDDEN = "coalesce(person_id in (select person_id from ops.hidden_people), false)"
# What was known of a record before is under the person it was then: hidden is whatever a record of somebody hidden was once of.
_WAS_HIDDEN = """(
    not is_current and person_id in (
        select person_id from marts.entity_map where record_key in (
            select record_key from marts.entity_map
            where is_current and person_id in (select person_id from ops.hidden_people{effect})
        )
    )
)"""
_IS_LEFT_OUT = "coalesce(person_id in (select person_id from ops.hidden_people where effect = 'leave_out'), false)"


@dataclass(frozen=True, slots=True)
class Published:
    """One generation of the serving file: rows by (schema, table), size in bytes, seconds taken."""

    path: Path
    rows: dict[tuple[str, str], int]
    size_bytes: int
    seconds: float


def publish(settings: Settings) -> Published:
    """Copy the published schemas into a new file, without what consent hides, and rename it over the old one.

    Readers that have the old file open go on reading their generation; readers that open it later get the new one; nobody meets a lock. The
    file is complete and on disk before it is renamed.
    """
    started = time.monotonic()
    target = settings.serving_path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    connection = connect(settings)
    rows: dict[tuple[str, str], int] = {}
    try:
        # One process at a time holds the warehouse: other parts are of publishers that were killed.
        for left in target.parent.glob(f".{target.name}.*.part*"):
            left.unlink(missing_ok=True)
        connection.execute(
            f"attach '{_quoted(part)}' as serving (storage_version '{STORAGE_VERSION}')"
        )
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() "
            "where database_name = current_database() and schema_name in "
            f"{PUBLISHED_SCHEMAS} order by schema_name, table_name"
        ).fetchall()
        for schema in sorted({schema for schema, _ in tables}):
            connection.execute(f'create schema serving."{schema}"')
        shown = _shown(connection, tables)
        for schema, name in tables:
            copied = connection.execute(
                f'create table serving."{schema}"."{name}" as {shown[schema, name]}'
            ).fetchone()
            rows[(schema, name)] = int(copied[0]) if copied else 0
        connection.execute("use serving")
        if ("marts", "fct_consents") in rows:
            connection.execute(_CONSENT_AS_OF)
            connection.execute(_CONSENT_AS_OF_MAIN)
        if ("reference", "time_zone_offsets") in rows:
            connection.execute(_LOCAL_TIME)
        connection.execute(f"use {_main_catalog(settings)}")
        connection.execute("detach serving")
    finally:
        connection.close()
    sync_to_disk(part)
    part.chmod(0o640)
    part.replace(target)
    sync_to_disk(target.parent)
    return Published(target, rows, target.stat().st_size, time.monotonic() - started)


def open_serving(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A read-only connection to the newest published generation, shut off from files and the network.

    Raises SERVING_MISSING when nothing was published, WAREHOUSE_CORRUPT when the file cannot be read.
    """
    import duckdb

    path = settings.serving_path
    if not path.exists():
        raise HandoffError("SERVING_MISSING", f"nothing is published at {path}")
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise HandoffError(
            "WAREHOUSE_CORRUPT",
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            remedy="Run `handoff run`: it publishes the file anew.",
        ) from error
    for setting in (
        "TimeZone = 'UTC'",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"set {setting}")
    return connection


def query(settings: Settings, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one statement on the serving file; raises QUERY_INVALID with DuckDB's own words."""
    import duckdb

    with contextlib.closing(open_serving(settings)) as connection:
        try:
            statements = len(connection.extract_statements(sql))
            if statements > 1:
                # Of several only the last would answer.
                raise HandoffError(
                    "QUERY_INVALID",
                    f"{statements} statements; one is answered at a time",
                    remedy="Ask them one by one, or as one with `union all`.",
                )
            cursor = connection.execute(sql)
            # Nothing but blanks or comments: DuckDB then gives no cursor at all.
            if cursor is None:
                raise HandoffError("QUERY_INVALID", f"'{sql}' holds no statement")
            if cursor.description is None:
                return [], []
            return [column[0] for column in cursor.description], cursor.fetchall()
        except duckdb.Error as error:
            raise HandoffError("QUERY_INVALID", str(error)) from error


def _shown(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """What is published of each table: whom `ops.hidden_people` names is masked or left out of every table that has a person_id.

    Raises SERVING_INCOMPLETE when somebody is to be hidden and nothing says which columns name them.
    """
    everything = {(schema, name): f'from "{schema}"."{name}"' for schema, name in tables}
    if (_HIDDEN not in everything) or not connection.execute(
        f"select 1 from {'.'.join(_HIDDEN)} limit 1"
    ).fetchall():
        return everything
    if ("ops", "personal_columns") not in everything:
        raise HandoffError(
            "SERVING_INCOMPLETE",
            "ops.hidden_people names people and there is no ops.personal_columns that says which columns name them",
            remedy="Run `handoff run --full-refresh`: it makes both.",
        )
    columns: dict[tuple[str, str], set[str]] = defaultdict(set)
    for schema, name, column in connection.execute(
        "select schema_name, table_name, column_name from duckdb_columns() where database_name = current_database()"
    ).fetchall():
        columns[schema, name].add(column)
    personal: dict[tuple[str, str], list[str]] = defaultdict(list)
    for schema, name, column in connection.execute(
        "select schema_name, table_name, column_name from ops.personal_columns where personal_data = 'direct' order by all"
    ).fetchall():
        personal[schema, name].append(column)
    return {
        table: _hiding(table, columns[table], personal[table])
        if "person_id" in columns[table] and table != _HIDDEN
        else whole
        for table, whole in everything.items()
    }


def _hiding(table: tuple[str, str], columns: Collection[str], personal: Sequence[str]) -> str:
    is_hidden, is_left_out = _IS_HIDDEN, _IS_LEFT_OUT
    if table == ("marts", "entity_map"):
        is_hidden = f"({is_hidden} or {_WAS_HIDDEN.format(effect='')})"
        left_out = " where effect = 'leave_out'"
        is_left_out = f"({is_left_out} or {_WAS_HIDDEN.format(effect=left_out)})"
    masked = [
        f'case when {is_hidden} then null else "{column}" end as "{column}"'
        for column in personal
        if column in columns
    ]
    if {"record_type", "record_id"} <= set(columns):
        # An address that stands for itself is its own id.
        masked.append(
            f"case when record_type = 'email' and {is_hidden} then null else record_id end as record_id"
        )
    replaced = f"replace ({', '.join(masked)})" if masked else ""
    schema, name = table
    return f'select * {replaced} from "{schema}"."{name}" where not {is_left_out}'


def _main_catalog(settings: Settings) -> str:
    return f'"{settings.warehouse_path.stem}"'


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
