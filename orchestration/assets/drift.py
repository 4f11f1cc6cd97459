"""Asset checks that look whether things go on as before: how many become MQLs, what people are like, and whether the lead model still means what
it says. Each is a suite of Great Expectations over what was found."""

from collections.abc import Iterator, Sequence

import dagster as dg

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from models.drift.distributions import Shift
from orchestration.assets.expectation_checks import check_result, remember_result
from orchestration.assets.keys import table_key

_MQLS, _SCORES, _OUTCOMES = (
    table_key("marts", name) for name in ("fct_mqls", "fct_scores", "fct_mql_outcomes")
)
_DRIFT = (
    dg.AssetCheckSpec(
        "mqls_as_before",
        asset=_MQLS,
        description="As many new people become MQLs as in the window before, or no more or fewer than chance explains; says which cause it was.",
    ),
    dg.AssetCheckSpec(
        "people_as_before",
        asset=_SCORES,
        description="New people score and meet rules as in the window before, or differ by no more than chance.",
    ),
    dg.AssetCheckSpec(
        "leads_as_learned",
        asset=_OUTCOMES,
        description="MQLs are like the leads that the lead model was learned from, in each of its features and in its probabilities.",
    ),
)


@dg.multi_asset_check(specs=_DRIFT)
def drift_checks() -> Iterator[dg.AssetCheckResult]:
    """Without a replay: what another policy does is told by `handoff drift`, or before it decides by `handoff replay`."""
    from orchestration.drift import find_drift
    from orchestration.drift_expectations import judge_causes, judge_shifts
    from orchestration.drift_page import verdict, write_page

    settings = Settings()
    try:
        found = find_drift(settings, with_replay=False)
    except HandoffError as error:
        for spec in _DRIFT:
            yield dg.AssetCheckResult(
                check_name=spec.name,
                asset_key=spec.asset_key,
                passed=True,
                metadata={"verdict": f"{error.code}: {error.message}"},
            )
        return
    chart = settings.artifacts_dir / "drift.html"
    write_page(chart, found)
    told = found.diagnosis
    page = {"chart": dg.MetadataValue.path(str(chart))}
    judged = (
        (
            judge_causes(told, "marts.fct_mqls"),
            {
                "verdict": verdict(found),
                "mqls_before": told.before,
                "mqls_now": told.now,
                **{part.cause.replace(" ", "_"): round(part.mqls, 2) for part in told.parts},
            },
        ),
        (judge_shifts(found.people, "marts.fct_scores"), _moved(found.people)),
        (judge_shifts(found.model, "marts.fct_mql_outcomes"), _moved(found.model)),
    )
    for spec, (result, metadata) in zip(_DRIFT, judged, strict=True):
        remember_result(settings, result)
        yield check_result(
            spec.name, spec.asset_key, result, warned=True, metadata={**metadata, **page}
        )


def _moved(shifts: Sequence[Shift]) -> dict[str, object]:
    """What moved furthest, in words."""
    furthest = sorted(shifts, key=lambda shift: (-shift.beyond_chance, -shift.size))[:5]
    return {
        "compared": len(shifts),
        "furthest": dg.MetadataValue.json(
            [
                f"{told.subject}: {told.measure} {told.size:.3f}, {told.evidence}"
                for told in furthest
            ]
        ),
    }


@dg.asset_check(
    asset=_OUTCOMES,
    description="The lead model's mean probability lies within the exact bounds of the share that succeeded since it was trained.",
)
def model_means_what_it_says() -> dg.AssetCheckResult:
    """Passes while there is no model, or too few outcomes to judge it by."""
    from orchestration.drift_expectations import judge_calibration
    from orchestration.lead_model_versions import due_by, lead_policies, live_figures

    settings = Settings()
    policies = lead_policies(settings)
    live = live_figures(settings, policies)
    result = judge_calibration(live, "marts.fct_mql_outcomes")
    remember_result(settings, result)
    due = due_by(policies, live)
    return check_result(
        "model_means_what_it_says",
        _OUTCOMES,
        result,
        warned=True,
        metadata={"verdict": due or "as it should be, or too few to tell"},
    )
