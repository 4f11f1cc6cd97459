"""Assets of the door in: what lands from the log and from polls, with the contract check on every batch of events."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion.connectors import catalog
from ingestion.contracts.registry import RECORD_TABLES
from ingestion.enrichment import answers
from ingestion.errors.catalog import HandoffError
from ingestion.landing import events, polls
from ingestion.landing.denied import denied
from ingestion.landing.landed import Landed
from ingestion.landing.raw_tables import LANDINGS
from ingestion.landing.warehouse import connect
from ingestion.log.owner import open_reader
from ingestion.settings import Settings
from ingestion.tracing import link_current_span
from orchestration.assets.expectation_checks import check_result, remember_result
from orchestration.assets.keys import FRESHNESS, WAREHOUSE_POOL, owners_of, table_key
from orchestration.policy_rows import kept_policy_rows, load_policy_rows
from orchestration.polling import answer_of
from orchestration.progress import report
from orchestration.side_build import holds_back
from orchestration.subscribers import copy_attempts
from orchestration.transform import made_with
from orchestration.writer_lock import WRITER_WAIT_SECONDS, warehouse_writer

if TYPE_CHECKING:
    import pandas as pd

# Tags of one run: a form submit is found by its trace, a bulk import need not be.
MOST_TAGS = 20

EVENT_TABLES = (*RECORD_TABLES.values(), "rejections", "rejection_outcomes")

POLICY_TABLES = (
    "policy_versions",
    "rollout_trials",
    "rollout_people",
    "scoring_versions",
    "scoring_rules",
    "model_versions",
    "model_features",
    "model_expressions",
    "model_distributions",
    "routing_versions",
    "identity_versions",
    "identity_identifiers",
    "identity_email_rules",
    "identity_blocked_values",
    "identity_shared_mailboxes",
    "identity_anonymous_ids",
    "identity_winners",
    "identity_system_priority",
    "identity_matching",
    "identity_matching_columns",
    "identity_matching_keys",
    "identity_matching_levels",
    "identity_matching_frequencies",
    "consent_rules",
    "consent_purposes",
    "consent_periods",
    "consent_score_rules",
    "consent_serving_rules",
    "sync_guards",
    "sync_fields",
    "kpi_settings",
    "kpi_activity_types",
    "accounts_versions",
    "accounts_choices",
)


class LandingConfig(dg.Config):
    """`bulk_limit`: events of the bulk lane to land at most; all of them without."""

    bulk_limit: int | None = None


MEETS_CONTRACT = "meets_contract"
WAS_POLLED = "was_polled"


def _contract_check(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        MEETS_CONTRACT,
        asset=key,
        description="The rows of the batch meet the expectations of the door they came in by.",
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
        freshness_policy=FRESHNESS,
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
    report("loading policies")
    started = time.monotonic()
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        # Beside a worker, policies that decide otherwise come with the rebuild it starts, and those that cannot be read hold nobody up.
        held = holds_back(settings)
        try:
            rows = load_policy_rows(settings, keep_active=held)
        except HandoffError as error:
            if not held or made_with(settings) is None:
                raise
            context.log.warning(f"the policies in use stay: {error.code}: {error.message}")
            rows = kept_policy_rows(settings)
    seconds = round(time.monotonic() - started, 3)
    for table in POLICY_TABLES:
        yield dg.MaterializeResult(
            asset_key=table_key("raw_policies", table),
            metadata={"dagster/row_count": rows[table], "seconds": seconds},
        )


@dg.multi_asset(
    name="copy_attempts",
    specs=[raw_spec("raw_webhooks", "attempts", kinds={"sqlite", "duckdb"})],
    pool=WAREHOUSE_POOL,
)
def land_attempts(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
    """How our own webhooks were delivered, from the outbox."""
    settings = Settings()
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        copied = copy_attempts(settings)
    yield dg.MaterializeResult(
        asset_key=table_key("raw_webhooks", "attempts"), metadata={"rows_copied": copied}
    )


@dg.multi_asset(
    name="land_events",
    specs=[
        *(raw_spec("raw_events", table, kinds={"dlt", "duckdb"}) for table in EVENT_TABLES),
        raw_spec("raw_events", LANDINGS, kinds={"dlt", "duckdb"}),
    ],
    check_specs=[_contract_check(table_key("raw_events", table)) for table in EVENT_TABLES],
    pool=WAREHOUSE_POOL,
)
def land_events(
    context: dg.AssetExecutionContext, config: LandingConfig
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """From the event log into raw_events, with the contract's expectations run on the batch."""
    tag = partial(context.instance.add_run_tags, context.run_id)
    yield from land_log(Settings(), context.log.warning, tag, config.bulk_limit, EVENT_TABLES)


