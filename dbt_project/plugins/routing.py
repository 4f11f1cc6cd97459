"""Registers what `models.routing` decides as a DuckDB function; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `route_leads(rules, reps, absences, leads, signals, shares, loads, kept_leads, through, until)`: decisions, and what to go on
    from; the types of its rows are those of `models.routing.tables`."""

    def configure_connection(self, conn: Any) -> None:
        """Register the function on a connection dbt has just opened."""
        from models.routing.tables import ARGUMENTS, outcome_type, route_leads, rows_type

        # A file that was held open since the last run has it still.
        with contextlib.suppress(duckdb.CatalogException):
            conn.create_function(
                "route_leads",
                route_leads,
                [*map(rows_type, ARGUMENTS), "BIGINT", "BIGINT"],
                outcome_type(),
                type="arrow",
                null_handling="special",
            )
