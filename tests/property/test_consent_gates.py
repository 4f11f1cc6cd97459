"""For any order of yeses, noes, merges, unmerges and pushes, no push follows an earlier no: the models' own SQL against an oracle that walks
through what was said."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.landing.warehouse import connect

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RECORDS = 4
NO = ("denied", "withdrawn")

SAY = st.tuples(
    st.just("say"),
    st.integers(0, RECORDS - 1),
    st.sampled_from(["email", "email", "all"]),
    st.sampled_from(["granted", "granted", "denied", "withdrawn", "pending"]),
)
JOIN = st.tuples(
    st.sampled_from(["merge", "merge", "unmerge"]),
    st.integers(0, RECORDS - 1),
    st.integers(0, RECORDS - 1),
)
STEPS = st.lists(st.one_of(SAY, SAY, JOIN, st.just(("push",))), min_size=2, max_size=25)
Step = tuple[Any, ...]


def people(edges: set[tuple[int, int]]) -> dict[int, int]:
    """Whose each record is: the smallest record it hangs together with."""
    owner = {record: record for record in range(RECORDS)}
    for _ in range(RECORDS):
        for one, other in edges:
            owner[one] = owner[other] = min(owner[one], owner[other])
    return owner


class Gate:
    """fct_consents and int_consents__destinations as compiled, run on what was said so far."""

    def __init__(self, connection: Any, compiled: Path) -> None:
        self.connection = connection
        marts = compiled / "marts" / "fct_consents.sql"
        self.consents = marts.read_text()
        gate = compiled / "intermediate" / "sync" / "int_consents__destinations.sql"
        self.destinations = gate.read_text()

    def allowed(
        self, said: list[tuple[int, str, str, int]], joins: list[tuple[str, int, int, int]], at: int
    ) -> set[int]:
        """Whom the gate lets through at this step."""
        edges: dict[tuple[int, int], tuple[str, int]] = {}
        for kind, one, other, step in joins:
            edges[min(one, other), max(one, other)] = (kind, step)
        owner = people({pair for pair, (kind, _) in edges.items() if kind == "merge"})
        run = self.connection.execute
        run("begin")
        try:
            for table in (
                "marts.entity_map", "marts.fct_consents", "marts.dim_people", "intermediate.int_consents__versions",
                "intermediate.int_identity__identifiers", "intermediate.int_identity__people",
                "intermediate.int_identity__merges_unioned", "intermediate.int_contacts__versions",
            ):  # fmt: skip
                run(f"delete from {table}")
            for record, person in owner.items():
                run(
                    "insert into marts.entity_map (record_key, system, record_type, record_id, person_id, is_current) values (?, 'web', 'contact', ?, ?, true)",
                    [record, str(record), str(person)],
                )
            for person in set(owner.values()):
                run("insert into marts.dim_people (person_id) values (?)", [str(person)])
            for number, (record, channel, status, step) in enumerate(said):
                run(
                    "insert into intermediate.int_consents__versions (consent_record_id, record_key, system, record_type, record_id, channel, "
                    "purpose, lawful_basis, status, is_gpc, is_inferred, occurred_at, received_at, load_id) "
                    "values (?, ?, 'web', 'contact', ?, ?, 'marketing', 'consent', ?, false, false, ?, ?, '1')",
                    [f"c{number:03}", record, str(record), channel, status, START + step * HOUR, START + step * HOUR],
                )  # fmt: skip
            for seq, (kind, one, other, step) in enumerate(joins):
                run(
                    "insert into intermediate.int_identity__merges_unioned (system, surviving_id, merged_id, surviving_key, merged_key, "
                    "is_unmerge, occurred_at, received_at, seq, load_id) values ('web', ?, ?, ?, ?, ?, ?, ?, ?, '1')",
                    [str(one), str(other), one, other, kind == "unmerge", START + step * HOUR, START + step * HOUR, seq],
                )  # fmt: skip
            as_of = f"cast('{(START + at * HOUR).isoformat()}' as timestamptz)"
            sql = re.sub(r"cast\('[0-9T:.+-]+' as timestamptz\)", as_of, self.consents)
            run(f"insert into marts.fct_consents by name {sql}")
            return {
                int(person)
                for person, is_consented in run(
                    f"select person_id, is_consented from ({self.destinations}) where destination = 'salesforce'"
                ).fetchall()
                if is_consented
            }
        finally:
            run("rollback")


def refused(
    said: list[tuple[int, str, str, int]], joins: list[tuple[str, int, int, int]]
) -> set[int]:
    """People with a no that nobody who could has taken back, told step by step."""
    edges: dict[tuple[int, int], tuple[str, int]] = {}
    for kind, one, other, step in joins:
        edges[min(one, other), max(one, other)] = (kind, step)
    standing = {pair: step for pair, (kind, step) in edges.items() if kind == "merge"}
    owner = people(set(standing))
    found = set()
    for place, (record, channel, status, _) in enumerate(said):
        if status not in NO:
            continue
        is_lifted = False
        for other, other_channel, other_status, later in said[place + 1 :]:
            if other_channel != channel or owner[other] != owner[record]:
                continue
            if other == record:
                is_lifted = is_lifted or other_status != "pending"
            elif other_status == "granted":
                # Known to be one by then: by the merges that had been made and still stand.
                by_then = people({pair for pair, step in standing.items() if step <= later})
                is_lifted = is_lifted or by_then[other] == by_then[record]
        if not is_lifted:
            found.add(owner[record])
    return found


def wrongly_pushed(gate: Gate, steps: list[Step]) -> list[str]:
    """Pushes of the walk that follow a no."""
    said: list[tuple[int, str, str, int]] = []
    joins: list[tuple[str, int, int, int]] = []
    wrong = []
    for number, step in enumerate([*steps, ("push",)]):
        if step[0] == "say":
            said.append((*step[1:], number))
        elif step[0] in ("merge", "unmerge"):
            if step[1] != step[2]:
                joins.append((*step, number))
        else:
            # A record nobody merged with: to be told nothing is to be asked nothing.
            through = gate.allowed(said, joins, number) & refused(said, joins)
            wrong += [f"{person} at step {number}" for person in through]
    return wrong


@pytest.fixture(scope="module")
def gate(open_warehouse: Callable[..., Any]) -> Any:
    """The gate of a warehouse that was made once."""
    warehouse = open_warehouse()
    consent = {"system": "web", "contact_id": "1", "channel": "email", "lawful_basis": "consent", "status": "granted"}  # fmt: skip
    warehouse.append([warehouse.event("consent", consent, START)])
    warehouse.transform(START + HOUR)
    compiled = warehouse.settings.artifacts_dir / "dbt" / "compiled" / "handoff" / "models"
    with contextlib.closing(connect(warehouse.settings)) as connection:
        yield Gate(connection, compiled)


def examples(check: Callable[[list[Step]], None], count: int) -> None:
    """Runs `check` on walks, the same ones every time."""
    settings(
        max_examples=count, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )(given(STEPS)(check))()  # fmt: skip


def test_no_push_follows_an_earlier_no(gate: Gate) -> None:
    pushed = 0

    def check(steps: list[Step]) -> None:
        nonlocal pushed
        assert wrongly_pushed(gate, steps) == []
        said = [(*step[1:], number) for number, step in enumerate(steps) if step[0] == "say"]
        pushed += len(gate.allowed(said, [], len(steps)))

    examples(check, 60)
    assert pushed >= 5, "hardly anybody was ever let through"


def test_the_newest_statement_alone_would_not_do(gate: Gate) -> None:
    """The control: let any newer yes of the person lift a no, as MAPs do, and the walk finds it."""
    walk: list[Step] = [
        ("say", 1, "email", "withdrawn"),
        ("say", 0, "email", "granted"),
        ("merge", 0, 1),
        ("push",),
    ]
    assert wrongly_pushed(gate, walk) == []
    kept = gate.consents
    assert "where joined_at <= granted_at" in kept
    gate.consents = kept.replace("where joined_at <= granted_at", "where true")
    try:
        assert wrongly_pushed(gate, walk) == ["0 at step 3", "0 at step 4"]
    finally:
        gate.consents = kept
    # And a yes after the merge is one.
    said = [(1, "email", "withdrawn", 0), (0, "email", "granted", 2)]
    assert gate.allowed(said, [("merge", 0, 1, 1)], 3) == {0}
