"""Runs the micro-batch job in this process, as a Dagster run like any other, until nothing is left to settle."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from ingestion.errors.catalog import HandoffError
from ingestion.landing.marks import read_mark, write_mark
from ingestion.landing.warehouse import held_open
from ingestion.settings import Settings
from ingestion.tracing import span, tracer
from orchestration.data_docs import refresh_data_docs
from orchestration.instance import PID_TAG, open_instance
from orchestration.policy_rows import rebuild_reason
from orchestration.polling import ask_systems, asked_before
from orchestration.progress import report
from orchestration.side_build import in_place
from orchestration.warehouse_copy import lacking_room
from orchestration.writer_lock import (
    WRITER_WAIT_SECONDS,
    running_worker,
    warehouse_writer,
    writer_patience,
)

if TYPE_CHECKING:
    import dagster as dg

# Receipts of what a batch pushed are events themselves: one more batch records them and finds nothing to push.
MAX_BATCHES = 3

BLOCKING_CHECK = "may_be_sent"

_LOOK_SECONDS = 0.2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of the job: seconds by step, metadata by asset key ("marts/fct_scores"), failed checks as (asset, check, messages)."""

    run_id: str
    seconds: float
    steps: dict[str, float]
    assets: dict[str, dict[str, Any]]
    failed_checks: tuple[tuple[str, str, list[str]], ...] = ()

    def rows_pushed(self) -> int:
        """Operations that were sent to any destination."""
        return sum(
            int(metadata.get("rows_planned", 0) or 0)
            for key, metadata in self.assets.items()
            if key.startswith("ops/pushes_")
        )

    def is_refused_outside(self) -> bool:
        """Whether a destination refused rows or could not be written to."""
        return any(
            bool(metadata.get("rows_failed")) or bool(metadata.get("halted"))
            for key, metadata in self.assets.items()
            if key.startswith("ops/pushes_")
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "run_id": self.run_id,
            "seconds": round(self.seconds, 3),
            "steps": {name: round(value, 3) for name, value in self.steps.items()},
            "rows_landed": self.rows_landed(),
            "rows_pushed": self.rows_pushed(),
            "bulk_waiting": self.landing("bulk_waiting"),
            "failed_checks": self.failed_checks,
        }

    def landing(self, what: str) -> int:
        """Of the log's events: `live_events` and `bulk_events` that landed, or `bulk_waiting`."""
        return int(self.assets.get("raw_events/landings", {}).get(what, 0) or 0)

    def rows_landed(self) -> int:
        """Rows that landed in any raw table."""
        return sum(int(metadata.get("rows_landed", 0) or 0) for metadata in self.assets.values())


@dataclass(frozen=True, slots=True)
class RunReport:
    """The batches of one `handoff run`, and where the pages of its checks are, None while there are none."""

    batches: tuple[Batch, ...] = field(default_factory=tuple)
    data_docs: Path | None = None

    @property
    def failed_checks(self) -> list[tuple[str, str, list[str]]]:
        """Failed checks of all batches."""
        return [check for batch in self.batches for check in batch.failed_checks]


def run_micro_batches(
    settings: Settings, *, as_of: datetime | None = None, full_refresh: bool = False
) -> RunReport:
    """Land, transform, validate, publish, plan, apply and confirm; then once more for the receipts.

    Raises WAREHOUSE_LOCKED at once when another process is writing, and otherwise the error that stopped the batch. What a stopped batch
    had finished stays, and the next run goes on from there. Where a worker runs, what has to be rebuilt is rebuilt beside first, and the
    worker's leads do not wait for it.
    """
    from orchestration.definitions import defs
    from orchestration.jobs import MICRO_BATCH

    batches: list[Batch] = []
    rebuilds_in_place = running_worker(settings) is None
    if not rebuilds_in_place:
        rebuilds_in_place = not _rebuild_beside(settings, full_refresh, as_of)
        full_refresh = full_refresh and rebuilds_in_place
    with warehouse_writer(settings, wait_seconds=writer_patience(settings)):
        # Told at once when another command writes, and not after asking everybody.
        pass
    answers = ask_systems(settings)
    with (
        in_place() if rebuilds_in_place else contextlib.nullcontext(),
        warehouse_writer(settings, wait_seconds=writer_patience(settings)),
        open_instance(settings) as instance,
    ):
        job = defs().resolve_job_def(MICRO_BATCH)
        try:
            while len(batches) < MAX_BATCHES:
                with asked_before({} if batches else answers):
                    batch = run_batch(settings, job, instance, as_of, full_refresh and not batches)
                batches.append(batch)
                if not batch.rows_pushed():
                    break
        except HandoffError:
            # The pages are wanted most when a check stopped the batch.
            refresh_data_docs(settings)
            raise
        pages = refresh_data_docs(settings)
    return RunReport(tuple(batches), pages)


