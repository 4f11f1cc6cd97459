"""Identity's own macros and model, rendered as dbt would and run on DuckDB, against scipy's
connected components."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

PROJECT = Path(__file__).parents[2] / "dbt_project"
MACROS = ("connected_components", "resolve_identity", "matching", "keys", "time")
PEOPLE = PROJECT / "models" / "intermediate" / "identity" / "int_identity__people.sql"
MACRO = re.compile(r"\{%-? macro (?P<name>\w+)\(.*?\{%-? endmacro -?%\}", re.DOTALL)
LIMIT = 4

Edge = tuple[int, int]


class This(str):
    """dbt's `this`: prints as the table, knows its schema."""

    schema = "main"


class Returned(Exception):
    """What a macro gives back, in place of its text."""


def give_back(value: Any) -> None:
    raise Returned(value)


def returning(bodies: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """The macro of this name, ended by its first `return` as dbt's are."""

    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return bodies[name](*arguments, **named)
        except Returned as returned:
            return returned.args[0]

    return called


class Dbt:
    """As much of dbt as these templates use, on an open connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        connection.execute("create schema if not exists intermediate")
        self.is_incremental = False
        environment = Environment(extensions=["jinja2.ext.do"])
        environment.globals.update(
            {
                "execute": True,
                "this": This("int_identity__people"),
                "ref": lambda name: name,
                "var": lambda name: "",
                "return": give_back,
                "config": lambda **_: "",
                "run_query": self.run_query,
                # Nothing is trained here: the tables of matching do not exist.
                "source": lambda schema, table: f"{schema}.{table}",
                "load_relation": self.load_relation,
                "should_full_refresh": lambda: False,
                "adapter": SimpleNamespace(dispatch=self.dispatch),
            }
        )
        text = "".join((PROJECT / "macros" / f"{name}.sql").read_text() for name in MACROS)
        # Each in a template of its own, so that one that gives back early ends alone; they find each
        # other by name.
        sources = {found["name"]: found[0] for found in MACRO.finditer(text)}
        bodies: dict[str, Callable[..., Any]] = {}
        environment.globals.update({name: returning(bodies, name) for name in sources})
        for name, source in sources.items():
            bodies[name] = getattr(environment.from_string(source).module, name)
        self.macros: Any = SimpleNamespace(**{name: environment.globals[name] for name in sources})
        self.environment = environment

    def load_relation(self, relation: str) -> str | None:
        return relation if self.is_incremental and isinstance(relation, This) else None

    def dispatch(self, name: str) -> Any:
        return getattr(self.macros, f"default__{name}")

    def run_query(self, sql: str) -> Any:
        """Runs the statement; the result's columns as agate gives them."""
        found = self.connection.execute(sql)
        rows = found.fetchall() if found.description else []
        width = len(found.description or [])
        columns = [
            SimpleNamespace(values=lambda index=index: [row[index] for row in rows])
            for index in range(width)
        ]
        return SimpleNamespace(columns=columns)

    def resolve(self, changed: Iterable[tuple[int, bool]] | None) -> dict[int, str]:
        """Run the model as dbt does, over everything or over `changed`; who is whom afterwards."""
        self.is_incremental = changed is not None
        self.connection.execute(
            "create or replace table int_batch__changed_records (record_key ubigint, is_changed boolean)"
        )
        fill(self.connection, "int_batch__changed_records", list(changed or ()))
        self.macros.resolve_identity()
        select = self.environment.from_string(PEOPLE.read_text()).render()
        if not self.is_incremental:
            self.connection.execute(f"create or replace table int_identity__people as {select}")
        else:
            self.connection.execute(f"create or replace temp table came as {select}")
            self.connection.execute(
                "delete from int_identity__people where record_key in (select record_key from came)"
            )
            self.connection.execute("insert into int_identity__people from came")
        rows = self.connection.execute(
            "select record_key, person_id from int_identity__people"
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


def solve(dbt: Dbt, nodes: list[int], edges: list[Edge]) -> dict[int, int]:
    """The macro's answer: the root of each node."""
    dbt.connection.execute(
        "create or replace table nodes as select unnest(?::ubigint[]) as node", [nodes]
    )
    dbt.connection.execute(
        "create or replace table edges as select unnest(?::ubigint[]) as a, unnest(?::ubigint[]) as b",
        [[a for a, _ in edges], [b for _, b in edges]],
    )
    dbt.macros.solve_components("select node from nodes", "select a, b from edges", "solved")
    return dict(dbt.connection.execute("select node, root from solved").fetchall())


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[Edge]]:
    size = draw(st.integers(1, 60))
    # Keys are hashes: their order says nothing about who is linked to whom.
    nodes = draw(st.lists(st.integers(0, 2**64 - 1), min_size=size, max_size=size, unique=True))
    node = st.sampled_from(nodes)
    return nodes, draw(st.lists(st.tuples(node, node), max_size=80))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(graph=graphs())
def test_components_are_those_of_scipy_named_by_their_smallest_node(
    dbt: Dbt, graph: tuple[list[int], list[Edge]]
) -> None:
    nodes, edges = graph
    roots = solve(dbt, nodes, edges)
    assert partition(roots) == scipy_partition(nodes, edges)
    for group in partition(roots):
        assert {roots[node] for node in group} == {min(group)}


@pytest.mark.parametrize("order", ["ascending", "descending", "zigzag", "shuffled"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_chain_of_thousands_is_one_component(dbt: Dbt, order: str, closed: bool) -> None:
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
    roots = solve(dbt, list(range(size + 1)), edges)
    assert set(map(roots.__getitem__, chain)) == {0}
    assert roots[size] == size


# record -> identifiers it carries from now on
Change = dict[int, set[int]]


def carry(dbt: Dbt, carried: dict[int, set[int]]) -> None:
    """Write the identifiers and records tables as their models would leave them."""
    dbt.connection.execute(
        "create or replace table int_identity__identifiers "
        "(record_key ubigint, identifier_key ubigint, max_records bigint, is_linking boolean)"
    )
    fill(
        dbt.connection,
        "int_identity__identifiers",
        # Identifier 0 is a shared mailbox: it may carry touchpoints, never identity.
        [(record, key, LIMIT, key != 0) for record, keys in carried.items() for key in keys],
    )
    dbt.connection.execute(
        "create or replace table int_identity__records (record_key ubigint, system varchar, "
        "record_type varchar, record_id varchar, first_received_at timestamptz)"
    )
    fill(
        dbt.connection,
        "int_identity__records",
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
        former = holders(carried)
        neighbours = {
            record
            for changed in batch
            for key in carried.get(changed, set()) - {0}
            for record in former[key]
        }
        carried |= batch
        carry(dbt, carried)
        changed = [(record, record in batch) for record in neighbours | batch.keys()]
        in_batches = dbt.resolve(changed if number else None)
        assert partition(in_batches) == expected_people(carried)
    assert dbt.resolve(None) == in_batches
