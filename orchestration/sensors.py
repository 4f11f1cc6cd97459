"""Sensors: a micro-batch starts when the event log has something new."""

import contextlib

import dagster as dg

from ingestion.settings import Settings
from orchestration.jobs import MICRO_BATCH
from orchestration.writer_lock import running_worker

_RUNNING = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)


@dg.sensor(
    name="watch_event_log",
    job_name=MICRO_BATCH,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a micro-batch when events or rejections came in; overload makes batches larger, never more of them.",
)
def watch_event_log(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for one run per new end of the log, unless one is waiting or running."""
    from ingestion.log.owner import open_reader

    settings = Settings()
    if not settings.log_path.exists():
        return dg.SkipReason("the event log does not exist yet")
    worker = running_worker(settings)
    if worker is not None:
        return dg.SkipReason(f"the worker (process {worker}) takes what comes in")
    with contextlib.closing(open_reader(settings)) as log:
        mark = f"{log.last_seq()}/{log.last_quarantine_id()}"
    if mark == (context.cursor or "0/0"):
        return dg.SkipReason(f"nothing new since {mark}")
    waiting = context.instance.get_runs_count(
        dg.RunsFilter(job_name=MICRO_BATCH, statuses=list(_RUNNING))
    )
    if waiting:
        # The cursor stays: what came in meanwhile is the next batch.
        return dg.SkipReason("a micro-batch is running")
    context.update_cursor(mark)
    return dg.RunRequest(run_key=mark)


def sensors() -> list[dg.SensorDefinition]:
    """The sensors."""
    return [watch_event_log]
