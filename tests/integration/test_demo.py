"""`handoff demo` on an empty home, and every dbt test, unit and data, on what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(1_800)
def test_every_dbt_test_passes_on_the_warehouse_of_the_demo(empty: Any) -> None:
    outcome = empty.start("demo", "--json").wait(900)
    assert outcome.code == 0, outcome.err

    built = subprocess.run(
        [sys.executable, "-m", "orchestration.dbt_command", "build"],
        env={**os.environ, "HANDOFF_HOME": str(empty.home / "demo"), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-20_000:]
    assert "PASS=" in built.stdout, built.stdout[-2_000:]
