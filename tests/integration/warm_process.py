"""Forks `handoff` from a process that has imported everything: each run is a process of its own, spared the seconds of importing."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

IMPORTED = (
    "dagster_dbt",
    "dlt.destinations",
    "pandas",
    "pyarrow.parquet",
    "expectations.validate",
    "ingestion.landing.files",
    "ingestion.log.owner",
    "orchestration.cli.screens",
    "orchestration.doctor",
    "orchestration.explain",
    "orchestration.micro_batch",
)


def main() -> None:
    """Answer requests, one JSON document a line: `start` gives a pid, `poll` an exit code or null while it runs."""
    for name in IMPORTED:
        importlib.import_module(name)
    from ingestion.settings import Settings
    from orchestration import transform

    transform.manifest(Settings())
    kept = list(transform.manifest_path(Settings()).parent.glob("[!p]*.msgpack"))
    if kept:
        # The parser's threads do not survive a fork: what was parsed here counts as parsed at installation.
        transform.PREBUILT = kept[0].parent
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            pid = os.fork()
            if pid == 0:
                _become(request)
            answer: Any = pid
        else:
            pid, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


def _become(request: dict[str, Any]) -> NoReturn:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["handoff", *request["arguments"]]
    code = 0
    try:
        from orchestration.cli.app import main as handoff

        handoff()
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    if not sys.stderr.closed:
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
