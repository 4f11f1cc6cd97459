"""Jobs: which assets run together; each runs in one process, as starting processes costs more than the work."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

MICRO_BATCH = "run_micro_batch"
HOT_PATH = "run_hot_path"
REBUILD = "rebuild_warehouse"
ENRICH = "enrich_accounts"
TRAIN = "train_lead_model"
TEST_WAREHOUSE = "test_warehouse_job"
DATA_DOCS = "build_data_docs_job"

# Long enough for a full rebuild; a run that outlives it has lost its process.
MAX_RUNTIME_SECONDS = 3600


def jobs(dbt_tests: Sequence[dg.AssetCheckKey]) -> list[dg.UnresolvedAssetJobDefinition]:
    """The jobs of assets; `dbt_tests` have one of their own, because they read whole tables and a micro-batch may not."""
    tests = dg.AssetSelection.checks(*dbt_tests)
    quality = dg.AssetSelection.groups("quality")
    return [
        dg.define_asset_job(
            MICRO_BATCH,
            selection=dg.AssetSelection.all() - quality - tests,
            executor_def=dg.in_process_executor,
            description="One micro-batch: land, transform, validate, publish, plan, apply, confirm.",
            tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
        ),
        dg.define_asset_job(
            TEST_WAREHOUSE,
            selection=tests,
            executor_def=dg.in_process_executor,
            description="Every dbt data test on the warehouse as it stands.",
            tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
        ),
        dg.define_asset_job(
            DATA_DOCS,
            selection=quality,
            executor_def=dg.in_process_executor,
            description="Data Docs of the newest results at both doors.",
        ),
    ]
