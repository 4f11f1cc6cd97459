"""Runs dbt's own command on this HANDOFF_HOME: `python -m orchestration.dbt_command build -s fct_scores+`."""

from __future__ import annotations

import os
import sys

from ingestion.settings import Settings
from orchestration.transform import dbt_environment
from orchestration.writer_lock import warehouse_writer, writer_patience


def main(arguments: list[str]) -> int:
    """Exit code of dbt, which gets `arguments` as they are; nobody else writes the warehouse meanwhile."""
    from dbt.cli.main import dbtRunner

    settings = Settings()
    os.environ.update(dbt_environment(settings))
    with warehouse_writer(settings, wait_seconds=writer_patience(settings)):
        return 0 if dbtRunner().invoke(arguments).success else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
