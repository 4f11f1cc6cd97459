"""The Dagster instance under HANDOFF_HOME: its configuration, and putting right runs whose process is gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ingestion.home import require_home
from ingestion.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

PID_TAG = "handoff/pid"

# Nothing is printed by a run that its events do not say, and capturing what is printed starts four processes a run. One file of events, as a
# file a run is created with all its tables each time. Pools are judged per run: slots per op are held for ever by a run that was killed (dagster#33643).
_DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    granularity: run
    default_limit: 1
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config:
    base_dir:
      env: DAGSTER_HOME
run_monitoring:
  enabled: true
  start_timeout_seconds: 180
  max_runtime_seconds: 3600
run_retries:
  enabled: true
  max_retries: 2
"""


def prepare_dagster_home(settings: Settings) -> None:
    """Create the instance's folder and configuration, and point this process at it."""
    require_home(settings)
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists() or config.read_text(encoding="utf-8") != _DAGSTER_YAML:
        config.write_text(_DAGSTER_YAML, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)


def open_instance(settings: Settings) -> DagsterInstance:
    """The instance, with runs of dead processes ended; close it with `with`."""
    prepare_dagster_home(settings)
    from dagster import DagsterInstance

    instance = DagsterInstance.get()
    end_dead_runs(instance)
    return instance


def end_dead_runs(instance: DagsterInstance) -> int:
    """Mark runs failed that a killed command left as started: they would hold back every run after them. Returns how many."""
    from dagster import DagsterRunStatus, RunsFilter

    ended = 0
    for run in instance.get_runs(
        RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.STARTING])
    ):
        pid = run.tags.get(PID_TAG)
        if pid is not None and not _is_alive(int(pid)):
            instance.report_run_failed(run, f"process {pid} ended without finishing the run")
            ended += 1
    return ended


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
