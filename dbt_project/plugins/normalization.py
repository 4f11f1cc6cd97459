"""Registers the normalisation functions of `ingestion.normalize` as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin


class Plugin(BasePlugin):
    """Adds `normalize_email(text)` and `normalize_phone(text, region)`; both give null for what links nobody."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        from ingestion.normalize.phones import normalize_phone

        # A file that was held open since the last run has them still.
        with contextlib.suppress(duckdb.CatalogException):
            conn.create_function(
                "normalize_email", _normalize_emails, ["VARCHAR"], "VARCHAR",
                type="arrow", null_handling="special",
            )  # fmt: skip
            conn.create_function(
                "normalize_phone", normalize_phone, ["VARCHAR", "VARCHAR"], "VARCHAR",
                null_handling="special",
            )  # fmt: skip


def _normalize_emails(values: Any) -> Any:
    """A function of this module: DuckDB evaluates the annotations of what it registers, and keeps it no longer than its connection."""
    from ingestion.normalize.emails import normalize_emails

    return normalize_emails(values)
