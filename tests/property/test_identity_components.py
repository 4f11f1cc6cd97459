"""Identity's own macros and model, rendered as dbt would and run on DuckDB, against scipy's
connected components."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tests.property.dbt_models import Models
from tests.property.people_split import assert_split_right

LIMIT = 4

START = "2026-01-01 00:00:00+00"

Edge = tuple[int, int]
# Two records, and whether they are held apart (else an earlier word to that effect is taken back).
Directive = tuple[int, int, bool]


class Dbt:
    """Who is whom, resolved by the project's own model on an open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.models = Models(connection)
        connection.execute(
            "create table raw_policies.identity_identifiers as select true as is_active, * from "
            "(values ('external_id', 1, null), ('email', 2, cast(null as bigint))) as told (identifier_type, priority, max_per_person)"
        )

    def resolve(self, changed: Iterable[tuple[int, bool]] | None) -> dict[int, str]:
        """Run the model over everything or over `changed`; who is whom afterwards."""
        table = "intermediate.int_batch__changed_records"
        self.connection.execute(
            f"create or replace table {table} (record_key ubigint, is_changed boolean)"
        )
        fill(self.connection, table, list(changed or ()))
        self.models.run(["int_identity__people"], full_refresh=changed is None)
        rows = self.connection.execute(
            "select record_key, person_id from intermediate.int_identity__people"
        ).fetchall()
        assert len(rows) == len(dict(rows)), "a record belongs to two people"
        return dict(rows)


def fill(connection: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows at once; one by one takes longer than solving."""
    if rows:
        marks = ", ".join(["(" + ", ".join("?" * len(rows[0])) + ")"] * len(rows))
        connection.execute(
            f"insert into {table} values {marks}", [value for row in rows for value in row]
        )


@pytest.fixture(scope="module")
def dbt() -> Iterator[Dbt]:
    connection = duckdb.connect(config={"threads": 1})
    yield Dbt(connection)
    connection.close()


def partition(labels: dict[int, Any]) -> set[frozenset[int]]:
    """Which nodes are together, whatever their group is called."""
    groups: dict[Any, set[int]] = defaultdict(set)
    for node, label in labels.items():
        groups[label].add(node)
    return {frozenset(group) for group in groups.values()}


def scipy_partition(nodes: list[int], edges: list[Edge]) -> set[frozenset[int]]:
    """The oracle."""
    index = {node: number for number, node in enumerate(nodes)}
    rows = [index[a] for a, _ in edges]
    columns = [index[b] for _, b in edges]
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(nodes), len(nodes)))
    labels = connected_components(graph, directed=False)[1]
    return partition({node: int(labels[number]) for node, number in index.items()})


WAYS = {"in memory": "1000000", "in SQL": "0"}


def solve(dbt: Dbt, nodes: list[int], edges: list[Edge], way: str) -> dict[int, int]:
    """The macro's answer: the root of each node."""
    dbt.models.variables["components_in_memory"] = WAYS[way]
    dbt.connection.execute(
        "create or replace table nodes as select unnest(?::ubigint[]) as node", [nodes]
    )
    dbt.connection.execute(
        "create or replace table edges as select unnest(?::ubigint[]) as a, unnest(?::ubigint[]) as b",
        [[a for a, _ in edges], [b for _, b in edges]],
    )
    dbt.models.macros["solve_components"](
        "select node from nodes", "select a, b from edges", "solved"
    )
    return dict(dbt.connection.execute("select node, root from solved").fetchall())


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[Edge]]:
    size = draw(st.integers(1, 60))
    # Keys are hashes: their order says nothing about who is linked to whom.
    nodes = draw(st.lists(st.integers(0, 2**64 - 1), min_size=size, max_size=size, unique=True))
    node = st.sampled_from(nodes)
    return nodes, draw(st.lists(st.tuples(node, node), max_size=80))


