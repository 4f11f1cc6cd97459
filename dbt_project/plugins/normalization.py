"""Registers the normalisation functions of `ingestion.normalize` as DuckDB functions; holds no rule of its own."""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin

# Name in SQL: module of ingestion.normalize, name there, number of texts it takes. All take columns whole and give a column of texts.
FUNCTIONS = {
    "normalize_email": ("emails", "normalize_emails", 1),
    "email_refusal": ("emails", "email_refusals", 1),
    "canonical_email": ("emails", "canonical_emails", 2),
    "normalize_phone": ("phones", "normalize_phones", 2),
    "phone_refusal": ("phones", "phone_refusals", 2),
    "country_code": ("countries", "country_codes", 1),
    "registrable_domain": ("domains", "registrable_domains", 1),
    "domain_kind": ("domains", "domain_kinds", 1),
    "referrer_medium": ("referrers", "referrer_media", 1),
    "referrer_source": ("referrers", "referrer_sources", 1),
    "referrer_term": ("referrers", "referrer_terms", 1),
    "canonical_url": ("urls", "canonical_urls", 1),
    "visit_channel": ("channels", "visit_channels", 5),
    "name_key": ("names", "name_keys", 1),
    "given_name_keys": ("names", "given_names", 1),
    "company_key": ("companies", "company_keys", 1),
}


class Plugin(BasePlugin):
    """Adds the functions of FUNCTIONS. Each gives null for what it can say nothing of."""

    def configure_connection(self, conn: Any) -> None:
        """Register the functions on a connection dbt has just opened."""
        # A file that was held open since the last run has them still.
        with contextlib.suppress(duckdb.CatalogException):
            for name, (module, function, arity) in FUNCTIONS.items():
                conn.create_function(
                    name, _late(module, function, arity), ["VARCHAR"] * arity, "VARCHAR",
                    type="arrow", null_handling="special",
                )  # fmt: skip


# Kept for the life of the process: DuckDB holds a function no longer than the connection it came by, and calls it from the next one.
@functools.cache
def _late(module: str, function: str, arity: int) -> Any:
    """The function, its module imported when it is first called: most batches call few of them. DuckDB counts the parameters."""

    def found() -> Any:
        return getattr(importlib.import_module(f"ingestion.normalize.{module}"), function)

    return {
        1: lambda first: found()(first),
        2: lambda first, second: found()(first, second),
        5: lambda first, second, third, fourth, fifth: found()(first, second, third, fourth, fifth),
    }[arity]
