"""Asset checks that look whether things go on as before: how many become MQLs, and whether the lead model still means what it says."""

import dagster as dg

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.assets.keys import table_key


@dg.asset_check(
    asset=table_key("marts", "fct_mqls"),
    description="As many new people become MQLs as in the window before, or no more or fewer than chance explains; says which cause it was.",
)
def mqls_as_before() -> dg.AssetCheckResult:
    """Without a replay: what another policy does is told by `handoff drift`, or before it decides by `handoff replay`."""
    from orchestration.drift import find_drift
    from orchestration.drift_page import verdict, write_page

    settings = Settings()
    try:
        found = find_drift(settings, with_replay=False)
    except HandoffError as error:
        return _nothing_yet(error)
    chart = settings.artifacts_dir / "drift.html"
    write_page(chart, found)
    told = found.diagnosis
    return dg.AssetCheckResult(
        passed=told.first is None,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "verdict": verdict(found),
            "mqls_before": told.before,
            "mqls_now": told.now,
            **{part.cause.replace(" ", "_"): round(part.mqls, 2) for part in told.parts},
            "chart": dg.MetadataValue.path(str(chart)),
        },
    )


@dg.asset_check(
    asset=table_key("marts", "fct_mql_outcomes"),
    description="The lead model's mean probability lies within the exact bounds of the share that succeeded since it was trained.",
)
def model_means_what_it_says() -> dg.AssetCheckResult:
    """Passes while there is no model, or too few outcomes to judge it by."""
    from orchestration.lead_model_versions import lead_policies, retraining_due

    settings = Settings()
    due = retraining_due(settings, lead_policies(settings))
    return dg.AssetCheckResult(
        passed=due is None,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"verdict": due or "as it should be, or too few to tell"},
    )


def _nothing_yet(error: HandoffError) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True, metadata={"verdict": f"{error.code}: {error.message}"})
