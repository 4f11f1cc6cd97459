"""What the first screen says of a figure, and when it says none."""

from __future__ import annotations

from typing import Any

import pytest

from orchestration.cli.screens import print_demo
from orchestration.demo import DemoResult


def told(kpi: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The line of one KPI."""
    print_demo(DemoResult("home", 7, 1.0, [], [], [], [], [kpi], [], [], []))
    return next(line for line in capsys.readouterr().out.splitlines() if kpi["kpi"] in line)


def test_a_figure_of_too_few_cases_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"kpi": "meeting_no_show_rate", "numerator": 6.0, "minimum_sample": 30}
    few = told(row | {"denominator": 29.0, "value": None}, capsys)
    assert "too few" in few
    assert "29 of the 30" in few
    assert "%" not in few
    enough = told(row | {"denominator": 30.0, "value": 0.2}, capsys)
    assert "20.0%" in enough
    assert "nothing to measure" in told(row | {"denominator": 0.0, "value": None}, capsys)
