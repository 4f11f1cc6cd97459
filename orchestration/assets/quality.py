"""The page that shows what Great Expectations last said at each door."""

from typing import Any

import dagster as dg

from ingestion.settings import Settings
from orchestration.assets.keys import owners_of
from orchestration.data_docs import results_folder


@dg.asset(
    key=dg.AssetKey(["quality", "data_docs"]),
    group_name="quality",
    owners=owners_of("quality"),
    kinds={"greatexpectations", "html"},
    description="Great Expectations Data Docs of the newest result of each suite; opens without a network.",
)
def build_data_docs() -> dg.MaterializeResult[Any]:
    """Build the pages from the kept results."""
    from expectations.docs import build_data_docs as build
    from expectations.kept_results import kept_results

    settings = Settings()
    results = kept_results(results_folder(settings))
    index = build(results, settings.artifacts_dir / "data_docs")
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(str(index)), "suites": len(results)}
    )
