"""Bookings in PostgreSQL, for several edges: overlaps are refused by an exclusion constraint, whoever writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.statements import SqlStore, schema
from ingestion.scheduling.store import LinkUsed, SlotTaken

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

# Everything here is short; more connections wait for the same rows.
MOST_CONNECTIONS = 8
WAIT_SECONDS = 30.0
_NAMED = re.compile(r"(?<!:):([a-z_]+)")
# Two edges that start at once must not both make the tables.
_SCHEMA_LOCK = 0x68616E646F6666
CONSTRAINT = """
alter table bookings add constraint no_overlap
    exclude using gist (host_id with =, int8range(busy_from_us, busy_to_us) with &&) where (is_active = 1)
"""
_APPEND_ONLY = """
create or replace function refuse_change_of_changes() returns trigger language plpgsql as
$$ begin raise exception 'a change is never changed'; end $$;
create or replace trigger changes_are_append_only before update or delete or truncate on changes
    for each statement execute function refuse_change_of_changes();
"""


def open_postgres(address: str) -> SqlStore:
    """The store at `postgresql://…`, its tables made when they are not there; BOOKINGS_UNAVAILABLE
    when it cannot be reached, SETTING_INVALID without the driver."""
    return SqlStore(PostgresEngine(address))


class PostgresEngine:
    """A pool of connections; who wants the same host or key waits for an advisory lock, so that each
    decision sees the one before it."""

    def __init__(self, address: str) -> None:
        """Connect, and make the tables."""
        try:
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            raise HandoffError(
                "SETTING_INVALID",
                f"HANDOFF_SCHEDULING_DATABASE: {error}",
                remedy="Install the driver: pip install handoff[postgres].",
            ) from error
        # Never with the password.
        self._name = urlsplit(address).hostname or "the local socket"
        self._pool: ConnectionPool[Connection[tuple[Any, ...]]] = ConnectionPool(
            address, min_size=1, max_size=MOST_CONNECTIONS, timeout=WAIT_SECONDS, open=False
        )
        try:
            self._pool.open(wait=True, timeout=WAIT_SECONDS)
            with self._connected() as connection:
                self._make_tables(connection)
        except BaseException:
            self._pool.close()
            raise

    @contextmanager
    def transaction(self, *lock: str) -> Iterator[_Statements]:
        """All or nothing; one after the other for each text of `lock`."""
        from psycopg import errors

        with self._connected() as connection:
            try:
                with connection.transaction():
                    sql = _Statements(connection)
                    for name in lock:
                        sql.run(
                            "select pg_advisory_xact_lock(hashtextextended(:name, 0))", name=name
                        )
                    yield sql
            except errors.ExclusionViolation as error:
                raise SlotTaken(str(error)) from error
            except errors.UniqueViolation as error:
                if error.diag.constraint_name != "one_open_booking_per_link":
                    raise self._fault(error) from error
                raise LinkUsed(str(error)) from error

    @contextmanager
    def reading(self) -> Iterator[_Statements]:
        """What is committed, as of one instant."""
        with self._connected() as connection, connection.transaction():
            yield _Statements(connection)

    def overwrite(self) -> None:
        """Nothing: the server's own vacuum does it, in its own time."""

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection[tuple[Any, ...]]]:
        from psycopg import Error
        from psycopg_pool import PoolTimeout

        try:
            with self._pool.connection() as connection:
                yield connection
        except (Error, PoolTimeout) as error:
            raise self._fault(error) from error

    def _make_tables(self, connection: Connection[tuple[Any, ...]]) -> None:
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
            there = connection.execute(
                "select 1 from pg_constraint where conname = 'no_overlap' and conrelid = to_regclass('bookings')"
            ).fetchone()
            if there is not None:
                return
            # Trusted since PostgreSQL 13: whoever may create in the database may have it.
            connection.execute("create extension if not exists btree_gist")
            connection.execute(schema("bigint").encode())
            connection.execute(CONSTRAINT)
            connection.execute(_APPEND_ONLY)

    def _fault(self, error: Exception) -> HandoffError:
        return HandoffError("BOOKINGS_UNAVAILABLE", f"PostgreSQL at {self._name}: {error}")


class _Statements:
    def __init__(self, connection: Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        return self._execute(sql, values).fetchall()

    def run(self, sql: str, **values: Any) -> None:
        """A statement whose rows nobody wants."""
        self._execute(sql, values)

    def _execute(self, sql: str, values: dict[str, Any]) -> Cursor[tuple[Any, ...]]:
        return self._connection.execute(_NAMED.sub(r"%(\1)s", sql).encode(), values)
