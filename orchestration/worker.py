"""The resident worker: one warm process that runs the hot path as soon as something comes in, and a whole micro-batch now and then.

A rebuild, for changed policies or models, goes on beside in a process of its own (docs/decisions/0011), and the hot path with it.

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
from orchestration.enrichment import Enriching, is_configured
from orchestration.instance import end_dead_runs, open_instance
from orchestration.jobs import MAX_RUNTIME_SECONDS
from orchestration.micro_batch import Batch, run_batch
from orchestration.policy_rows import rebuild_reason
from orchestration.polling import Answers, Asking, asked_before
from orchestration.side_build import Build, clear_away, in_place
from orchestration.subscribers import delivering
from orchestration.transform import made_with
from orchestration.warehouse_copy import lacking_room
from orchestration.warm_warehouse import WarmWarehouse
from orchestration.writer_lock import WRITER_WAIT_SECONDS, only_worker, warehouse_writer

if TYPE_CHECKING:
    import dagster as dg

    from ingestion.log.interface import LogReader
    from orchestration.rebuild import Rebuilding

# Asking the log for its end costs tens of microseconds.
LOOK_SECONDS = 0.02
# A batch that failed is tried again, at first soon: most causes are an outside system's.
RETRY_SECONDS = (1.0, 5.0, 30.0)
# While leads come in without a pause, a whole micro-batch makes them wait: it gets this share of the time, and more only when it is quiet.
BUSY_SHARE = 0.05
# A rebuild that failed costs minutes of a core: mostly it fails again until somebody has looked.
REBUILD_RETRY_SECONDS = (60.0, 600.0, 3600.0)
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
    on_rebuild: Callable[[Build], None] = lambda build: None,
) -> None:
    """Run batches until `stop` is set; the batch under way is finished first, a rebuild under way is given up.

    The hot path runs whenever the log has news, and takes a backlog of the bulk lane in slices, so that what comes meanwhile waits for
    one slice and not for all. A micro-batch (polls, everything people read, the serving file) runs at the start, after a
    rebuild, and every `refresh_seconds`, less often while news comes without a pause. Changed policies or models are brought in by a rebuild
    beside; until it is done, batches decide by the old ones. A batch that fails is logged and tried again; nothing of the log is lost by it,
    as what landed stays and what did not is still in the log. Raises WORKER_RUNNING when this home has a worker.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_worker(settings))
        reader = stack.enter_context(contextlib.closing(open_reader(settings)))
        instance = stack.enter_context(open_instance(settings))
        clear_away(settings)
        stack.enter_context(delivering(settings))
        worker = _Worker(settings, reader, instance, stop, on_batch, on_rebuild)
        try:
            worker.run()
        finally:
            worker.give_up()


