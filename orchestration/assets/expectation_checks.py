"""What Great Expectations says of a table as an asset check, kept for the pages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion.settings import Settings
from orchestration.data_docs import results_folder

if TYPE_CHECKING:
    from expectations.validate import SuiteResult


def check_result(
    name: str,
    key: dg.AssetKey,
    result: "SuiteResult",
    *,
    warned: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """A suite's outcome as an asset check; counts and messages only, never values. A claim that is no more than a warning stops nothing, and
    fails the check, as a warning, only when it is there to warn (`warned`)."""
    failed = not result.success
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=key,
        passed=not failed and not (warned and result.warnings),
        severity=dg.AssetCheckSeverity.WARN
        if warned and not failed
        else dg.AssetCheckSeverity.ERROR,
        metadata={
            "rows": result.row_count,
            "expectations": len(result.results),
            "failed": dg.MetadataValue.json([failure.message for failure in result.failures]),
            "warnings": dg.MetadataValue.json([warning.message for warning in result.warnings]),
            "seconds": round(result.seconds, 3),
            **(metadata or {}),
        },
    )


def remember_result(settings: Settings, result: "SuiteResult") -> None:
    """Keep the outcome of a table's suite: Data Docs show the newest of each."""
    from expectations.kept_results import keep_result

    keep_result(result, results_folder(settings))
