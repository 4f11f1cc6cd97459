"""The resident worker: one warm process that runs the hot path as soon as something comes in, and a whole micro-batch now and then.

What it runs are Dagster's own jobs, recorded in the instance like any other run; why a process of ours starts them is
docs/decisions/0009.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from ingestion.errors.catalog import HandoffError
from ingestion.log.owner import open_reader
from ingestion.settings import Settings
from orchestration.bulk_slices import BulkSlices
from orchestration.instance import open_instance
from orchestration.micro_batch import Batch, run_batch
from orchestration.writer_lock import only_worker

if TYPE_CHECKING:
    import dagster as dg

    from ingestion.log.interface import LogReader

# Asking the log for its end costs tens of microseconds.
LOOK_SECONDS = 0.02
# A batch that failed is tried again, at first soon: most causes are an outside system's.
RETRY_SECONDS = (1.0, 5.0, 30.0)
# While leads come in without a pause, a whole micro-batch makes them wait: it gets this share of the time, and more only when it is quiet.
BUSY_SHARE = 0.05
# A second of the hot path is a run in Dagster's store: the newest are kept to look at, failures for ever.
KEPT_RUNS = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the log ends: the newest `seq` of each lane and the newest rejection."""

    live_seq: int
    bulk_seq: int
    quarantine_id: int


def work(
    settings: Settings,
    *,
    stop: threading.Event,
    on_batch: Callable[[str, Batch], None] = lambda job, batch: None,
) -> None:
    """Run batches until `stop` is set; the batch under way is finished first.

    The hot path runs whenever the log has news, and takes a backlog of the bulk lane in slices, so that what comes meanwhile waits for
    one slice and not for all. A micro-batch (polls, everything people read, the serving file) runs at the start, when a
    policy file changed, and every `refresh_seconds`, less often while news comes without a pause. A batch that fails is logged and tried
    again; nothing of the log is lost by it, as what landed stays and what did not is still in the log. Raises WORKER_RUNNING when this home
    has a worker.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_worker(settings))
        reader = stack.enter_context(contextlib.closing(open_reader(settings)))
        instance = stack.enter_context(open_instance(settings))
        _Worker(settings, reader, instance, stop, on_batch).run()


def work_until_signalled(settings: Settings, *, on_batch: Callable[[str, Batch], None]) -> None:
    """`work` until SIGTERM or Ctrl-C, which let the batch under way finish; a second Ctrl-C raises KeyboardInterrupt at once."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(settings, stop=stop, on_batch=on_batch)
        except BaseException as error:
            failed.append(error)

    def ask_to_stop(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    # Not in the main thread: there Dagster puts handlers of its own in place for the length of a run, and drops what they caught.
    thread = threading.Thread(target=run, name="worker", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
    if failed:
        raise failed[0]


class _Worker:
    def __init__(
        self,
        settings: Settings,
        reader: LogReader,
        instance: dg.DagsterInstance,
        stop: threading.Event,
        on_batch: Callable[[str, Batch], None],
    ) -> None:
        from expectations.context import ephemeral_context
        from orchestration.definitions import defs
        from orchestration.jobs import HOT_PATH, MICRO_BATCH

        # Imports Great Expectations, for seconds; otherwise the first lead would wait for it.
        ephemeral_context()

        definitions = defs()
        self._settings = settings
        self._reader = reader
        self._instance = instance
        self._stop = stop
        self._on_batch = on_batch
        self._hot = definitions.resolve_job_def(HOT_PATH)
        self._whole = definitions.resolve_job_def(MICRO_BATCH)
        self._done = Mark(0, 0, 0)
        self._slices = BulkSlices(settings.bulk_slice_seconds)
        self._bulk_waiting = 0
        self._policies: object = None
        self._refreshed_at = float("-inf")
        self._refresh_took = 0.0
        self._failures = 0

    def run(self) -> None:
        while not self._stop.is_set():
            job = self._due()
            if job is None:
                self._stop.wait(LOOK_SECONDS)
                continue
            # Told before the batch reads the log: what comes in meanwhile is news to the next one.
            mark, policies = self._mark(), self._policy_stamp()
            try:
                slice_ = self._slices.size(somebody_waits=mark.live_seq != self._done.live_seq)
                batch = run_batch(self._settings, job, self._instance, bulk_limit=slice_)
            except Exception as error:
                # Whatever it was: a worker that ends leaves every later lead waiting for somebody to notice.
                self._wait_after(error)
                continue
            self._failures = 0
            self._done = mark
            self._bulk_waiting = batch.landing("bulk_waiting")
            if job is self._hot:
                bulk = batch.landing("bulk_events")
                self._slices.learn(batch.landing("live_events") + bulk, bulk, batch.seconds)
            if job is self._whole:
                self._refreshed_at, self._policies = time.monotonic(), policies
                self._refresh_took = batch.seconds
                self._forget_old_runs()
            self._on_batch(job.name, batch)

    def _due(self) -> dg.JobDefinition | None:
        age = time.monotonic() - self._refreshed_at
        has_news = self._bulk_waiting > 0 or self._mark() != self._done
        patience = self._refresh_took / BUSY_SHARE if has_news else 0.0
        if age >= max(self._settings.refresh_seconds, patience):
            return self._whole
        if self._policy_stamp() != self._policies:
            return self._whole
        return self._hot if has_news else None

    def _mark(self) -> Mark:
        reader = self._reader
        return Mark(reader.last_seq("live"), reader.last_seq("bulk"), reader.last_quarantine_id())

    def _policy_stamp(self) -> object:
        from models.policies.load import POLICY_FOLDER

        folder = self._settings.policies or POLICY_FOLDER
        return {file: file.stat().st_mtime_ns for file in folder.rglob("*.yml")}

    def _wait_after(self, error: Exception) -> None:
        seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        told: dict[str, object] = {"code": "INTERNAL", "message": repr(error), "exc_info": error}
        if isinstance(error, HandoffError):
            told = {"code": error.code, "message": error.message, "remedy": error.remedy}
        _log.error("batch_failed", retry_in_seconds=seconds, **told)
        self._stop.wait(seconds)

    def _forget_old_runs(self) -> None:
        from dagster import DagsterRunStatus, RunsFilter

        filters = RunsFilter(job_name=self._hot.name, statuses=[DagsterRunStatus.SUCCESS])
        runs = self._instance.get_runs(filters, limit=KEPT_RUNS + 50)
        for run in runs[KEPT_RUNS:]:
            self._instance.delete_run(run.run_id)
