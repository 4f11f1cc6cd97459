"""Starts Dagster's web server and daemon, and the worker, and takes all of it down again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from ingestion.listening import listen
from ingestion.settings import Settings
from orchestration.instance import open_instance
from orchestration.transform import dbt_environment
from orchestration.writer_lock import running_worker

# The batch under way is finished first.
_STOP_SECONDS = 15.0
_LOOK_SECONDS = 0.2


def serve_ui(settings: Settings, port: int, *, with_worker: bool) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code. `dagster dev` alone leaves its children behind under load.

    With the worker, what comes in is taken at once and Dagster shows it; without, Dagster's own sensor starts a run within some ten seconds.
    ADDRESS_UNAVAILABLE when the port is taken.
    """
    # On a busy port Dagster's web server ends and its daemon runs on, with nobody to stop it.
    listen("127.0.0.1", port, "HANDOFF_UI_PORT").close()
    with open_instance(settings):
        pass
    environment = {
        **os.environ,
        **dbt_environment(settings),
        "HANDOFF_HOME": str(settings.root),
        "DAGSTER_HOME": str(settings.dagster_home),
    }
    dagster = ["dagster", "dev", "--module-name", "orchestration.definitions"]
    commands = [[*dagster, "--host", "127.0.0.1", "--port", str(port)]]
    if with_worker and running_worker(settings) is None:
        commands.append(["orchestration.cli.app", "work"])
    # A shell that starts a command in the background has it ignore Ctrl-C, and Dagster stops its children by just that signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    groups = [
        subprocess.Popen([sys.executable, "-m", *command], env=environment, start_new_session=True)
        for command in commands
    ]
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # When the first of them ends by itself, something is wrong: the others are of no use alone.
        while all(group.poll() is None for group in groups):
            time.sleep(_LOOK_SECONDS)
    ended = next((code for group in groups if (code := group.poll()) is not None), 0)
    for group in groups:
        _signal(group, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for group in groups:
        with contextlib.suppress(subprocess.TimeoutExpired):
            group.wait(timeout=max(0.0, deadline - time.monotonic()))
        # Whatever the group still holds: code servers outlive their parent when they are starved.
        _signal(group, signal.SIGKILL)
    return ended


def _signal(group: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group.pid, number)
