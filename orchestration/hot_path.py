"""The hot path as a job of three ops: what somebody outside waits for, told to Dagster in as few events as say it.

Not a selection of the assets, though it makes them: Dagster writes a planned event, an output and a materialisation for each asset of a
selection, made or not, and at a few milliseconds each they took as long as the decisions (docs/decisions/0009).
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import dagster as dg

from ingestion.settings import Settings
from orchestration.assets.doors_out import judge_sync, push_to, tell_subscribers_of
from orchestration.assets.keys import WAREHOUSE_POOL
from orchestration.assets.landing import LandingConfig, land_log
from orchestration.assets.transform import TransformConfig, bring_up_to_date
from orchestration.jobs import HOT_PATH, MAX_RUNTIME_SECONDS
from orchestration.push import SYNC_MODELS


def _tell(
    context: dg.OpExecutionContext,
    results: Iterable[dg.MaterializeResult[Any] | dg.AssetCheckResult],
) -> None:
    for result in results:
        assert result.asset_key is not None
        if isinstance(result, dg.MaterializeResult):
            context.log_event(dg.AssetMaterialization(result.asset_key, metadata=result.metadata))
        else:
            assert result.check_name is not None
            # Accepted by log_event, though its signature does not say so.
            evaluation: Any = dg.AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
            )
            context.log_event(evaluation)


@dg.op(out=dg.Out(dg.Nothing), pool=WAREHOUSE_POOL)
def land(context: dg.OpExecutionContext, config: LandingConfig) -> None:
    """From the event log into raw_events, with the contract's expectations run on the batch."""
    tag = partial(context.instance.add_run_tags, context.run_id)
    _tell(context, land_log(Settings(), context.log.warning, tag, config.bulk_limit))


@dg.op(ins={"landed": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool=WAREHOUSE_POOL)
def decide(context: dg.OpExecutionContext) -> None:
    """Bring the sync models and all they are made of up to date."""
    _tell(context, bring_up_to_date(Settings(), TransformConfig(), "decisions"))


@dg.op(ins={"decided": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing), pool=WAREHOUSE_POOL)
def push(context: dg.OpExecutionContext) -> None:
    """Judge what is about to be sent and send it; rows that break an expectation refuse the plan as a whole."""
    settings = Settings()
    _tell(context, judge_sync(settings))
    for system in SYNC_MODELS:
        _tell(context, [push_to(settings, system)])
    # Last: what it does is write a few rows, but nobody's lead waits for it.
    _tell(context, tell_subscribers_of(settings))


@dg.job(
    name=HOT_PATH,
    executor_def=dg.in_process_executor,
    description="What somebody waits for: land the log, decide, push. No polls, nothing that only people read.",
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
def run_hot_path() -> None:
    """Land, decide, push."""
    push(decide(land()))