def _rebuild_beside(settings: Settings, asked: bool, as_of: datetime | None) -> bool:
    """Rebuild beside what has to be, and wait for it; False where there is no room for that."""
    from orchestration.rebuild import start_rebuild

    with warehouse_writer(settings, wait_seconds=writer_patience(settings)):
        reason = "asked for" if asked else rebuild_reason(settings)
        if reason is None or not settings.warehouse_path.exists():
            return reason is None
        if (lack := lacking_room(settings)) is not None:
            _log.warning("rebuild_in_place", reason=reason, because=lack)
            return False
    rebuilding = start_rebuild(settings, asked=asked, as_of=as_of)
    try:
        while not rebuilding.wait(_LOOK_SECONDS):
            report(f"rebuilding beside: {rebuilding.build().stage}")
    finally:
        rebuilding.stop()
    if (error := rebuilding.build().error) is not None:
        raise HandoffError(error["code"], error["message"], remedy=error["remedy"] or None)
    return True


def run_hot_path(settings: Settings) -> Batch:
    """What somebody waits for, once: land, decide, push. The receipts are the next batch's, as is what people read."""
    from orchestration.definitions import defs
    from orchestration.jobs import HOT_PATH

    with (
        warehouse_writer(settings, wait_seconds=writer_patience(settings)),
        open_instance(settings) as instance,
    ):
        return run_batch(settings, defs().resolve_job_def(HOT_PATH), instance)


def run_batch(
    settings: Settings,
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    as_of: datetime | None = None,
    full_refresh: bool = False,
    bulk_limit: int | None = None,
) -> Batch:
    """One run of a batch's job in this process, under the writer's lock, with the warehouse held open from its first step to its last.

    It takes all there is, or of the bulk lane at most `bulk_limit` events.
    """
    from orchestration.jobs import HOT_PATH

    with warehouse_writer(settings, wait_seconds=WRITER_WAIT_SECONDS), held_open(settings):
        asked: dict[str, dict[str, Any]] = {}
        if bulk_limit is not None:
            asked["land" if job.name == HOT_PATH else "land_events"] = {"bulk_limit": bulk_limit}
        if as_of is not None or full_refresh:
            instant = as_of.isoformat() if as_of else ""
            asked["transform"] = {"as_of": instant, "full_refresh": full_refresh}
        with span(tracer("handoff-worker"), job.name):
            batch = run_once(job, instance, asked)
        # Whatever this batch landed it has decided on as well.
        write_mark(settings, "decided", read_mark(settings, "landed"))
        return batch


def run_once(
    job: dg.JobDefinition, instance: dg.DagsterInstance, asked: Mapping[str, Mapping[str, Any]]
) -> Batch:
    """One run of a job in this process, `asked` being the configuration of its ops by name; no lock is taken."""
    from dagster import DagsterExecutionInterruptedError
    from dagster._core.errors import DagsterAssetCheckFailedError
    from dagster._core.utils import make_new_run_id

    started = time.monotonic()
    run_id = make_new_run_id()
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    if asked:
        config["ops"] = {name: {"config": dict(values)} for name, values in asked.items()}
    try:
        job.execute_in_process(
            instance=instance,
            run_id=run_id,
            tags={PID_TAG: str(os.getpid())},
            run_config=config,
        )
    except DagsterAssetCheckFailedError as error:
        failed = _read_batch(instance, run_id, started).failed_checks
        asset, check, messages = next(
            (found for found in failed if found[1] == BLOCKING_CHECK), failed[0]
        )
        raise HandoffError(
            "EXPECTATION_FAILED", f"{asset} does not pass {check}: {'; '.join(messages[:3])}"
        ) from error
    except DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    return _read_batch(instance, run_id, started)


def _read_batch(instance: Any, run_id: str, started: float) -> Batch:
    from dagster import DagsterEventType

    steps: dict[str, float] = {}
    assets: dict[str, dict[str, Any]] = {}
    failed: list[tuple[str, str, list[str]]] = []
    begun: dict[str, float] = {}
    for record in instance.all_logs(run_id):
        event = record.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.STEP_START:
            begun[event.step_key] = record.timestamp
        elif event.event_type in (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE):
            steps[event.step_key] = record.timestamp - begun.get(event.step_key, record.timestamp)
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.step_materialization_data.materialization
            assets["/".join(materialization.asset_key.path)] = {
                name: value.value for name, value in materialization.metadata.items()
            }
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                told = evaluation.metadata.get("failed")
                failed.append(
                    (
                        "/".join(evaluation.asset_key.path),
                        evaluation.check_name,
                        list(told.value) if told is not None else [],
                    )
                )
    return Batch(run_id, time.monotonic() - started, steps, assets, tuple(failed))
