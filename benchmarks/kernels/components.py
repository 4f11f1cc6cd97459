"""Who is one person: the components of the identity graph as the models solve them, against scipy on the same arrays."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory

ROUNDS = 3
NEW_EDGES = 1_000


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` records in small groups as identifiers link them, a batch of new edges into these, and
    one chain of `size` / 5."""
    return [
        *_cases("identity graph", folder / "identity", *_identity_graph(size), with_batch=True),
        *_cases("one chain", folder / "chain", *_chain(size // 5), with_batch=False),
    ]


def _cases(
    case: str, home: Path, nodes: Any, left: Any, right: Any, *, with_batch: bool
) -> list[Measurement]:
    import pyarrow as pa

    from ingestion.landing.warehouse import connect
    from ingestion.settings import Settings
    from orchestration.transform import manifest

    settings = Settings(home=home)
    ends = nodes[left], nodes[right]
    with connect(settings) as connection:
        connection.execute("create schema bench")
        connection.register("node_rows", pa.table({"node": nodes}))
        connection.register("edge_rows", pa.table({"a": ends[0], "b": ends[1]}))
        connection.execute("create table bench.nodes as from node_rows")
        connection.execute("create table bench.edges as from edge_rows")
    manifest(settings)

    ours: list[float] = []
    floor: list[float] = []
    numbered: list[float] = []
    for _ in range(ROUNDS):
        with watch_memory() as peak:
            ours.append(_solve(settings, "select node from bench.nodes", "from bench.edges"))
        floor.append(seconds_of(lambda: _solve_in_scipy(nodes, *ends)))
        numbered.append(seconds_of(lambda: _label_in_scipy(len(nodes), left, right)))
    persons = _require_equal(settings, nodes, left, right)
    measured = [
        compare(
            f"{case}: {len(nodes):,} nodes, {len(left):,} edges",
            len(nodes), "nodes", ours, floor, peak.mb,
            components=f"{persons:,}",
            floor_of_numbered_nodes=f"{median(numbered):.2f} s",
        )
    ]  # fmt: skip
    if with_batch:
        batches, writing, writing_all = _batches(settings, nodes)
        measured.append(
            compare(
                f"{case}: {NEW_EDGES:,} new edges into it, against all of it",
                NEW_EDGES, "edges", batches, ours,
                seconds=f"{median(batches):.3f} of {median(ours):.2f}",
                written_in=f"{median(writing):.2f} s of {writing_all:.2f}",
            )
        )  # fmt: skip
    return measured


def _batches(settings: Any, nodes: Any) -> tuple[list[float], list[float], float]:
    """Seconds that batches of new edges take in a solved graph: to look up the components they
    touch and solve them anew, and to write these into the indexed table of all; and seconds that
    writing that table takes."""
    import numpy as np
    import pyarrow as pa

    from ingestion.landing.warehouse import connect
    from orchestration.warm_warehouse import WarmWarehouse

    rng = np.random.default_rng(11)
    with connect(settings) as connection:
        begun = perf_counter()
        connection.execute("create table bench.people as from bench.solved")
        for column in ("node", "root"):
            connection.execute(f"create index people_{column} on bench.people ({column})")
        connection.execute("checkpoint")
        writing_all = perf_counter() - begun
    seconds = []
    # As in the worker, which keeps the file open: otherwise each batch would read the indexes first.
    warehouse = WarmWarehouse(settings)
    warehouse.take()
    try:
        for _ in range(ROUNDS + 1):
            with connect(settings) as connection:
                connection.register(
                    "fresh_rows", pa.table({"a": rng.choice(nodes, NEW_EDGES), "b": rng.choice(nodes, NEW_EDGES)})
                )  # fmt: skip
                connection.execute("create or replace table bench.fresh as from fresh_rows")
                started = perf_counter()
                connection.execute(
                    "create or replace table bench.touched as select root from bench.people where node in"
                    " (select unnest([a, b]) from bench.fresh)"
                )
                connection.execute(
                    "create or replace table bench.scope as select node, root from bench.people where root in"
                    " (select root from bench.touched)"
                )
                spent = perf_counter() - started
            spent += _solve(
                settings,
                "select node from bench.scope",
                "select node as a, root as b from bench.scope union all from bench.fresh",
            )
            with connect(settings) as connection:
                started = perf_counter()
                connection.execute(
                    "begin; delete from bench.people where node in (select node from bench.solved);"
                    " insert into bench.people from bench.solved; commit"
                )
                seconds.append((spent, perf_counter() - started))
    finally:
        warehouse.let_go()
    # The first one reads the indexes.
    solving, writing = zip(*seconds[1:], strict=True)
    return list(solving), list(writing), writing_all


def _solve(settings: Any, nodes: str, edges: str) -> float:
    """The macro that the model of people runs, through dbt as there; the seconds its statements
    took, without dbt's own start."""
    import os

    from dbt.cli.main import dbtRunner

    from orchestration.transform import dbt_environment, manifest

    os.environ.update(dbt_environment(settings))
    spent: list[float] = []

    def note(event: Any) -> None:
        if event.info.name == "SQLQueryStatus":
            spent.append(event.data.elapsed)

    arguments = f"{{nodes: '{nodes}', edges: '{edges}', scratch: bench.solved}}"
    result = dbtRunner(manifest=manifest(settings), callbacks=[note]).invoke(
        [
            *("--quiet", "--no-write-json", "--log-level-file", "none"),
            *("run-operation", "solve_components", "--args", arguments),
        ]
    )
    if not result.success or not spent:
        raise RuntimeError(str(result.exception or result.result))
    return sum(spent)


def _solve_in_scipy(nodes: Any, left: Any, right: Any) -> Any:
    """The smallest key of each node's component; scipy wants numbers, so the keys are numbered."""
    import numpy as np
    import pandas as pd

    numbers, keys = pd.factorize(np.concatenate([nodes, left, right]))
    ends = numbers[len(nodes) :].reshape(2, -1)
    components, labels = _label_in_scipy(len(keys), *ends)
    smallest = np.full(components, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, labels, keys)
    return smallest[labels[: len(nodes)]]


def _label_in_scipy(count: int, left: Any, right: Any) -> tuple[int, Any]:
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    weights = np.ones(len(left), dtype=np.int8)
    graph = coo_array((weights, (left, right)), shape=(count, count))
    found: tuple[int, Any] = connected_components(graph, directed=False)
    return found


def _require_equal(settings: Any, nodes: Any, left: Any, right: Any) -> int:
    """The number of components, after checking that the macro put every node with the nodes scipy did."""
    import numpy as np

    from ingestion.landing.warehouse import connect

    components, labels = _label_in_scipy(len(nodes), left, right)
    smallest = np.full(components, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, labels, nodes)
    with connect(settings) as connection:
        solved = connection.execute("select node, root from bench.solved").fetchnumpy()
    order = np.argsort(nodes)
    found = np.argsort(solved["node"])
    if not np.array_equal(solved["root"][found], smallest[labels][order]):
        raise AssertionError("our components are not scipy's")
    return int(components)


def _identity_graph(size: int) -> tuple[Any, Any, Any]:
    """Records with 64-bit keys; per identifier an edge to its first record. Groups of 1 to 6."""
    import numpy as np

    rng = np.random.default_rng(7)
    nodes = rng.choice(np.iinfo(np.int64).max, size, replace=True)
    nodes = np.unique(nodes).astype(np.uint64)
    rng.shuffle(nodes)
    person = np.repeat(np.arange(size), rng.integers(1, 7, size))[: len(nodes)]
    first = np.searchsorted(person, person)
    member = np.arange(len(nodes))
    # Two identifiers a record: one shared with the first of the group, one with the one before it.
    before = np.maximum(member - 1, first)
    left = np.concatenate([member, member])
    right = np.concatenate([first, before])
    apart = left != right
    return nodes, left[apart], right[apart]


def _chain(size: int) -> tuple[Any, Any, Any]:
    """One component as long as it can be, its nodes in no order: the worst case for hooking."""
    import numpy as np

    rng = np.random.default_rng(13)
    nodes = np.unique(rng.choice(np.iinfo(np.int64).max, size, replace=True)).astype(np.uint64)
    rng.shuffle(nodes)
    member = np.arange(len(nodes))
    return nodes, member[:-1], member[1:]


KERNEL = Kernel(
    name="components",
    measures="Connected components of the identity graph by the statements of the dbt macro"
    " solve_components, from tables of 64-bit keys to one; and a batch of new edges.",
    floor="scipy.sparse.csgraph.connected_components on the same arrays of keys, numbered by pandas;"
    " the results are compared node by node. Of the batch: solving all of it.",
    size_unit="records",
    default_size=500_000,
    run=run,
)
