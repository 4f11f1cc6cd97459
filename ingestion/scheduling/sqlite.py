"""The embedded engine of bookings: one SQLite file in WAL mode, where overlaps are refused by triggers, whoever writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from ingestion.durable_file import sync_to_disk
from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.statements import LONGEST, SqlStore, schema
from ingestion.scheduling.store import LinkUsed, SlotTaken

BUSY_MILLISECONDS = 30_000
_LONGEST_US = LONGEST.days * 86_400 * 1_000_000
_REFUSAL = f"""
begin
    select raise(abort, 'SLOT_TAKEN') where exists (
        select 1 from bookings
        where is_active = 1 and host_id = new.host_id and booking_id <> new.booking_id
            and busy_from_us < new.busy_to_us and busy_to_us > new.busy_from_us
            and busy_from_us > new.busy_from_us - {_LONGEST_US}
    );
end;
"""
TRIGGERS = f"""
create trigger if not exists no_overlap_when_inserted before insert on bookings when new.is_active = 1 {_REFUSAL}
create trigger if not exists no_overlap_when_updated
before update of host_id, busy_from_us, busy_to_us, is_active on bookings when new.is_active = 1 {_REFUSAL}
create trigger if not exists changes_are_never_updated before update on changes
begin select raise(abort, 'a change is never changed'); end;
create trigger if not exists changes_are_never_deleted before delete on changes
begin select raise(abort, 'a change is never deleted'); end;
"""


def open_sqlite(path: Path) -> SqlStore:
    """The store in a file, made when it is not there; BOOKINGS_UNAVAILABLE when it cannot be used."""
    return SqlStore(SqliteEngine(path))


class SqliteEngine:
    """One connection, taken by turns: SQLite has one writer, and what waits here need not poll."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
                sync_to_disk(path.parent)
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(BUSY_MILLISECONDS)
            self._connection.execute("pragma journal_mode = wal")
            # A slot that was promised survives a power cut.
            self._connection.execute("pragma synchronous = full")
            # What is deleted here names people: it is overwritten.
            self._connection.execute("pragma secure_delete = on")
            with self.transaction() as sql:
                sql.run(schema("integer") + TRIGGERS)
        except (apsw.Error, OSError) as error:
            raise self._fault(error) from error

    @contextmanager
    def transaction(self, *lock: str) -> Iterator[_Statements]:
        """All or nothing; every writer waits for every other, so `lock` adds nothing."""
        del lock
        with self._lock:
            try:
                self._connection.execute("begin immediate")
            except apsw.Error as error:
                raise self._fault(error) from error
            try:
                yield _Statements(self._connection)
                self._connection.execute("commit")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                if isinstance(error, apsw.ConstraintError) and "SLOT_TAKEN" in str(error):
                    raise SlotTaken(str(error)) from error
                if isinstance(error, apsw.ConstraintError) and "bookings.link_id" in str(error):
                    raise LinkUsed(str(error)) from error
                if isinstance(error, apsw.Error):
                    raise self._fault(error) from error
                raise

    @contextmanager
    def reading(self) -> Iterator[_Statements]:
        """What is committed."""
        with self._lock:
            try:
                yield _Statements(self._connection)
            except apsw.Error as error:
                raise self._fault(error) from error

    def overwrite(self) -> None:
        """Write the file anew, and empty the write-ahead log unless somebody is reading just then."""
        with self._lock:
            try:
                self._connection.execute("vacuum")
                with suppress(apsw.BusyError):
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.Error as error:
                raise self._fault(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _fault(self, error: Exception) -> HandoffError:
        return HandoffError("BOOKINGS_UNAVAILABLE", f"{self._path}: {error}")


class _Statements:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement."""
        return self._connection.execute(sql, values).fetchall()

    def run(self, sql: str, **values: Any) -> None:
        """A statement, or several."""
        for _ in self._connection.execute(sql, values):
            pass
