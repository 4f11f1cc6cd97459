"""Asset keys and groups: a key is the table's address, its group the schema; nothing else names an asset."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings

# One writer at a time: whatever writes the warehouse runs in this pool.
WAREHOUSE_POOL = "warehouse"

# What a batch makes is late after an hour and gone stale after a day.
FRESHNESS = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=24), warn_window=timedelta(hours=1)
)

OWNER_BY_GROUP = {
    "raw_policies": "team:revops",
    "sync": "team:revops",
    "marts": "team:data",
}
DEFAULT_OWNER = "team:data"


def table_key(schema: str, table: str) -> dg.AssetKey:
    """The key of a table."""
    return dg.AssetKey([schema, table])


def owners_of(group: str) -> list[str]:
    """Who answers for the assets of a group."""
    return [OWNER_BY_GROUP.get(group, DEFAULT_OWNER)]


class TableTranslator(DagsterDbtTranslator):
    """dbt nodes as assets keyed by their table, so that dlt, dbt and sync join without further metadata."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_asset_checks=True))

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The table's address."""
        return table_key(dbt_resource_props["schema"], dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The table's schema."""
        return str(dbt_resource_props["schema"])

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """Who answers for the schema."""
        return owners_of(str(dbt_resource_props["schema"]))
