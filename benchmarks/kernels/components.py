"""Who is one person: the project's own graph contraction in SQL, against scipy on the same edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory

ROUNDS = 3


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` records in small groups as identifiers link them, and one chain of `size` / 5."""
    return [
        _case("identity graph", folder / "identity", *_identity_graph(size)),
        _case("one chain", folder / "chain", *_chain(size // 5)),
    ]


def _case(case: str, home: Path, nodes: Any, left: Any, right: Any) -> Measurement:
    import pyarrow as pa

    from ingestion.landing.warehouse import connect
    from ingestion.settings import Settings
    from orchestration.transform import manifest

    settings = Settings(home=home)
    with connect(settings) as connection:
        connection.execute("create schema bench")
        connection.register("node_rows", pa.table({"node": nodes}))
        connection.register("edge_rows", pa.table({"a": nodes[left], "b": nodes[right]}))
        connection.execute("create table bench.nodes as from node_rows")
        connection.execute("create table bench.edges as from edge_rows")
    manifest(settings)

    ours: list[float] = []
    floor: list[float] = []
    for _ in range(ROUNDS):
        with watch_memory() as peak:
            ours.append(seconds_of(lambda: _solve_in_sql(settings)))
        floor.append(seconds_of(lambda: _solve_in_scipy(len(nodes), left, right)))
    persons = _require_equal(settings, nodes, left, right)
    count = f"{len(nodes):,} nodes, {len(left):,} edges"
    return compare(
        f"{case}: {count}", len(nodes), "nodes", ours, floor, peak.mb, components=f"{persons:,}"
    )


def _solve_in_sql(settings: Any) -> None:
    """The macro that the model of people runs, through dbt as there."""
    import os

    from dbt.cli.main import dbtRunner

    from orchestration.transform import dbt_environment, manifest

    os.environ.update(dbt_environment(settings))
    arguments = (
        "{nodes: 'select node from bench.nodes', edges: 'select a, b from bench.edges',"
        " scratch: bench.solved}"
    )
    result = dbtRunner(manifest=manifest(settings)).invoke(
        [
            *("--quiet", "--no-write-json", "--log-level-file", "none"),
            *("run-operation", "solve_components", "--args", arguments),
        ]
    )
    if not result.success:
        raise RuntimeError(str(result.exception or result.result))


def _solve_in_scipy(count: int, left: Any, right: Any) -> tuple[int, Any]:
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    weights = np.ones(len(left), dtype=np.int8)
    graph = coo_array((weights, (left, right)), shape=(count, count))
    found: tuple[int, Any] = connected_components(graph, directed=False)
    return found


def _require_equal(settings: Any, nodes: Any, left: Any, right: Any) -> int:
    """The number of components, after checking that SQL put every node with the nodes scipy did."""
    import numpy as np

    from ingestion.landing.warehouse import connect

    components, labels = _solve_in_scipy(len(nodes), left, right)
    smallest = np.full(components, np.iinfo(np.int64).max)
    np.minimum.at(smallest, labels, nodes)
    with connect(settings) as connection:
        solved = connection.execute("select node, root from bench.solved").fetchnumpy()
    order = np.argsort(nodes)
    found = np.argsort(solved["node"])
    if not np.array_equal(solved["root"][found], smallest[labels][order]):
        raise AssertionError("the SQL's components are not scipy's")
    return int(components)


def _identity_graph(size: int) -> tuple[Any, Any, Any]:
    """Records with 64-bit keys; per identifier an edge to its first record. Groups of 1 to 6."""
    import numpy as np

    rng = np.random.default_rng(7)
    nodes = rng.choice(np.iinfo(np.int64).max, size, replace=True)
    nodes = np.unique(nodes)
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
    nodes = np.unique(rng.choice(np.iinfo(np.int64).max, size, replace=True))
    rng.shuffle(nodes)
    member = np.arange(len(nodes))
    return nodes, member[:-1], member[1:]


KERNEL = Kernel(
    name="components",
    measures="Connected components of the identity graph by the dbt macro solve_components, its dbt"
    " invocation included.",
    floor="scipy.sparse.csgraph.connected_components on the same edges as integers in memory; the"
    " results are compared node by node.",
    size_unit="records",
    default_size=500_000,
    run=run,
)
