"""Assets of the door in: what lands from the log and from polls, with the contract check on every batch of events."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion.connectors import catalog
from ingestion.contracts.registry import RECORD_TABLES
from ingestion.landing import events, polls
from ingestion.landing.landed import Landed
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings
from orchestration.assets.keys import WAREHOUSE_POOL, owners_of, table_key
from orchestration.policy_rows import load_policy_rows
from orchestration.writer_lock import warehouse_writer

if TYPE_CHECKING:
    import pandas as pd

    from expectations.validate import SuiteResult

EVENT_TABLES = (*RECORD_TABLES.values(), "rejections")

# How long an op waits for another process's write before it gives up.
WRITER_WAIT_SECONDS = 900.0

POLICY_TABLES = (
    "policy_versions",
    "scoring_versions",
    "scoring_rules",
    "routing_versions",
    "routing_slas",
    "routing_territories",
    "routing_weights",
    "identity_versions",
    "identity_identifiers",
    "identity_blocked_values",
    "identity_shared_mailboxes",
    "identity_system_priority",
    "consent_rules",
    "sync_guards",
    "sync_fields",
    "kpi_settings",
)


def raw_spec(
    schema: str, table: str, *, kinds: set[str], deps: Sequence[dg.AssetKey] = ()
) -> dg.AssetSpec:
    """Spec of one raw table."""
    return dg.AssetSpec(
        table_key(schema, table),
        group_name=schema,
        owners=owners_of(schema),
        kinds=kinds,
        deps=list(deps),
        description=f"Append-only landing of {schema}.{table}.",
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=24), warn_window=timedelta(hours=1)
        ),
    )


@dg.multi_asset(
    name="load_policies",
    specs=[
        dg.AssetSpec(
            table_key("raw_policies", table),
            group_name="raw_policies",
            owners=owners_of("raw_policies"),
            kinds={"yaml", "duckdb"},
            description=f"Policy rows: {table.replace('_', ' ')}.",
        )
        for table in POLICY_TABLES
    ],
    pool=WAREHOUSE_POOL,
)
def load_policies(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
    """Policies as rows, all versions, the active ones marked."""
    settings = Settings()
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        rows = load_policy_rows(settings)
    for table in POLICY_TABLES:
        yield dg.MaterializeResult(
            asset_key=table_key("raw_policies", table),
            metadata={"dagster/row_count": rows[table]},
        )


@dg.multi_asset(
    name="land_events",
    specs=[raw_spec("raw_events", table, kinds={"dlt", "duckdb"}) for table in EVENT_TABLES],
    check_specs=[
        dg.AssetCheckSpec(
            "meets_contract",
            asset=table_key("raw_events", table),
            description="The batch meets the expectations derived from the contract.",
        )
        for table in EVENT_TABLES
    ],
    pool=WAREHOUSE_POOL,
)
def land_events(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """From the event log into raw_events, with the contract's expectations run on the batch."""
    settings = Settings()
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        landed = events.land_events(settings)
        frames = _newest_frames(settings, [t for t in EVENT_TABLES if landed.rows.get(t)])
    for note in landed.unrepresentable:
        context.log.warning("kept in the log, null in the warehouse: %s", note)
    for table in EVENT_TABLES:
        yield dg.MaterializeResult(
            asset_key=table_key("raw_events", table), metadata=_landed_metadata(landed, table)
        )
        yield _meets_contract(table, frames.get(table))


def _meets_contract(table: str, frame: "pd.DataFrame | None") -> dg.AssetCheckResult:
    if frame is None:
        return dg.AssetCheckResult(
            check_name="meets_contract",
            asset_key=table_key("raw_events", table),
            passed=True,
            metadata={"rows": 0},
        )
    from expectations.validate import validate_frame

    result = validate_frame(frame, f"raw_events__{table}")
    remember_result(Settings(), result)
    return check_result("meets_contract", table_key("raw_events", table), result)


def check_result(name: str, key: dg.AssetKey, result: "SuiteResult") -> dg.AssetCheckResult:
    """A suite's outcome as an asset check; counts and messages only, never values."""
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=result.success,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "rows": result.row_count,
            "expectations": len(result.results),
            "failed": dg.MetadataValue.json([failure.message for failure in result.failures]),
            "warnings": dg.MetadataValue.json([warning.message for warning in result.warnings]),
            "seconds": round(result.seconds, 3),
        },
    )


def remember_result(settings: Settings, result: "SuiteResult") -> None:
    """Keep the outcome of a suite: Data Docs show the newest of each."""
    from expectations.kept_results import keep_result

    keep_result(result, settings.artifacts_dir / "expectations")


def _newest_frames(settings: Settings, tables: Sequence[str]) -> "dict[str, pd.DataFrame]":
    with contextlib.closing(connect(settings)) as connection:
        return {
            table: connection.execute(
                f"select * from raw_events.{table} where _dlt_load_id = "
                "(select max(load_id) from raw_events._dlt_loads where status = 0)"
            ).fetch_df()
            for table in tables
        }


def _landed_metadata(landed: Landed, table: str) -> dict[str, dg.MetadataValue | int | float]:
    metadata: dict[str, dg.MetadataValue | int | float] = {
        "rows_landed": landed.rows.get(table, 0),
        "seconds": round(landed.seconds, 3),
    }
    if landed.first_seq is not None and landed.last_seq is not None:
        metadata["batch_range"] = dg.MetadataValue.text(f"{landed.first_seq}..{landed.last_seq}")
    return metadata


def _poll(system: str, context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
    settings = Settings()
    resources = catalog.source(system).RESOURCES
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        if system in polls.configured_systems(settings):
            landed = polls.poll(settings, system)
        else:
            context.log.info("%s is not configured; only what its archive holds is landed", system)
            landed = polls.land_archive(settings, system)
    for resource in resources:
        yield dg.MaterializeResult(
            asset_key=table_key(f"raw_{system}", resource),
            metadata=_landed_metadata(landed, resource),
        )


def poll_assets() -> list[dg.AssetsDefinition]:
    """One multi-asset per connector that can be polled, found by its folder."""
    return [_poll_asset(system) for system in catalog.systems("source")]


def _poll_asset(system: str) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"poll_{system}",
        specs=[
            raw_spec(f"raw_{system}", resource, kinds={"dlt", "duckdb"})
            for resource in catalog.source(system).RESOURCES
        ],
        pool=WAREHOUSE_POOL,
        retry_policy=dg.RetryPolicy(
            max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL
        ),
    )
    def poll_system(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        yield from _poll(system, context)

    return poll_system
