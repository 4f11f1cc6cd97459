"""Registers what `models.matching` decides about groups of records as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `settle_links(lefts, rights, weights, records, roots, values, link, unscored, max_records, min_density)`: of a group's links, each
    with the reason why it does not hold, or null; and `join_except_apart(records, carried, lefts, rights)`: the group of each record."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        # A file that was held open since the last run has it still.
        with contextlib.suppress(duckdb.CatalogException):
            conn.create_function(
                "settle_links", _settle,
                ["UBIGINT[]", "UBIGINT[]", "DOUBLE[]", "UBIGINT[]", "UBIGINT[]", "VARCHAR[][]", "DOUBLE", "DOUBLE", "BIGINT", "DOUBLE"],
                "STRUCT(left_record_key UBIGINT, right_record_key UBIGINT, refused_reason VARCHAR)[]",
            )  # fmt: skip
            conn.create_function(
                "join_except_apart", _join,
                ["UBIGINT[]", "UBIGINT[][]", "UBIGINT[]", "UBIGINT[]"], "UBIGINT[]",
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


def _join(records: Any, carried: Any, lefts: Any, rights: Any) -> Any:
    from models.matching.held_apart import join_except_apart

    return join_except_apart(records, carried, list(zip(lefts, rights, strict=True)))
