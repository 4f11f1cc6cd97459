"""Registers what `models.matching` decides about groups of records as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `settle_links(lefts, rights, weights, records, roots, values, link, unscored, max_records, min_density)`: of a group's links, each
    with the reason why it does not hold, or null; `join_except_apart(records, carried, lefts, rights, owned, limits)`: the group of each record; `component_roots(names, nodes,
    left, right)`: the smallest name in each node's component, for whole graphs; and
    `replay_people(records, things, apart, owned, limits)`: whose each record was held to be, over time, with the path as JSON."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        # A file that was held open since the last run has it still.
        with contextlib.suppress(duckdb.CatalogException):
            limit = "STRUCT(kind VARCHAR, most BIGINT)[]"
            conn.create_function(
                "settle_links", _settle,
                ["UBIGINT[]", "UBIGINT[]", "DOUBLE[]", "UBIGINT[]", "UBIGINT[]", "VARCHAR[][]", "DOUBLE", "DOUBLE", "BIGINT", "DOUBLE"],
                "STRUCT(left_record_key UBIGINT, right_record_key UBIGINT, refused_reason VARCHAR)[]",
            )  # fmt: skip
            conn.create_function(
                "join_except_apart", _join,
                [
                    "UBIGINT[]", "UBIGINT[][]", "UBIGINT[]", "UBIGINT[]",
                    "STRUCT(record_key UBIGINT, kind VARCHAR, val UBIGINT)[]", limit,
                ],
                "UBIGINT[]",
            )  # fmt: skip
            conn.create_function(
                "component_roots", _roots,
                ["UBIGINT[]", "INTEGER[]", "INTEGER[]", "INTEGER[]"], "UBIGINT[]", type="arrow",
            )  # fmt: skip
            period = "STRUCT(record_key UBIGINT, known_from BIGINT, known_to BIGINT)"
            conn.create_function(
                "replay_people", _replay,
                [
                    "STRUCT(record_key UBIGINT, named VARCHAR, born BIGINT)[]",
                    f"STRUCT(step VARCHAR, is_match BOOLEAN, periods {period}[])[]",
                    "STRUCT(left_record_key UBIGINT, right_record_key UBIGINT, known_from BIGINT, known_to BIGINT)[]",
                    "STRUCT(record_key UBIGINT, kind VARCHAR, val UBIGINT, known_from BIGINT, known_to BIGINT)[]",
                    limit,
                ],
                "STRUCT(record_key UBIGINT, root UBIGINT, known_from BIGINT, known_to BIGINT, link_path VARCHAR)[]",
            )  # fmt: skip


def _settle(
    lefts: Any,
    rights: Any,
    weights: Any,
    records: Any,
    roots: Any,
    values: Any,
    link: Any,
    unscored: Any,
    max_records: Any,
    min_density: Any,
) -> Any:
    from models.matching.guard import GuardRules, settle_links

    verdicts = settle_links(
        list(zip(lefts, rights, weights, strict=True)),
        list(zip(records, roots, values, strict=True)),
        GuardRules(link, unscored, max_records, min_density),
    )
    return [
        {"left_record_key": left, "right_record_key": right, "refused_reason": reason}
        for left, right, reason in verdicts
    ]


def _join(records: Any, carried: Any, lefts: Any, rights: Any, owned: Any, limits: Any) -> Any:
    from models.matching.held_apart import join_except_apart

    return join_except_apart(
        records,
        carried,
        zip(lefts, rights, strict=True),
        ((own["record_key"], own["kind"], own["val"]) for own in owned),
        {limit["kind"]: limit["most"] for limit in limits},
    )


def _roots(names: Any, nodes: Any, left: Any, right: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    from models.matching.components import component_roots

    found = [
        component_roots(*(column[row].values.to_numpy(zero_copy_only=False) for column in (names, nodes, left, right)))
        for row in range(len(names))
    ]  # fmt: skip
    ends = np.cumsum([0, *(len(roots) for roots in found)])
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.array(np.concatenate(found), pa.uint64())
    )


def _replay(records: Any, things: Any, apart: Any, owned: Any, limits: Any) -> Any:
    from models.matching.replay import replay

    steps = [json.loads(thing["step"]) for thing in things]
    named = {record["record_key"]: record["named"] for record in records}
    told = replay(
        {record["record_key"]: record["born"] for record in records},
        [
            [
                (told["record_key"], told["known_from"], told["known_to"])
                for told in thing["periods"]
            ]
            for thing in things
        ],
        [
            (
                told["left_record_key"],
                told["right_record_key"],
                told["known_from"],
                told["known_to"],
            )
            for told in apart
        ],
        match_count=sum(thing["is_match"] for thing in things),
        owned=[
            (own["record_key"], own["kind"], own["val"], own["known_from"], own["known_to"])
            for own in owned
        ],
        limits={limit["kind"]: limit["most"] for limit in limits},
    )
    return [
        {
            "record_key": row.record,
            "root": row.root,
            "known_from": row.known_from,
            "known_to": row.known_to,
            "link_path": json.dumps(
                [{**steps[thing], "record": named[record]} for thing, record in row.path],
                ensure_ascii=False,
                separators=(",", ":"),
            ),
        }
        for row in told
    ]
