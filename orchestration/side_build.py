"""Rebuilds everything derived on a copy of the warehouse and swaps that in, while batches go on in the one in use; no Dagster here.

What has landed meanwhile is carried over row by row, not landed again: docs/decisions/0011.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ingestion.durable_file import sync_to_disk
from ingestion.errors.catalog import HandoffError
from ingestion.home import require_home
from ingestion.landing.warehouse import connect, write_ahead_log
from ingestion.settings import Settings
from orchestration.policy_rows import load_policy_rows, rebuild_reason
from orchestration.progress import report
from orchestration.transform import (
    NodeResult,
    Transformed,
    code_hash_now,
    forget_models,
    keep_models,
    manifest,
    run_tests,
    transform,
)
from orchestration.warehouse_copy import (
    CopySettings,
    copy_settings,
    discard,
    lacking_room,
    take_copy,
    write_down,
)
from orchestration.writer_lock import (
    WRITER_WAIT_SECONDS,
    running_worker,
    try_lock,
    warehouse_writer,
)

if TYPE_CHECKING:
    import duckdb

_T = TypeVar("_T")

# Held by the process that builds; the kernel lets it go when that dies, however it dies.
BUILD_LOCK = "rebuild.lock"
BUILD_WAIT_SECONDS = 3600.0

# So many rows the hot path takes on in an ordinary batch; while more have come, the copy catches up beside.
FEW_ROWS = 2_000
MAX_ROUNDS = 5

# Below everything somebody waits for.
_NICE = 10
_LOOK_SECONDS = 0.2

# Tables of `ops` that no model makes and that say something the log does not: by what tells their rows apart.
CARRIED: Mapping[str, tuple[str, ...]] = {
    "plans": ("plan_id", "applied_at"),
    "policies_used": ("kind", "version"),
    "transforms": ("finished_at",),
}
# Those that say how far this one file has come.
OF_THE_FILE = ("rebuilds_begun", "people_touched")

FINISHED = ("done", "not needed", "failed")


@dataclass(frozen=True, slots=True)
class Build:
    """One rebuild beside: what it does now, why, since when; `seconds` and `error` (code, message, remedy) once it has ended."""

    pid: int
    stage: str
    reason: str
    started_at: datetime
    seconds: float = 0.0
    error: dict[str, str] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it ended by itself, well or not."""
        return self.stage in FINISHED

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "pid": self.pid,
            "stage": self.stage,
            "reason": self.reason,
            "started_at": self.started_at.isoformat(),
            "seconds": round(self.seconds, 3),
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did: `transformed` is the rebuild itself, `tests` the data tests on it, `steps` seconds by stage, `locked_seconds` how
    long others waited for it, `carried_rows` what had landed meanwhile."""

    reason: str
    transformed: Transformed
    tests: tuple[NodeResult, ...]
    steps: dict[str, float]
    locked_seconds: float
    carried_rows: int
    size_bytes: int


_in_place: list[bool] = []
# While this process is the one that builds.
_ours: list[bool] = []


def holds_back(settings: Settings) -> bool:
    """Whether batches leave changed policies and models to the rebuild beside: a worker runs, which starts one."""
    return not _in_place and running_worker(settings) is not None


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Let batches of this process rebuild the warehouse itself, as they do without a worker."""
    _in_place.append(True)
    try:
        yield
    finally:
        _in_place.pop()


def rebuild_beside(
    settings: Settings,
    *,
    asked: bool = False,
    as_of: datetime | None = None,
    tell: Callable[[Build], None] = lambda build: None,
) -> Rebuilt | None:
    """Rebuild on a copy with the policies and models as they are now, test it, and put it in the place of the warehouse.

    None when there is nothing to rebuild for. Waits for another process's rebuild first, which may have done it. Others wait for the time of
    a copy, and of carrying over what landed meanwhile. Raises REBUILD_ABANDONED where there is no room, where a data test fails on the
    copy, and where the warehouse in use was replaced; what loading policies and transforming raise; the warehouse in use is then as it was.
    """
    copy = copy_settings(settings, "rebuild")
    with only_build(settings) as teller:
        teller.also = tell
        # Of a build that was killed; it counts against the room.
        discard(copy)
        try:
            return _build(settings, copy, teller, asked, as_of)
        except BaseException as error:
            teller.end("failed", error)
            raise
        finally:
            discard(copy)