def land_log(
    settings: Settings,
    warn: Callable[[str], None],
    tag: Callable[[dict[str, str]], None],
    bulk_limit: int | None = None,
    tables: Sequence[str] | None = None,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Land the log, of the bulk lane at most `bulk_limit` events, and tell of each of `tables`, by default of those that something landed in.

    The run is tagged with the correlation ids of the first live events, so that it is found by them.
    """
    report("landing events from the log")
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        landed = events.land_events(settings, bulk_limit=bulk_limit)
        frames = _newest_frames(settings, "raw_events", _landed_tables(landed, EVENT_TABLES))
    if landed.live_events and landed.first_seq is not None:
        tag(_correlation_tags(settings, landed.first_seq))
    for note in landed.unrepresentable:
        warn(f"kept in the log, null in the warehouse: {note}")
    for table in frames if tables is None else tables:
        key = table_key("raw_events", table)
        yield dg.MaterializeResult(asset_key=key, metadata=_landed_metadata(landed, table))
        yield _meets_contract(key, f"raw_events__{table}", frames.get(table))
    yield dg.MaterializeResult(
        asset_key=table_key("raw_events", LANDINGS),
        metadata={
            "live_events": landed.live_events,
            "bulk_events": landed.bulk_events,
            "bulk_waiting": landed.bulk_waiting,
        },
    )


def _correlation_tags(settings: Settings, first_seq: int) -> dict[str, str]:
    """A tag for each of the first traces that landed, and links to them from the span of the batch."""
    with contextlib.closing(open_reader(settings)) as reader:
        entries = reader.read(first_seq - 1, MOST_TAGS)
    traces = [entry.event["traceparent"] for entry in entries if "traceparent" in entry.event]
    link_current_span(traces)
    return {f"correlation/{trace.split('-')[1]}": "landed" for trace in dict.fromkeys(traces)}


def _meets_contract(
    key: dg.AssetKey, suite: str, frame: "pd.DataFrame | None"
) -> dg.AssetCheckResult:
    """Judge the rows of this batch; a batch without any has nothing to break."""
    if frame is None:
        return dg.AssetCheckResult(
            check_name=MEETS_CONTRACT, asset_key=key, passed=True, metadata={"rows": 0}
        )
    from expectations.validate import validate_frame

    result = validate_frame(frame, suite, ".".join(key.path))
    remember_result(Settings(), result)
    return check_result(MEETS_CONTRACT, key, result)


def _landed_tables(landed: Landed, tables: Sequence[str]) -> list[str]:
    return [table for table in tables if landed.rows.get(table)]


def _newest_frames(
    settings: Settings, schema: str, tables: Sequence[str]
) -> "dict[str, pd.DataFrame]":
    """The rows of the newest completed load, by table."""
    with contextlib.closing(connect(settings)) as connection:
        return {
            table: connection.execute(
                f"select * from {schema}.{table} where _dlt_load_id = "
                f"(select max(load_id) from {schema}._dlt_loads where status = 0)"
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


ENRICHMENT_KEY = table_key(f"raw_{answers.SYSTEM}", answers.RESOURCES[0])


@dg.multi_asset(
    name="land_enrichment",
    specs=[raw_spec(f"raw_{answers.SYSTEM}", answers.RESOURCES[0], kinds={"dlt", "duckdb"})],
    check_specs=[_contract_check(ENRICHMENT_KEY)],
    pool=WAREHOUSE_POOL,
)
def land_enrichment(
    context: dg.AssetExecutionContext,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """What providers of firmographics have answered since the last batch, from the archive: nobody is asked here, so nobody is waited for."""
    settings = Settings()
    schema = f"raw_{answers.SYSTEM}"
    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
        landed = polls.land_archive(settings, answers.SYSTEM)
        frames = _newest_frames(settings, schema, _landed_tables(landed, answers.RESOURCES))
    [resource] = answers.RESOURCES
    yield dg.MaterializeResult(
        asset_key=ENRICHMENT_KEY, metadata=_landed_metadata(landed, resource)
    )
    yield _meets_contract(ENRICHMENT_KEY, "raw_records", frames.get(resource))


def poll_assets() -> list[dg.AssetsDefinition]:
    """One multi-asset per connector that can be polled, found by its folder."""
    return [_poll_asset(system) for system in catalog.systems("source")]


def _poll_asset(system: str) -> dg.AssetsDefinition:
    schema = f"raw_{system}"
    resources = catalog.source(system).RESOURCES
    keys = {resource: table_key(schema, resource) for resource in resources}

    @dg.multi_asset(
        name=f"poll_{system}",
        specs=[raw_spec(schema, resource, kinds={"dlt", "duckdb"}) for resource in resources],
        check_specs=[
            *(_contract_check(key) for key in keys.values()),
            dg.AssetCheckSpec(
                WAS_POLLED,
                asset=keys[resources[0]],
                description="The system answered; otherwise the batch goes on with what was known before.",
            ),
        ],
        pool=WAREHOUSE_POOL,
    )
    def poll_system(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        settings = Settings()
        problem = answer_of(settings, system)
        with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
            landed = polls.land_archive(settings, system)
            frames = _newest_frames(settings, schema, _landed_tables(landed, resources))
        for resource, key in keys.items():
            yield dg.MaterializeResult(asset_key=key, metadata=_landed_metadata(landed, resource))
            yield _meets_contract(key, "raw_records", frames.get(resource))
        yield dg.AssetCheckResult(
            check_name=WAS_POLLED,
            asset_key=keys[resources[0]],
            passed=problem is None,
            metadata={
                "failed": dg.MetadataValue.json([problem.message] if problem else []),
                "denied": dg.MetadataValue.json(denied(settings, system)),
            },
        )

    return poll_system
