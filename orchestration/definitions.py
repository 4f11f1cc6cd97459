"""Everything Dagster shows, put together; no logic."""

from __future__ import annotations

import dagster as dg

from ingestion.settings import Settings
from orchestration.assets.doors_out import (
    messages_asset,
    push_assets,
    serving_asset,
    validate_sync,
)
from orchestration.assets.drift import drift_checks, model_means_what_it_says
from orchestration.assets.landing import (
    land_attempts,
    land_enrichment,
    land_events,
    load_policies,
    poll_assets,
)
from orchestration.assets.quality import build_data_docs
from orchestration.assets.routing import routing_check
from orchestration.assets.transform import (
    decision_keys,
    load_manifest,
    message_keys,
    published_keys,
    transform_assets,
)
from orchestration.enrichment_job import enrich_accounts
from orchestration.hot_path import run_hot_path
from orchestration.jobs import jobs
from orchestration.lead_model_job import train_lead_model
from orchestration.rebuild import rebuild_warehouse
from orchestration.schedules import schedules
from orchestration.sensors import sensors


@dg.definitions
def defs() -> dg.Definitions:
    """Assets, checks, jobs, sensors and schedules."""
    project = load_manifest(Settings())
    decisions = decision_keys(Settings())
    transform_warehouse, test_warehouse = transform_assets(project, decisions)
    # Beside the tests, as they too look at more than a batch.
    watching = [drift_checks, model_means_what_it_says, routing_check]
    return dg.Definitions(
        assets=[
            load_policies,
            land_events,
            land_attempts,
            land_enrichment,
            *poll_assets(),
            transform_warehouse,
            serving_asset(published_keys(project)),
            *push_assets(),
            messages_asset(message_keys(project)),
            build_data_docs,
        ],
        asset_checks=[validate_sync, test_warehouse, *watching],
        # Materialising from the UI too: a process per step costs seconds, and one process writes the warehouse.
        executor=dg.in_process_executor,
        jobs=[
            *jobs(
                [
                    *test_warehouse.check_keys,
                    *(key for check in watching for key in check.check_keys),
                ]
            ),
            run_hot_path,
            rebuild_warehouse,
            enrich_accounts,
            train_lead_model,
        ],
        sensors=sensors(),
        schedules=schedules(),
    )
