"""Registers the routing functions of `models.routing` as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `fair_turns(weights, count, had)`: the positions in `weights` that take the next turns."""

    def configure_connection(self, conn: Any) -> None:
        """Register the function on a connection dbt has just opened."""
        from models.routing.fair_share import fair_turns

        # A file that was held open since the last run has it still.
        with contextlib.suppress(duckdb.CatalogException):
            conn.create_function(
                "fair_turns", fair_turns, ["DOUBLE[]", "BIGINT", "BIGINT[]"], "BIGINT[]"
            )