def work_until_signalled(
    settings: Settings,
    *,
    on_batch: Callable[[str, Batch], None],
    on_rebuild: Callable[[Build], None] = lambda build: None,
) -> None:
    """`work` until SIGTERM or Ctrl-C, which let the batch under way finish; a second Ctrl-C raises KeyboardInterrupt at once."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(settings, stop=stop, on_batch=on_batch, on_rebuild=on_rebuild)
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
        on_rebuild: Callable[[Build], None],
    ) -> None:
        from expectations.context import ephemeral_context
        from orchestration.definitions import defs
        from orchestration.jobs import HOT_PATH, MICRO_BATCH
        from orchestration.rebuild import start_rebuild

        # Imports Great Expectations, for seconds; otherwise the first lead would wait for it.
        ephemeral_context()

        definitions = defs()
        self._start_rebuild = start_rebuild
        self._settings = settings
        self._warehouse = WarmWarehouse(settings)
        self._reader = reader
        self._instance = instance
        self._stop = stop
        self._on_batch = on_batch
        self._on_rebuild = on_rebuild
        self._hot = definitions.resolve_job_def(HOT_PATH)
        self._whole = definitions.resolve_job_def(MICRO_BATCH)
        self._done = Mark(0, 0, 0)
        self._slices = BulkSlices(settings.bulk_slice_seconds)
        self._bulk_waiting = 0
        # What was last looked at for a reason to rebuild; None asks for a look.
        self._policies: object = None
        self._rebuilding: Rebuilding | None = None
        self._rebuild_told: str | None = None
        self._rebuild_failures = 0
        self._rebuild_again_at = float("inf")
        self._in_place = False
        # Whether there is a warehouse that the hot path can add to.
        self._is_made = False
        self._asking: Asking | None = None
        self._enriching: Enriching | None = None
        self._answers: Answers | None = None
        self._swapped = False
        self._refreshed_at = float("-inf")
        self._refresh_took = 0.0
        self._failures = 0

    def run(self) -> None:
        while not self._stop.is_set():
            self._see_to_rebuild()
            job = self._asked_first(self._due())
            if job is None:
                self._rest()
                continue
            # Told before the batch reads the log: what comes in meanwhile is news to the next one.
            mark = self._mark()
            try:
                self._warehouse.take()
                slice_ = self._slices.size(somebody_waits=mark.live_seq != self._done.live_seq)
                with (
                    in_place() if self._in_place else contextlib.nullcontext(),
                    asked_before(self._answers or {}),
                ):
                    batch = run_batch(self._settings, job, self._instance, bulk_limit=slice_)
            except Exception as error:
                # Whatever it was: a worker that ends leaves every later lead waiting for somebody to notice.
                self._wait_after(error)
                continue
            self._failures = 0
            self._swapped = False
            self._done = mark
            self._bulk_waiting = batch.landing("bulk_waiting")
            if job is self._hot:
                bulk = batch.landing("bulk_events")
                self._slices.learn(batch.landing("live_events") + bulk, bulk, batch.seconds)
            if job is self._whole:
                self._refreshed_at = time.monotonic()
                self._refresh_took = batch.seconds
                self._in_place, self._is_made = False, True
                if not self._rebuild_failures:
                    # Looked at now and then: to look through all files of the models takes a moment.
                    self._rebuild_again_at = self._refreshed_at
                self._forget_old_runs()
                self._enrich_aside()
            self._on_batch(job.name, batch)

    def _rest(self) -> None:
        try:
            self._warehouse.rest()
        except Exception as error:
            self._wait_after(error)
        self._stop.wait(LOOK_SECONDS)

    def _due(self) -> dg.JobDefinition | None:
        has_news = self._bulk_waiting > 0 or self._mark() != self._done
        if self._rebuilding is not None:
            # Whole micro-batches wait for its end: it takes their place, and they would take the hot path's.
            return self._hot if has_news else None
        if self._in_place:
            return self._whole
        if has_news and self._swapped:
            return self._hot
        age = time.monotonic() - self._refreshed_at
        patience = self._refresh_took / BUSY_SHARE if has_news else 0.0
        if age >= max(self._settings.refresh_seconds, patience):
            return self._whole
        return self._hot if has_news else None

    def _asked_first(self, due: dg.JobDefinition | None) -> dg.JobDefinition | None:
        """What can run now: a whole micro-batch waits until the outside systems have answered, and the hot path does not."""
        self._answers = None
        if due is not self._whole:
            return due
        if self._asking is None:
            self._asking = Asking(self._settings)
        self._answers = self._asking.answers()
        if self._answers is None:
            return self._hot if self._is_made and self._mark() != self._done else None
        self._asking = None
        return due

    def _see_to_rebuild(self) -> None:
        """Start a rebuild beside when there is a reason, and follow the one under way."""
        if self._rebuilding is not None:
            self._follow(self._rebuilding)
            return
        stamp = self._policy_stamp()
        has_changed = stamp != self._policies
        if not has_changed and time.monotonic() < self._rebuild_again_at:
            return
        if has_changed:
            self._rebuild_failures = 0
        self._policies, self._rebuild_again_at = stamp, float("inf")
        try:
            with warehouse_writer(self._settings, wait_seconds=WRITER_WAIT_SECONDS):
                self._is_made = self._is_made or (
                    self._settings.warehouse_path.exists() and made_with(self._settings) is not None
                )
                reason = rebuild_reason(self._settings)
                lack = lacking_room(self._settings) if reason else None
        except Exception as error:
            # A policy file that cannot be read, say: what is in use goes on.
            self._rebuild_failed(_told(error))
            return
        if reason is None:
            if has_changed:
                # Versions that do not decide yet are rows all the same.
                self._refreshed_at = float("-inf")
            return
        if lack is not None:
            _log.warning("rebuild_in_place", reason=reason, because=lack)
            self._in_place = True
            return
        self._rebuilding = self._start_rebuild(self._settings)
        self._follow(self._rebuilding)

    def _follow(self, rebuilding: Rebuilding) -> None:
        # Before it is asked how it went: one that ends in between has not said it yet.
        has_ended = rebuilding.has_ended
        build = rebuilding.build()
        if build.stage != self._rebuild_told:
            self._rebuild_told = build.stage
            _log.info("rebuild", **build.as_dict())
            self._on_rebuild(build)
        if not has_ended:
            if rebuilding.age_seconds > MAX_RUNTIME_SECONDS:
                rebuilding.stop()
            return
        self._rebuilding = self._rebuild_told = None
        end_dead_runs(self._instance)
        if build.error is not None:
            self._rebuild_failed(build.error)
            return
        self._rebuild_failures = 0
        # The warehouse is another one: what was carried over waits for its batch, and after that people's file for its own.
        self._done, self._swapped, self._refreshed_at = Mark(0, 0, 0), True, float("-inf")

    def _rebuild_failed(self, told: dict[str, object] | dict[str, str]) -> None:
        seconds = REBUILD_RETRY_SECONDS[min(self._rebuild_failures, len(REBUILD_RETRY_SECONDS) - 1)]
        self._rebuild_failures += 1
        self._rebuild_again_at = time.monotonic() + seconds
        _log.error("rebuild_failed", retry_in_seconds=seconds, **told)

    def give_up(self) -> None:
        """End the rebuild under way, if there is one, and let the warehouse go."""
        if self._rebuilding is not None:
            self._rebuilding.stop()
        if self._enriching is not None:
            self._enriching.give_up()
        self._warehouse.let_go()

    def _enrich_aside(self) -> None:
        """Ask about companies that are due, after people's file is made; the next whole micro-batch lands what was answered meanwhile."""
        if self._enriching is not None and self._enriching.is_under_way:
            return
        self._enriching = Enriching(self._settings) if is_configured(self._settings) else None

    def _mark(self) -> Mark:
        reader = self._reader
        return Mark(reader.last_seq("live"), reader.last_seq("bulk"), reader.last_quarantine_id())

    def _policy_stamp(self) -> object:
        from models.policies.load import POLICY_FOLDER

        folder = self._settings.policies or POLICY_FOLDER
        return {file: file.stat().st_mtime_ns for file in folder.rglob("*.yml")}

    def _wait_after(self, error: Exception) -> None:
        # Whatever it was that failed: what is opened anew is as the disk has it.
        self._warehouse.let_go()
        seconds = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1
        _log.error("batch_failed", retry_in_seconds=seconds, **_told(error))
        self._stop.wait(seconds)

    def _forget_old_runs(self) -> None:
        from dagster import DagsterRunStatus, RunsFilter

        filters = RunsFilter(job_name=self._hot.name, statuses=[DagsterRunStatus.SUCCESS])
        runs = self._instance.get_runs(filters, limit=KEPT_RUNS + 50)
        for run in runs[KEPT_RUNS:]:
            self._instance.delete_run(run.run_id)


def _told(error: Exception) -> dict[str, object]:
    if isinstance(error, HandoffError):
        return {"code": error.code, "message": error.message, "remedy": error.remedy}
    return {"code": "INTERNAL", "message": repr(error), "exc_info": error}
