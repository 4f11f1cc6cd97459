"""A landing killed at any file mutation or SQL statement, then run again, lands every event
exactly once.

Run as a script this file is the process that dies: `python test_landing_crash.py HOME SAMPLES
[control]` kills a landing at sampled points, each in a child of its own, and prints what was found
after the next landing as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EVENTS, LATER_EVENTS = 120, 90
BULK_SLICE = 17
MUTATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.rmtree"}


def test_a_landing_killed_at_any_point_neither_loses_nor_doubles_nor_wedges(tmp_path: Path) -> None:
    found = kill_at_points(tmp_path, samples=8)
    assert found["points"] > 40, "too few mutations seen for this to prove anything"
    assert found["killed"] >= 8
    assert found["failures"] == []


def test_the_harness_catches_cursors_that_count_a_load_that_died(tmp_path: Path) -> None:
    found = kill_at_points(tmp_path, samples=0, control=True)
    assert found["failures"], "cursors that count a load that died must lose events"


def kill_at_points(home: Path, samples: int, control: bool = False) -> dict[str, Any]:
    arguments = [
        sys.executable,
        __file__,
        str(home),
        str(samples),
        *(["control"] if control else []),
    ]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def event(number: int) -> dict[str, Any]:
    record = ("contact", "account", "activity")[number % 3]
    data: dict[str, Any] = {"system": "web"}
    data["activity_id" if record == "activity" else "record_id"] = str(number)
    if record == "activity":
        data["activity_type"] = "page_view"
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "urn:test",
        "type": f"com.handoff.{record}",
        "subject": f"{record}/web/{number}",
        "time": "2026-04-01T08:30:00Z",
        "data": data,
    }


def in_child(work: Any) -> int:
    """Exit status of `work` in a forked child; this process itself never opens DuckDB."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work() or 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Countdown:
    """Counts mutations and, at the chosen one, ends the process as kill -9 would."""

    def __init__(self, kill_at: int | None, sql_only: bool) -> None:
        self.kill_at = kill_at
        self.sql_only = sql_only
        self.seen: list[str] = []
        self.active = True

    def step(self, name: str, is_sql: bool) -> None:
        if not self.active or (self.sql_only and not is_sql):
            return
        if self.kill_at is not None and len(self.seen) == self.kill_at:
            os._exit(77)
        self.seen.append(name)

    def audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        is_write = (
            name == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        )
        if name in MUTATIONS or is_write:
            self.step(name, is_sql=False)


def greatest_seen(connection: Any) -> dict[str, int]:
    sql = "select max(live_through_seq), max(bulk_through_seq) from raw_events.landings"
    live, bulk = connection.execute(sql).fetchone()
    return {"live": live or 0, "bulk": bulk or 0}


def land(settings: Any, countdown: Countdown | None, control: bool) -> None:
    from dlt.destinations.impl.duckdb import sql_client

    from ingestion.landing import events, warehouse

    if control:
        # Cursors that count loads which died, and nobody who clears these away.
        warehouse.RawSchema.delete_unfinished_rows = lambda self: None  # type: ignore[method-assign]
        events.landed_through = greatest_seen
    if countdown is not None:
        sys.addaudithook(countdown.audit)
        execute = sql_client.DuckDbSqlClient.execute_query

        @contextmanager
        def counted(self: Any, query: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
            countdown.step(f"before {query!s:.60}", is_sql=True)
            with execute(self, query, *arguments, **options) as cursor:
                yield cursor
            countdown.step(f"after {query!s:.60}", is_sql=True)

        sql_client.DuckDbSqlClient.execute_query = counted
    # A slice of the bulk lane, not all of it: a landing that dies must find both cursors again.
    events.land_events(settings, bulk_limit=None if countdown is None else BULK_SLICE)
    if countdown is not None:
        countdown.active = False


def differences(settings: Any) -> list[str]:
    """What the warehouse has too much or too little of, against the log."""
    from ingestion.landing import warehouse

    connection = warehouse.connect(settings)
    seqs: list[int] = []
    for table in ("contacts", "accounts", "activities"):
        completed = "select load_id from raw_events._dlt_loads where status = 0"
        sql = f"select seq from raw_events.{table} where _dlt_load_id in ({completed})"
        seqs += [row[0] for row in connection.execute(sql).fetchall()]
    connection.close()
    wanted = EVENTS + LATER_EVENTS
    missing = len(set(range(1, wanted + 1)) - set(seqs))
    doubled = len(seqs) - len(set(seqs))
    return [f"{missing} missing, {doubled} doubled"] if missing or doubled else []


def drive(home: Path, samples: int, control: bool) -> dict[str, Any]:
    # Imported once here, so that every child starts warm.
    import dlt  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from dlt.common.libs import pyarrow as dlt_pyarrow  # noqa: F401
    from dlt.destinations.impl.duckdb import duck, factory  # noqa: F401
    from dlt.load import Load  # noqa: F401
    from dlt.normalize import Normalize  # noqa: F401

    from ingestion.landing import events, warehouse  # noqa: F401
    from ingestion.log.owner import open_log
    from ingestion.settings import Settings

    base = home / "base"

    def fill(first: int, count: int) -> int:
        log = open_log(Settings(home=base))
        # Every third submission is bulk: both lanes are in each load, and neither in one stretch.
        for start in range(first, first + count, 10):
            sent = [event(number) for number in range(start, start + 10)]
            log.append(sent, lane="bulk" if start % 30 == 0 else "live")
        log.close()
        return 0

    def landed(settings: Any) -> int:
        land(settings, None, control=False)
        return 0

    assert in_child(lambda: fill(0, EVENTS)) == 0
    assert in_child(lambda: landed(Settings(home=base))) == 0
    assert in_child(lambda: fill(EVENTS, LATER_EVENTS)) == 0

    def trial(kill_at: int | None) -> tuple[int, Path, int]:
        place = home / "trial"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place)
        counted = home / "counted.json"

        def dying() -> int:
            countdown = Countdown(kill_at, sql_only=control)
            land(Settings(home=place), countdown, control)
            counted.write_text(json.dumps(len(countdown.seen)))
            return 0

        status = in_child(dying)
        return status, place, json.loads(counted.read_text()) if status == 0 else 0

    status, _, points = trial(None)
    assert status == 0, "the landing fails without being killed"
    # The control takes every statement, as only those between two tables can do harm.
    step = max(1, points // samples) if samples else 1
    failures: list[str] = []
    killed = 0
    for kill_at in range(points // 3 if control else 0, points, step):
        status, place, _ = trial(kill_at)
        killed += status == 77
        settings = Settings(home=place)

        def again(settings: Any = settings) -> int:
            # Twice: a wedge shows on the landing after the one that repairs.
            land(settings, None, control)
            land(settings, None, control)
            (home / "found.json").write_text(json.dumps(differences(settings)))
            return 0

        if in_child(again):
            failures.append(f"point {kill_at}: wedged")
            continue
        failures += [
            f"point {kill_at}: {what}" for what in json.loads((home / "found.json").read_text())
        ]
        if control and failures:
            break
    return {"points": points, "killed": killed, "failures": failures}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(drive(Path(sys.argv[1]), int(sys.argv[2]), "control" in sys.argv[3:])))
