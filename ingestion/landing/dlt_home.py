"""Keeps dlt inside HANDOFF_HOME: its folders, its settings and its silence; nothing about what is
loaded."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_LOCK = threading.Lock()

# dlt reads these instead of the environment, ./.dlt and ~/.dlt: a stray file there must not change
# a load.
DLT_CONFIG: dict[str, Any] = {
    "runtime": {
        "dlthub_telemetry": False,
        "log_level": "ERROR",
        # dlt would swallow the first Ctrl-C while it drains; an interrupted load is cleaned up
        # anyway.
        "intercept_signals": False,
    },
    "normalize": {"parquet_normalizer": {"add_dlt_load_id": True}},
    # State and schemas come from the contracts at every load, so nothing is restored or stored.
    "restore_from_destination": False,
    "enable_runtime_trace": False,
    "load": {"workers": 1, "delete_completed_jobs": True},
}


def use_dlt_home(folder: Path) -> None:
    """Make `folder` the only place dlt reads settings from and writes to, for this whole
    process."""
    from dlt.common.configuration.container import Container
    from dlt.common.configuration.providers import ConfigProvider
    from dlt.common.configuration.providers.doc import CustomLoaderDocProvider
    from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
    from dlt.common.runtime.run_context import RunContext

    class HandoffContext(RunContext):
        """A dlt run context whose every folder is `folder`."""

        @property
        def global_dir(self) -> str:
            return str(folder)

        @property
        def run_dir(self) -> str:
            return str(folder)

        @property
        def local_dir(self) -> str:
            return str(folder)

        @property
        def data_dir(self) -> str:
            return str(folder)

        @property
        def module(self) -> None:
            return None

        @property
        def name(self) -> str:
            return "handoff"

        def initial_providers(self) -> list[ConfigProvider]:
            return [CustomLoaderDocProvider("handoff", lambda: DLT_CONFIG)]

    with _LOCK:
        container = Container()
        if PluggableRunContext in container:
            active = container[PluggableRunContext].context
            if active.name == "handoff" and active.global_dir == str(folder):
                return
        folder.mkdir(parents=True, exist_ok=True)
        # Set before anything asks for it: dlt's own default starts telemetry and writes to the
        # user's home.
        container[PluggableRunContext] = PluggableRunContext(HandoffContext(str(folder)))
