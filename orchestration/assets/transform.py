"""Assets of the interior: every dbt node as an asset, run by one in-process dbt invocation; dbt tests as their checks."""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster_dbt.asset_utils import build_dbt_specs

from ingestion.settings import Settings
from orchestration.assets.keys import FRESHNESS, WAREHOUSE_POOL, TableTranslator, table_key
from orchestration.progress import report
from orchestration.side_build import holds_back
from orchestration.transform import (
    NodeResult,
    Scope,
    Transformed,
    decision_models,
    latency_figures,
    manifest,
    manifest_path,
    run_tests,
    transform,
)
from orchestration.warehouse_copy import copy_settings, discard, lacking_room, take_copy
from orchestration.writer_lock import WRITER_WAIT_SECONDS, warehouse_writer

LATENCY_MART = "fct_handoff_latency"


class TransformConfig(dg.Config):
    """`as_of`: ISO 8601 instant the models speak for, empty = now; `full_refresh`: rebuild everything."""

    as_of: str = ""
    full_refresh: bool = False


def load_manifest(settings: Settings) -> dict[str, Any]:
    """The parsed project as dbt writes it; parsed now when there is none or a file of the project is newer."""
    manifest(settings)
    return dict(json.loads(manifest_path(settings).read_text(encoding="utf-8")))


def decision_keys(settings: Settings) -> list[dg.AssetKey]:
    """Keys of the tables that what is sent is made of."""
    parsed = manifest(settings)
    return [
        table_key(parsed.nodes[unique_id].schema, parsed.nodes[unique_id].name)
        for unique_id in decision_models(parsed)
    ]


def transform_assets(
    project: dict[str, Any], decisions: Sequence[dg.AssetKey]
) -> tuple[dg.AssetsDefinition, dg.AssetChecksDefinition]:
    """The multi-asset of all dbt nodes, and the multi-check of all dbt tests.

    Whoever selects nothing but `decisions` brings just these up to date; any other selection brings everything, as the tables of one
    batch belong together.
    """
    specs, check_specs = build_dbt_specs(
        translator=TableTranslator(),
        manifest=project,
        select="fqn:*",
        exclude="resource_type:unit_test tag:on_demand",
        selector="",
        io_manager_key=None,
        project=None,
    )

    # dlt's own list of loads is read by the models but is no table anybody makes or looks at.
    specs = [
        spec.replace_attributes(
            deps=[dep for dep in spec.deps if not dep.asset_key.path[-1].startswith("_dlt_")]
        )
        for spec in specs
    ]

    # Dagster takes the results of one op only with every dependency before its dependants.
    order = TopologicalSorter({spec.key: {dep.asset_key for dep in spec.deps} for spec in specs})
    rank = {key: position for position, key in enumerate(order.static_order())}
    # Skippable: a batch leaves the views alone, and each event Dagster stores costs as much as a small model.
    specs = [
        spec.replace_attributes(
            skippable=True,
            # Tables follow every batch; views hold no data, so nothing of them grows old.
            freshness_policy=FRESHNESS if spec.key.path[0] in ("marts", "sync") else None,
        )
        for spec in sorted(specs, key=lambda spec: rank[spec.key])
    ]

    @dg.multi_asset(name="transform", specs=list(specs), pool=WAREHOUSE_POOL, can_subset=True)
    def transform_warehouse(
        context: dg.AssetExecutionContext, config: TransformConfig
    ) -> Iterator[dg.MaterializeResult[Any]]:
        scope: Scope = (
            "decisions" if context.selected_asset_keys.issubset(decisions) else "everything"
        )
        made = {result.asset_key: result for result in bring_up_to_date(Settings(), config, scope)}
        yield from (
            made[spec.key]
            for spec in specs
            if spec.key in made and spec.key in context.selected_asset_keys
        )

    @dg.multi_asset_check(name="test_warehouse", specs=list(check_specs), pool=WAREHOUSE_POOL)
    def test_warehouse(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        results = {node.name: node for node in _test(Settings(), context.log.warning)}
        for spec in check_specs:
            node = results.get(spec.name) or results.get(
                str(spec.metadata.get("dagster_dbt/unique_id", "")).split(".")[-2:][0]
            )
            if node is None:
                continue
            yield dg.AssetCheckResult(
                check_name=spec.name,
                asset_key=spec.asset_key,
                passed=node.status == "pass",
                severity=dg.AssetCheckSeverity.WARN
                if node.status == "warn"
                else dg.AssetCheckSeverity.ERROR,
                metadata={"failed_rows": node.failures or 0, "seconds": round(node.seconds, 3)},
            )

    return transform_warehouse, test_warehouse


def _test(settings: Settings, warn: Callable[[str], None]) -> tuple[NodeResult, ...]:
    """Run the data tests on a copy, as nobody waits for that; where there is no room for one, on the warehouse."""
    copy = copy_settings(settings, "tests")
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        if (lack := lacking_room(settings)) is not None:
            warn(f"tested in place, and batches wait: {lack}")
            return run_tests(settings)
        take_copy(settings, copy)
    try:
        return run_tests(copy)
    finally:
        discard(copy)


def bring_up_to_date(
    settings: Settings, config: TransformConfig, scope: Scope
) -> Iterator[dg.MaterializeResult[Any]]:
    """Run the transform and tell of each table it made."""
    as_of = datetime.fromisoformat(config.as_of) if config.as_of else datetime.now(UTC)
    report("transforming")
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        done = transform(
            settings,
            as_of=as_of,
            full_refresh=config.full_refresh,
            scope=scope,
            as_made=holds_back(settings) and not config.full_refresh,
            on_node=lambda node: report(f"transforming: {node.schema}.{node.name}"),
        )
    yield from tell_of(settings, done)


def tell_of(settings: Settings, done: Transformed) -> Iterator[dg.MaterializeResult[Any]]:
    """What a transform made, table by table."""
    for node in done.nodes:
        metadata: dict[str, Any] = {
            "as_of": done.as_of.isoformat(),
            "batch_range": f"({done.since or 'start'}, {done.through}]",
            "seconds": round(node.seconds, 3),
            "reason": done.reason,
        }
        if (node.schema, node.name) in done.rows:
            metadata["dagster/row_count"] = done.rows[(node.schema, node.name)]
        if node.name == LATENCY_MART:
            # Dagster draws numbers over time: the panel an operator looks at.
            metadata |= latency_figures(settings, done.as_of)
        yield dg.MaterializeResult(asset_key=table_key(node.schema, node.name), metadata=metadata)


def published_keys(project: dict[str, Any]) -> list[dg.AssetKey]:
    """Keys of the marts: what the serving file waits for. Not the sync models: a refused plan keeps nobody from reading."""
    return [
        table_key(node["schema"], node["name"])
        for node in project["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "marts"
    ]


def message_keys(project: dict[str, Any]) -> list[dg.AssetKey]:
    """Keys of what is told to subscribers."""
    return [
        table_key(node["schema"], node["name"])
        for node in project["nodes"].values()
        if node["resource_type"] == "model" and node["name"].startswith("sync_webhooks__")
    ]
