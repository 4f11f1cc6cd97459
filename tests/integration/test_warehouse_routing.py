"""Fair share of leads by weight, in the model's own SQL on hand-made tables; scores and identity
are not at issue."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.landing import warehouse as files
from models.routing.fair_share import fair_turns

POOLS = {
    "dach": [1.0, 1.0, 1.0],
    "emea": [1.0, 1.0, 0.5, 0.25],
    "americas": [10.0] + [1.0] * 10,
    "apac": [0.3, 0.7, 1.1, 2.9],
}
COUNTRIES = {"dach": "DE", "emea": "GB", "americas": "US", "apac": "SG"}
LEADS = 2_000

# person_id, rep_id, territory, in the order of the leads
Assignment = tuple[str, str, str]


@dataclass(frozen=True)
class Router:
    """The compiled model on tables of so many leads."""

    warehouse: Any
    sql: str

    def assign(
        self, leads: int, erased: Collection[int] = (), *, turns: bool = True
    ) -> list[Assignment]:
        """Assignments when the first `leads` leads are known, and those of the numbers in `erased` are people no more, with or without their
        turns."""
        connection = files.connect(self.warehouse.settings)
        try:
            connection.create_function(
                "fair_turns", fair_turns, ["DOUBLE[]", "BIGINT", "BIGINT[]"], "BIGINT[]"
            )
            connection.execute(
                "create or replace view marts.fct_mqls as select * from marts.all_mqls "
                f"where number <= {leads} and number not in ({', '.join(map(str, erased)) or 0})"
            )
            connection.execute("delete from staging.stg_events__erased_turns")
            if turns and erased:
                # Between the leads that stood beside them.
                connection.execute(
                    "insert into staging.stg_events__erased_turns select printf('p%05d', number - 1) || 'x', country, reached_at, known_at "
                    f"from marts.all_mqls join marts.dim_people using (person_id) where number in ({', '.join(map(str, erased))})"
                )
            rows = connection.execute(
                f"select person_id, rep_id, territory from ({self.sql}) order by assigned_at, person_id"
            ).fetchall()
            return [(str(person), str(rep), str(territory)) for person, rep, territory in rows]
        finally:
            connection.close()


@pytest.fixture(scope="module")
def router(open_warehouse: Callable[..., Any]) -> Router:
    from orchestration import transform

    warehouse = open_warehouse()
    warehouse.land()
    connection = files.connect(warehouse.settings)
    try:
        connection.execute("create schema marts")
        connection.execute("create schema staging")
        connection.execute(
            "create table staging.stg_events__erased_turns (lead_id varchar, country varchar, reached_at timestamptz, known_at timestamptz)"
        )
        countries = ", ".join(f"'{country}'" for country in COUNTRIES.values())
        connection.execute(
            f"""
            create table marts.all_mqls as
            select number, 'mql' || number as mql_id, printf('p%05d', number) as person_id, null::varchar as account_id,
                'B' as grade, 'v1' as scoring_version, 1 as crossing_number,
                timestamptz '2026-01-01 00:00:00+00' + to_minutes(number // 5) as reached_at,
                timestamptz '2026-01-02 00:00:00+00' + to_minutes(number // 5) as known_at
            from range(1, {LEADS + 1}) as numbers (number)
            """
        )
        connection.execute(
            f"""
            create table marts.dim_people as
            select person_id, [{countries}][1 + number * 7919 % 4] as country from marts.all_mqls
            """
        )
        connection.execute(
            "create table marts.dim_reps (rep_id varchar, name varchar, email varchar, territories varchar, "
            "weight double, is_active boolean)"
        )
        for territory, weights in POOLS.items():
            for number, weight in enumerate(weights):
                rep = f"{territory}{number}"
                connection.execute(
                    "insert into marts.dim_reps values (?, ?, ?, ?, ?, true)",
                    [rep, rep, f"{rep}@handoff.example.org", json.dumps([territory]), weight],
                )
    finally:
        connection.close()
    parsed = transform.manifest(warehouse.settings)
    from dbt.cli.main import dbtRunner

    arguments = ["--quiet", "--no-write-json", "compile", "--select", "fct_assignments"]
    compiled = dbtRunner(manifest=parsed).invoke(
        [*arguments, "--vars", f"{{as_of: '{datetime(2026, 3, 1, tzinfo=UTC).isoformat()}'}}"]
    )
    transform._let_go_of_the_file()
    assert compiled.success, compiled.exception
    sql: str = compiled.result.results[0].node.compiled_code  # type: ignore[union-attr, assignment]
    return Router(warehouse, sql)


def by_pool(assignments: list[Assignment]) -> dict[str, list[str]]:
    """The reps of each pool's leads, one after the other."""
    found: dict[str, list[str]] = defaultdict(list)
    for _, rep, territory in assignments:
        found[territory].append(rep)
    return found


def test_every_rep_has_had_its_share_to_one_lead_after_every_lead(router: Router) -> None:
    pools = by_pool(router.assign(LEADS))
    assert pools.keys() == POOLS.keys()
    for territory, reps in pools.items():
        weights = {f"{territory}{number}": weight for number, weight in enumerate(POOLS[territory])}
        had: Counter[str] = Counter()
        assert len(reps) >= LEADS // 5
        for turn, rep in enumerate(reps, start=1):
            had[rep] += 1
            for member, weight in weights.items():
                share = turn * weight / sum(weights.values())
                assert abs(had[member] - share) <= 1 + 1e-9, (territory, turn, member)


def test_leads_that_come_one_by_one_get_the_reps_they_get_in_bulk(router: Router) -> None:
    bulk = router.assign(LEADS)
    assert len(bulk) == LEADS
    for known in [*range(1, 40), 41, 377, 1_000, 1_999]:
        assert router.assign(known) == bulk[:known], known


def test_whoever_is_erased_the_others_keep_their_reps(router: Router) -> None:
    before = router.assign(LEADS)
    # Five leads become known at one instant each: of some of them one goes, of others all.
    erased = [1, 7, 12, 500, *range(1_000, 1_010), 1_999, LEADS]
    gone = {f"p{number:05}" for number in erased}
    others = [lead for lead in before if lead[0] not in gone]
    assert router.assign(LEADS, erased) == others
    # The control: without their turns somebody gets another rep.
    assert router.assign(LEADS, erased, turns=False) != others