@pytest.mark.parametrize("way", WAYS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(graph=graphs())
def test_components_are_those_of_scipy_named_by_their_smallest_node(
    dbt: Dbt, way: str, graph: tuple[list[int], list[Edge]]
) -> None:
    nodes, edges = graph
    roots = solve(dbt, nodes, edges, way)
    assert partition(roots) == scipy_partition(nodes, edges)
    for group in partition(roots):
        assert {roots[node] for node in group} == {min(group)}


@pytest.mark.parametrize("order", ["ascending", "descending", "zigzag", "shuffled"])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_chain_of_thousands_is_one_component(
    dbt: Dbt, way: str, order: str, closed: bool
) -> None:
    size = 4_000
    chain = list(range(size))
    if order == "descending":
        chain.reverse()
    elif order == "zigzag":
        chain = [number // 2 if number % 2 else size - 1 - number // 2 for number in range(size)]
    elif order == "shuffled":
        random.Random(5).shuffle(chain)
    edges = list(pairwise(chain))
    if closed:
        edges.append((chain[-1], chain[0]))
    roots = solve(dbt, list(range(size + 1)), edges, way)
    assert set(map(roots.__getitem__, chain)) == {0}
    assert roots[size] == size


@pytest.mark.parametrize("way", WAYS)
def test_who_is_not_asked_for_links_all_the_same_and_is_not_told_of(dbt: Dbt, way: str) -> None:
    assert solve(dbt, [5, 7, 9], [(5, 3), (3, 7), (9, 9)], way) == {5: 3, 7: 3, 9: 9}
    assert solve(dbt, [5], [], way) == {5: 5}


# record -> identifiers it carries from now on
Change = dict[int, set[int]]


def carry(dbt: Dbt, carried: dict[int, set[int]], told: Sequence[Directive] = ()) -> None:
    """Write the identifiers, records and directives as their models would leave them; directives in the
    order they were told."""
    dbt.connection.execute(
        "create or replace table intermediate.int_identity__merges_unioned (system varchar, surviving_id varchar, merged_id varchar, "
        "surviving_key ubigint, merged_key ubigint, is_unmerge boolean, occurred_at timestamptz, received_at timestamptz, seq bigint)"
    )
    fill(
        dbt.connection,
        "intermediate.int_identity__merges_unioned",
        [
            ("handoff", f"web:{one}", f"web:{other}", one, other, is_split, START, START, number)
            for number, (one, other, is_split) in enumerate(told)
        ],
    )
    dbt.connection.execute(
        "create or replace table intermediate.int_identity__identifiers "
        "(record_key ubigint, identifier_key ubigint, identifier_type varchar, max_records bigint, is_linking boolean)"
    )
    fill(
        dbt.connection,
        "intermediate.int_identity__identifiers",
        # Identifier 0 is a shared mailbox: it may carry touchpoints, never identity.
        [
            (record, key, "external_id" if key % 2 else "email", LIMIT, key != 0)
            for record, keys in carried.items()
            for key in keys
        ],
    )
    dbt.connection.execute(
        "create or replace table intermediate.int_identity__records (record_key ubigint, system varchar, "
        "record_type varchar, record_id varchar, first_received_at timestamptz)"
    )
    fill(
        dbt.connection,
        "intermediate.int_identity__records",
        [
            (record, "web", "contact", str(record), f"2026-01-01 00:00:{record % 50:02}+00")
            for record in carried
        ],
    )


def holders(carried: dict[int, set[int]]) -> dict[int, list[int]]:
    """Records by linking identifier."""
    found: dict[int, list[int]] = defaultdict(list)
    for record, keys in carried.items():
        for key in keys - {0}:
            found[key].append(record)
    return found


def expected_people(carried: dict[int, set[int]]) -> set[frozenset[int]]:
    """By scipy, with identifiers over the limit left out."""
    edges = [
        (held[0], other)
        for held in holders(carried).values()
        if len(held) <= LIMIT
        for other in held[1:]
    ]
    return scipy_partition(list(carried), edges)


def touched(carried: dict[int, set[int]], batch: Change) -> list[tuple[int, bool]]:
    """The batch's records, and, as not changed, who shared an identifier with them before it."""
    former = holders(carried)
    neighbours = {
        record
        for changed in batch
        for key in carried.get(changed, set()) - {0}
        for record in former[key]
    }
    return [(record, record in batch) for record in neighbours | batch.keys()]


changes = st.lists(
    st.dictionaries(
        st.integers(1, 25), st.sets(st.integers(0, 12), max_size=3), min_size=1, max_size=8
    ),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=changes)
def test_resolving_what_a_batch_touched_gives_what_resolving_everything_gives(
    dbt: Dbt, batches: list[Change]
) -> None:
    carried: dict[int, set[int]] = {}
    for number, batch in enumerate(batches):
        changed = touched(carried, batch)
        carried |= batch
        carry(dbt, carried)
        in_batches = dbt.resolve(changed if number else None)
        assert partition(in_batches) == expected_people(carried)
    assert dbt.resolve(None) == in_batches


def held_apart(told: Sequence[Directive]) -> set[frozenset[int]]:
    """Pairs whose newest word is a no."""
    newest = {frozenset((one, other)): is_split for one, other, is_split in told}
    return {pair for pair, is_split in newest.items() if is_split and len(pair) == 2}


splits = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12), st.booleans()), max_size=3)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(
        st.tuples(
            st.dictionaries(
                st.integers(1, 12), st.sets(st.integers(0, 9), max_size=3), min_size=1, max_size=6
            ),
            splits,
        ),
        min_size=1,
        max_size=6,
    ),
    most=st.sampled_from([None, 1, 2]),
)
def test_two_that_a_person_split_stay_two_whatever_they_share(
    dbt: Dbt, batches: list[tuple[Change, list[Directive]]], most: int | None
) -> None:
    """And nobody has more addresses than the limit says."""
    carried: dict[int, set[int]] = {}
    told: list[Directive] = []
    limit_addresses(dbt, most)

    def is_too_much(members: frozenset[int]) -> bool:
        linking = {key for key, held in holders(carried).items() if len(held) <= LIMIT}
        keys = set().union(*(carried[record] for record in members)) & linking
        return most is not None and sum(key % 2 == 0 for key in keys) > most

    for number, (batch, said) in enumerate(batches):
        batch = {record: of_one_address(keys) for record, keys in batch.items()}
        named = {record for one, other, _ in said for record in (one, other)}
        batch = {record: carried.get(record, set()) for record in named} | batch
        changed = touched(carried, batch)
        carried |= batch
        told += said
        carry(dbt, carried, told)
        in_batches = dbt.resolve(changed if number else None)
        linking = [held for held in holders(carried).values() if len(held) <= LIMIT]
        assert_split_right(
            partition(in_batches), expected_people(carried), linking, held_apart(told), is_too_much
        )
    assert dbt.resolve(None) == in_batches
    limit_addresses(dbt, None)


