"""What drift was found as rows, judged by the suites of `expectations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.drift.diagnosis import Diagnosis
from models.drift.distributions import Shift
from orchestration.lead_model_versions import Live

if TYPE_CHECKING:
    from expectations.validate import SuiteResult


def judge_causes(told: Diagnosis, table: str) -> SuiteResult:
    """A row per cause; `table` is what was looked at."""
    rows = [
        (part.cause, abs(part.mqls) / max(1, told.before) if part.is_significant else 0.0)
        for part in told.parts
    ]
    return _judge("drift__mqls", ("cause", "beyond_chance"), rows, table)


def judge_shifts(shifts: Sequence[Shift], table: str) -> SuiteResult:
    """A row per subject."""
    rows = [(shift.subject, shift.beyond_chance) for shift in shifts]
    return _judge("drift__distributions", ("subject", "beyond_chance"), rows, table)


def judge_calibration(live: Live | None, table: str) -> SuiteResult:
    """One row; none while there is nothing to judge."""
    rows = [] if live is None else [(live.predicted, live.low, live.high)]
    return _judge("drift__calibration", ("expected", "actual_low", "actual_high"), rows, table)


def _judge(
    suite: str, columns: Sequence[str], rows: Sequence[tuple[str | float, ...]], table: str
) -> SuiteResult:
    import pandas as pd

    from expectations.validate import validate_frame

    return validate_frame(pd.DataFrame(rows, columns=list(columns)), suite, table)
