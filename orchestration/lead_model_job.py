"""Learning the lead model anew as a Dagster job: beside the one that counts, for a person to compare and to name."""

import dagster as dg

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.assets.keys import WAREHOUSE_POOL
from orchestration.jobs import MAX_RUNTIME_SECONDS, TRAIN
from orchestration.lead_model_versions import (
    active_version,
    is_trained,
    lead_policies,
    next_version,
    retraining_due,
    waiting_challenger,
)
from orchestration.lead_models import train_model
from orchestration.writer_lock import WRITER_WAIT_SECONDS, warehouse_writer


@dg.op(out=dg.Out(dg.Nothing), pool=WAREHOUSE_POOL)
def train_when_due(context: dg.OpExecutionContext) -> None:
    """Train the version that counts when it never was, or a copy of it under the next name when it is time; what cannot be learned is said."""
    settings = Settings()
    policies = lead_policies(settings)
    version = active_version(policies)
    due = retraining_due(settings, policies)
    if is_trained(policies, version) and due is None:
        context.log.info(f"model {version} is as it should be")
        return
    if waiting := waiting_challenger(policies):
        context.log.warning(
            f"model {version}: {due}. {waiting} was trained since: compare them (`handoff models`), and name it in rollout.yml"
        )
        return
    try:
        with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS):
            trained = train_model(
                settings,
                version,
                as_version=next_version(policies) if due else None,
                progress=context.log.info,
            )
    except HandoffError as error:
        # Too little, or nothing to be learned: the rules decide alone, as before.
        if error.entry.exit_code != 1:
            raise
        context.log.warning(f"{error.code}: {error.message}. {error.remedy}")
        return
    newest = trained.model.validations[trained.model.estimator].newest
    context.log.info(
        f"model {trained.version} ({due or 'never trained before'}): AUC {newest.auc:.3f} on the newest leads; {trained.model.chosen_because}"
    )
    context.add_output_metadata(
        {
            "version": trained.version,
            "card": dg.MetadataValue.path(str(trained.card)),
            "auc": newest.auc,
            "brier": newest.brier,
        }
    )


@dg.job(
    name=TRAIN,
    executor_def=dg.in_process_executor,
    description="Learns the lead model anew when it is time, beside the one that counts.",
    tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
)
def train_lead_model() -> None:
    """Train."""
    train_when_due()