def limit_addresses(dbt: Dbt, most: int | None) -> None:
    dbt.connection.execute(
        "update raw_policies.identity_identifiers set max_per_person = ? where identifier_type = 'email'",
        [most],
    )


def of_one_address(keys: set[int]) -> set[int]:
    """Even keys are addresses, of which a record has one."""
    return {key for key in keys if key % 2} | set(sorted(key for key in keys if key % 2 == 0)[:1])


def test_who_would_have_too_many_addresses_is_as_many_people_as_it_takes(dbt: Dbt) -> None:
    """1, 2 and 3 name one number; each has an address of their own, and two are the most."""
    carried = {1: {11, 20}, 2: {11, 22}, 3: {11, 24}}
    carry(dbt, carried)
    limit_addresses(dbt, 2)
    assert partition(dbt.resolve(None)) == {frozenset({1, 2}), frozenset({3})}
    # One of the two loses theirs, and there is room.
    carry(dbt, carried | {1: {11}})
    assert partition(dbt.resolve([(1, True)])) == {frozenset({1, 2, 3})}
    limit_addresses(dbt, None)
    carry(dbt, carried)
    assert partition(dbt.resolve(None)) == {frozenset({1, 2, 3})}, "the control: no limit"


def test_a_split_is_made_where_the_link_is_weakest(dbt: Dbt) -> None:
    """1 and 2 name each other, 3 shares an address with 2: held apart from 1, it is 3 that goes."""
    carried = {1: {11}, 2: {11, 20}, 3: {20}}
    carry(dbt, carried, [(1, 3, True)])
    assert partition(dbt.resolve(None)) == {frozenset({1, 2}), frozenset({3})}
    # Taken back by a later word, told the other way round.
    carry(dbt, carried, [(1, 3, True), (3, 1, False)])
    assert partition(dbt.resolve([(1, True), (3, True)])) == {frozenset({1, 2, 3})}


def test_what_a_split_cut_off_is_one_again_when_the_reason_goes_far_away(dbt: Dbt) -> None:
    """1-2-5 hang together and 3 hangs on 5, but is held apart from 1. Once 1 leaves, 3 is of them, though
    neither 3 nor 5 is in the batch and the two were not one person before it."""
    carried = {1: {11}, 2: {11, 13}, 5: {13, 20}, 3: {20}}
    carry(dbt, carried, [(1, 3, True)])
    assert partition(dbt.resolve(None)) == {frozenset({1, 2, 5}), frozenset({3})}
    carry(dbt, {**carried, 1: set()}, [(1, 3, True)])
    assert partition(dbt.resolve([(1, True), (2, False)])) == {
        frozenset({1}), frozenset({2, 3, 5})
    }  # fmt: skip
