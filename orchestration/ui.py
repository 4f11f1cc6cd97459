"""Starts Dagster's web server and daemon as one process group and takes all of it down again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from ingestion.listening import listen
from ingestion.settings import Settings
from orchestration.instance import open_instance
from orchestration.transform import dbt_environment

_STOP_SECONDS = 15.0


def serve_ui(settings: Settings, port: int) -> int:
    """Serve until Ctrl-C; returns the exit code. `dagster dev` alone leaves its children behind under load.

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
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dagster",
            "dev",
            "--module-name",
            "orchestration.definitions",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        env=environment,
        start_new_session=True,
    )

    def stop(*_: object) -> None:
        os.killpg(process.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    try:
        return process.wait()
    except KeyboardInterrupt:
        stop()
        try:
            process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        return 0
    finally:
        # Whatever the group still holds: code servers outlive their parent when they are starved.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
