"""The ledger against scores without one: equal at any instant for everybody, and what it costs in full, in a batch, and to ask."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import worlds
from benchmarks.arriving import Arriving
from benchmarks.measure import Kernel, Measurement, compare, seconds_of
from benchmarks.plain_scores import one_pass
from benchmarks.rebuilding import rebuild

INSTANTS = 12
BATCHES = 3
BATCH = 1_000
# Sums of the same decayed points in another order, of people with thousands of activities.
TOLERANCE = 1e-6

_TABLES = ("fct_score_ledger", "fct_scores")


def run(size: int, folder: Path) -> list[Measurement]:
    """A world of `size` events rebuilt; asked at instants over all of its time, then batches into it, then asked again."""
    rebuilt = rebuild(worlds.world_of(size), folder)
    told = f"{size:,} events"
    full = sum(node.seconds for node in rebuilt.transformed.nodes if node.name in _TABLES)
    with _open(rebuilt.settings, folder) as warehouse:
        asked = warehouse.compare_instants(f"{told}: scores at an instant, of everybody")
        floor = warehouse.plainly(worlds.AS_OF) + warehouse.writing()
    in_full = Measurement(
        f"{told}: ledger and scores in full", size, "events", full, floor, full / floor
    )
    return [in_full, asked, _batches(rebuilt.settings, folder, told)]


def _batches(settings: Any, folder: Path, told: str) -> Measurement:
    """Ours: what dbt took for both tables, after a batch; floor: the scores of whoever was in it taken out and put in again by plain SQL."""
    arriving = Arriving(settings)
    ours, floors, ledgers = [], [], []
    for number in range(BATCHES + 1):
        _, done = arriving.batch(BATCH, "everything")
        seconds = {node.name: node.seconds for node in done.nodes}
        with _open(settings, folder) as warehouse:
            floor = warehouse.touched_again(arriving.now)
        # The first warms up.
        if number:
            ours.append(sum(seconds[name] for name in _TABLES))
            floors.append(floor)
            ledgers.append(seconds["fct_score_ledger"])
    with _open(settings, folder) as warehouse:
        difference = warehouse.difference_at(arriving.now)
    return compare(
        f"{told}: ledger and scores after {BATCH:,} form submits",
        BATCH,
        "events",
        ours,
        floors,
        seconds=f"{median(ours):.2f} of {median(floors):.2f}, the ledger alone {median(ledgers):.2f}",
        difference=f"{difference:.0e}",
    )


class _open:
    """The warehouse with a file beside it for the floors, while the block goes on."""

    def __init__(self, settings: Any, folder: Path) -> None:
        self._settings = settings
        self._path = folder / "floor.duckdb"

    def __enter__(self) -> _Warehouse:
        from ingestion.landing.warehouse import connect

        self._connection = connect(self._settings)
        self._connection.execute("set enable_progress_bar = false")
        self._connection.execute(f"attach '{self._path}' as floor")
        return _Warehouse(self._connection)

    def __exit__(self, *_: object) -> None:
        self._connection.execute("detach floor")
        self._connection.close()
        self._path.unlink(missing_ok=True)


class _Warehouse:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def compare_instants(self, case: str) -> Measurement:
        """Ours: the sum of the ledger; floor: the same scores from the activities. Both of everybody, at each of the instants."""
        connection = self._connection
        [(first, last)] = connection.execute(
            "select min(occurred_at), max(occurred_at) from marts.fct_activities"
        ).fetchall()
        step = (last - first) / (INSTANTS - 1)
        ours, floors, scores, worst = [], [], 0, 0.0
        for number in range(INSTANTS):
            instant = first + number * step
            ours.append(self._summed(instant))
            floors.append(self.plainly(instant))
            count, difference = self._compared()
            scores, worst = scores + count, max(worst, difference)
        return compare(
            case,
            scores // INSTANTS,
            "scores",
            ours,
            floors,
            instants=str(INSTANTS),
            scores_compared=f"{scores:,}",
            largest_difference=f"{worst:.0e}",
        )

    def difference_at(self, instant: datetime) -> float:
        """The largest difference between both, of everybody."""
        self._summed(instant)
        self.plainly(instant)
        return self._compared()[1]

    def _summed(self, instant: datetime) -> float:
        from orchestration.ledger_sums import ledger_sums

        at = f"timestamptz '{instant.isoformat()}'"
        counted = f"from marts.fct_score_ledger where occurred_at <= {at} and coalesce(withheld_at > {at}, true)"
        sums = ledger_sums("counted", at)
        return self._made(
            "summed", f"with counted as ({counted}), {sums} select person_id, total from summed"
        )

    def plainly(self, instant: datetime) -> float:
        """Seconds of one pass over the activities."""
        return self._made("plain", one_pass(self._connection, instant))

    def _made(self, name: str, query: str) -> float:
        self._connection.execute(f"drop table if exists floor.{name}")
        return seconds_of(lambda: self._connection.execute(f"create table floor.{name} as {query}"))

    def _compared(self) -> tuple[int, float]:
        """(people, largest difference); who has no entry has no score, and by one pass none but nought."""
        [(count, worst)] = self._connection.execute(
            "select count(*), max(abs(coalesce(summed.total, 0) - coalesce(plain.total_score, 0)))"
            " from floor.summed full join floor.plain using (person_id)"
        ).fetchall()
        if not worst < TOLERANCE:
            raise AssertionError(f"the ledger's sum differs from the scores by {worst}")
        return int(count), float(worst)

    def writing(self) -> float:
        """Seconds of writing both finished tables once."""
        return sum(self._made(f"copy_{name}", f"from marts.{name}") for name in _TABLES)

    def touched_again(self, now: datetime) -> float:
        """Seconds of deleting and inserting the scores of those whose latest activity is of the last batch."""
        connection = self._connection
        self.plainly(now)
        connection.execute(
            "create or replace temp table touched as select distinct person_id from marts.fct_activities"
            f" where occurred_at > timestamptz '{(now - timedelta(seconds=30)).isoformat()}'"
        )
        whom = "person_id in (select person_id from touched)"
        query = one_pass(connection, now, whom)

        def again() -> None:
            connection.execute("begin")
            connection.execute(f"delete from floor.plain where {whom}")
            connection.execute(f"insert into floor.plain {query}")
            connection.execute("commit")

        return seconds_of(again)


KERNEL = Kernel(
    name="scores",
    measures="The score ledger and the scores: made in full, after a batch, and asked for at instants over the whole history; equal to scores without a ledger for everybody.",
    floor="One plain SQL pass over the activities, with no ledger; in full with writing both tables, after a batch for whoever was in it.",
    size_unit="events",
    default_size=1_000_000,
    run=run,
)