def newest_build(settings: Settings) -> Build | None:
    """The build under way, or the last one."""
    try:
        told = json.loads(_state_path(settings).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Build(**{**told, "started_at": datetime.fromisoformat(told["started_at"])})


def build_under_way(settings: Settings) -> Build | None:
    """What a living process is rebuilding now."""
    path = settings.root / BUILD_LOCK
    if not path.exists():
        return None
    with path.open("r+", encoding="ascii") as file:
        if try_lock(file):
            return None
    found = newest_build(settings)
    return found if found is not None and not found.is_finished else None


def clear_away(settings: Settings) -> None:
    """Delete what a build that died has left, unless one is under way."""
    copy = copy_settings(settings, "rebuild")
    if copy.folder.exists():
        with (settings.root / BUILD_LOCK).open("a+", encoding="ascii") as file:
            if try_lock(file):
                discard(copy)


def leave_nothing(settings: Settings) -> None:
    """Delete the copy if this process is the one that builds: it is about to end."""
    if _ours:
        discard(copy_settings(settings, "rebuild"))


def carry_over(settings: Settings, copy: CopySettings) -> int:
    """Bring into the copy what the warehouse in use has beyond it, with its load ids; returns how many raw rows that were.

    The caller holds the writer's lock. Raises REBUILD_ABANDONED when the copy holds loads that the warehouse does not: that is another one.
    """
    with contextlib.closing(connect(copy)) as connection:
        before = str(settings.warehouse_path).replace("'", "''")
        connection.execute(f"attach '{before}' as before (read_only)")
        connection.execute("begin")
        rows = sum(
            _carry_schema(connection, schema)
            for (schema,) in connection.execute(
                "select distinct schema_name from duckdb_tables() where database_name = 'before' "
                "and starts_with(schema_name, 'raw_') and table_name = '_dlt_loads' order by all"
            ).fetchall()
        )
        _carry_ops(connection)
        connection.execute("commit")
        connection.execute("detach before")
    return rows


def swap_in(settings: Settings, copy: CopySettings) -> None:
    """Put the copy in the place of the warehouse, durably; the caller holds the writer's lock.

    At any moment one whole file has the name: the old one or the new one.
    """
    write_down(copy)
    write_down(settings)
    for one in (copy, settings):
        # A write-ahead log beside a file that it is not of would be replayed into it, or refuse it.
        if write_ahead_log(one).exists():
            raise HandoffError("REBUILD_ABANDONED", f"{one.warehouse_path} is open elsewhere")
    sync_to_disk(copy.warehouse_path)
    copy.warehouse_path.replace(settings.warehouse_path)
    sync_to_disk(settings.root)


def _build(
    settings: Settings,
    copy: CopySettings,
    teller: _Teller,
    asked: bool,
    as_of: datetime | None,
) -> Rebuilt | None:
    # Parsed before the lock is taken, where the project has changed: that takes seconds.
    manifest(settings)
    locked = 0.0
    with _writing(settings) as held:
        reason = _reason(settings, asked)
        if reason is None:
            teller.end("not needed")
            return None
        teller.tell("copying", reason)
        if (lack := lacking_room(settings)) is not None:
            raise HandoffError(
                "REBUILD_ABANDONED",
                lack,
                remedy="Free some space; a worker without room rebuilds in place, and leads wait for it.",
            )
        size = take_copy(settings, copy)
    locked += held()
    teller.tell("rebuilding")
    load_policy_rows(copy)
    instant = as_of or datetime.now(UTC)
    done = _gently(lambda: transform(copy, as_of=instant, full_refresh=True))
    teller.tell("testing")
    tests = _gently(lambda: run_tests(copy))
    _require_passed(tests)
    carried = 0
    for rounds_left in reversed(range(MAX_ROUNDS)):
        teller.tell("swapping in")
        with _writing(settings) as held:
            rows = carry_over(settings, copy)
            carried += rows
            if rows <= FEW_ROWS or not rounds_left:
                # Before the swap: the batch after it asks for them.
                code_hash = code_hash_now(copy)
                keep_models(settings, code_hash, manifest(copy))
                swap_in(settings, copy)
        locked += held()
        if not copy.warehouse_path.exists():
            break
        teller.tell("catching up")
        _gently(lambda: transform(copy, as_of=as_of or datetime.now(UTC)))
    forget_models(settings, code_hash)
    teller.end("done")
    return Rebuilt(reason, done, tests, teller.steps, locked, carried, size)


def _reason(settings: Settings, asked: bool) -> str | None:
    if not settings.warehouse_path.exists():
        return None
    return "asked for" if asked else rebuild_reason(settings)


def _require_passed(tests: tuple[NodeResult, ...]) -> None:
    failed = [node.name for node in tests if node.status in ("fail", "error")]
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise HandoffError(
            "REBUILD_ABANDONED",
            f"data tests fail on the rebuilt copy: {', '.join(failed[:3])}{more}",
            remedy="Take the change back, or mend what the tests name. To have it nevertheless, stop the worker and run "
            "`handoff run --full-refresh`.",
        )


def _carry_schema(connection: duckdb.DuckDBPyConnection, schema: str) -> int:
    _create_missing(connection, schema)
    gone = connection.execute(
        f'select load_id from "{schema}"._dlt_loads where status = 0 and load_id not in '
        f'(select load_id from before."{schema}"._dlt_loads) limit 1'
    ).fetchone()
    if gone is not None:
        raise HandoffError(
            "REBUILD_ABANDONED",
            f"load {gone[0]} of {schema} is not in the warehouse any more: it was replaced during the rebuild",
        )
    newest = connection.execute(
        f"select coalesce(max(load_id), '') from \"{schema}\"._dlt_loads where status = 0"
    ).fetchone()
    assert newest is not None
    rows = 0
    for (table,) in connection.execute(
        "select table_name from duckdb_columns() where database_name = 'before' and schema_name = ? "
        "and column_name = '_dlt_load_id' order by all",
        [schema],
    ).fetchall():
        address = f'"{schema}"."{table}"'
        # What a load that died left in the copy; behind a finished one it would never be looked for again.
        connection.execute(f"delete from {address} where _dlt_load_id > ?", [newest[0]])
        came = connection.execute(
            f"insert into {address} by name from before.{address} where _dlt_load_id > ? and _dlt_load_id in "
            f'(select load_id from before."{schema}"._dlt_loads where status = 0)',
            [newest[0]],
        ).fetchone()
        rows += int(came[0]) if came else 0
    connection.execute(
        f'insert into "{schema}"._dlt_loads by name from before."{schema}"._dlt_loads '
        "where status = 0 and load_id > ?",
        [newest[0]],
    )
    return rows


def _carry_ops(connection: duckdb.DuckDBPyConnection) -> None:
    _create_missing(connection, "ops", CARRIED)
    [[own]] = connection.execute("select max(finished_at) from ops.transforms").fetchall()
    for table in CARRIED:
        if not _has(connection, "before", "ops", table):
            continue
        keys = " and ".join(f'known."{key}" = came."{key}"' for key in CARRIED[table])
        connection.execute(
            f"insert into ops.{table} by name from before.ops.{table} as came "
            f"where not exists (select 1 from ops.{table} as known where {keys})"
        )
    # How far a file has been transformed is told by its newest row: the copy's own, whatever the warehouse in use has done meanwhile.
    connection.execute(
        "update ops.transforms set finished_at = greatest(?, (select max(finished_at) + interval 1 microsecond from ops.transforms)) "
        "where finished_at = ?",
        [datetime.now(UTC), own],
    )


def _create_missing(
    connection: duckdb.DuckDBPyConnection, schema: str, wanted: Mapping[str, Any] | None = None
) -> None:
    for table, sql in connection.execute(
        "select table_name, sql from duckdb_tables() where database_name = 'before' and schema_name = ?",
        [schema],
    ).fetchall():
        if (wanted is None or table in wanted) and not _has(
            connection, _catalog(connection), schema, table
        ):
            connection.execute(f'create schema if not exists "{schema}"')
            connection.execute(sql)


def _has(connection: duckdb.DuckDBPyConnection, catalog: str, schema: str, table: str) -> bool:
    found = connection.execute(
        "select 1 from duckdb_tables() where database_name = ? and schema_name = ? and table_name = ?",
        [catalog, schema, table],
    ).fetchone()
    return found is not None


def _catalog(connection: duckdb.DuckDBPyConnection) -> str:
    [[name]] = connection.execute("select current_database()").fetchall()
    return str(name)


def _gently(work: Callable[[], _T]) -> _T:
    """Do `work` in a thread below everything somebody waits for; DuckDB's own threads follow the one that opens the file.

    Not the whole process: while it holds the writer's lock others wait for it, and priority once given away is not had back.
    """
    done: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        # Linux gives each thread a priority of its own; elsewhere the build runs as everybody does.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="rebuild", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


@contextlib.contextmanager
def _writing(settings: Settings) -> Iterator[Callable[[], float]]:
    """Hold the writer's lock; what it yields tells for how long it was held."""
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        started = time.monotonic()
        ended: list[float] = []
        try:
            yield lambda: (ended[0] if ended else time.monotonic()) - started
        finally:
            ended.append(time.monotonic())


class _Teller:
    """Keeps the state file of a build, which whoever waits and whoever looks reads."""

    def __init__(self, settings: Settings) -> None:
        self.also: Callable[[Build], None] = lambda build: None
        self.steps: dict[str, float] = {}
        self._path = _state_path(settings)
        self._begun = self._since = time.monotonic()
        self._build = Build(os.getpid(), "waiting", "", datetime.now(UTC))

    def tell(self, stage: str, reason: str | None = None) -> None:
        """Say what comes now."""
        now = time.monotonic()
        before = self._build.stage
        self.steps[before] = self.steps.get(before, 0.0) + now - self._since
        self._since = now
        self._build = replace(
            self._build,
            stage=stage,
            reason=self._build.reason if reason is None else reason,
            seconds=now - self._begun,
        )
        self._keep()
        report(f"rebuilding beside: {stage}")

    def end(self, stage: str, error: BaseException | None = None) -> None:
        """Say how it ended."""
        if isinstance(error, HandoffError):
            told = {"code": error.code, "message": error.message, "remedy": error.remedy}
            self._build = replace(self._build, error=told)
        elif error is not None:
            told = {"code": "INTERNAL", "message": repr(error), "remedy": ""}
            self._build = replace(self._build, error=told)
        self.tell(stage)

    def _keep(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(self._build.as_dict()), encoding="utf-8")
        part.replace(self._path)
        self.also(self._build)


@contextlib.contextmanager
def only_build(settings: Settings) -> Iterator[_Teller]:
    """Be the one process that builds beside; waits for another's build to end. What puts another warehouse in the place of the one in use holds
    it too: a build would bring back what was there."""
    require_home(settings)
    deadline = time.monotonic() + BUILD_WAIT_SECONDS
    with (settings.root / BUILD_LOCK).open("a+", encoding="ascii") as file:
        while not try_lock(file):
            if time.monotonic() >= deadline:
                raise HandoffError(
                    "REBUILD_ABANDONED", "another process has been rebuilding too long"
                )
            time.sleep(_LOOK_SECONDS)
        _ours.append(True)
        try:
            yield _Teller(settings)
        finally:
            _ours.pop()


def _state_path(settings: Settings) -> Path:
    return settings.artifacts_dir / "rebuild.json"
