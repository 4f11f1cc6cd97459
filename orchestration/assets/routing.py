"""Asset check that leads are spread as the policy says; its page is where operators and RevOps look."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.assets.keys import table_key

DAYS = 90
# A lead, and another one for who came, went or was full in between.
MOST_TURNS_OFF = 2.0


@dg.asset_check(
    asset=table_key("marts", "fct_assignments"),
    name="leads_are_spread_fairly",
    description="No rep has had more, or fewer, turns of a pool than they were entitled to; says how many leads nobody has.",
)
def routing_check() -> dg.AssetCheckResult:
    """Load, fairness, deadlines and first touches go to a page."""
    from orchestration.routing_figures import routing_figures
    from orchestration.routing_page import write_page

    settings = Settings()
    try:
        figures = routing_figures(settings, datetime.now(UTC) - timedelta(days=DAYS))
    except HandoffError as error:
        verdict = f"{error.code}: {error.message}"
        return dg.AssetCheckResult(passed=True, metadata={"verdict": verdict})
    path = settings.artifacts_dir / "routing.html"
    write_page(path, figures)
    return dg.AssetCheckResult(
        passed=figures.furthest_off <= MOST_TURNS_OFF,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "furthest_off": round(figures.furthest_off, 3),
            "leads_waiting": len(figures.waiting),
            "deadlines_met": sum(row["met"] for row in figures.reps),
            "deadlines": sum(row["due"] for row in figures.reps),
            "page": dg.MetadataValue.path(str(path)),
        },
    )
