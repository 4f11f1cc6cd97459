"""The job the peers do: what they are given, and what has to come out; no data frame is opened here.

The job, from the raw rows as Parquet: activities counted once; contacts as they stand; who is one
person, by address, telephone number, stated id and merge, with the policy's limits; whose the visits
of a browser are that was seen with one person only; every score with
its caps and decay; who became an MQL; what each channel earned by each attribution model. Not in it,
but in a rebuild: consent, routing, KPIs, reasons and evidence, what is to be written to the CRM, and
tables that a batch can be added to.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ATTRIBUTES = (
    "job_title",
    "country",
    "industry",
    "employee_count",
    "annual_revenue_usd",
    "company",
    "region",
    "email_domain",
    "original_source",
    "latest_source",
)

SEARCH = r"(?i)^([a-z]+://)?([^/?#]*\.)?(google|bing|duckduckgo|yahoo|ecosia)(\.[a-z]{2,3}){1,2}([:/?#]|$)"
SOCIAL = r"(?i)^([a-z]+://)?([^/?#]*\.)?(linkedin|facebook|twitter|x|instagram|youtube)(\.[a-z]{2,3}){1,2}([:/?#]|$)"
PAID_SEARCH = ("cpc", "ppc", "paidsearch", "paid_search")
PAID_SOCIAL = ("paid_social", "paidsocial", "cpm")
ORGANIC_SOCIAL = ("social", "organic_social")


@dataclass(frozen=True, slots=True)
class Job:
    """The active policies, as plain values; rules are rows of `raw_policies.scoring_rules`."""

    as_of: datetime
    engagement: list[dict[str, Any]]
    fit: list[dict[str, Any]]
    mql_threshold: float
    total_cap: float
    max_records: dict[str, int]
    blocked: dict[str, list[str]]
    shared_mailboxes: list[str]
    priorities: dict[str, int]
    browser_days: int
    touchpoint_types: list[str]
    free_mail: list[str]
    # Model → weight of the first touch, of the last, and whether all get the same.
    attribution: dict[str, tuple[float, float, bool]]


@dataclass(slots=True)
class Outcome:
    """What came out. `scores` are total scores in ascending order, `revenue_usd` is by attribution
    model and channel, `seconds` are of each step."""

    people: int
    activities: int
    scores: NDArray[np.float64]
    mql_people: int
    revenue_usd: dict[tuple[str, str], float]
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


def job_of_active_policies(as_of: datetime) -> Job:
    """The job under the policies of the project."""
    from models.policies.load import load_policies
    from models.policies.rows import policy_tables
    from orchestration.transform import DBT_PROJECT

    tables = {
        name: [row for row in table.to_pylist() if row["is_active"]]
        for name, table in policy_tables(load_policies(None, further_systems=())).items()
    }
    [version] = tables["scoring_versions"]
    blocked: dict[str, list[str]] = {}
    for row in tables["identity_blocked_values"]:
        blocked.setdefault(row["identifier_type"], []).append(row["pattern"])
    seeds = DBT_PROJECT / "seeds"
    return Job(
        as_of=as_of,
        engagement=[row for row in tables["scoring_rules"] if row["kind"] == "engagement"],
        fit=[row for row in tables["scoring_rules"] if row["kind"] == "fit"],
        mql_threshold=version["mql_threshold"],
        total_cap=version["total_cap"] or float("inf"),
        max_records={
            row["identifier_type"]: row["max_records"]
            for row in tables["identity_identifiers"]
            if row["is_linking"]
        },
        blocked=blocked,
        shared_mailboxes=[row["local_part"] for row in tables["identity_shared_mailboxes"]],
        priorities={row["system"]: row["priority"] for row in tables["identity_system_priority"]},
        browser_days=tables["identity_anonymous_ids"][0]["expires_after_days"],
        touchpoint_types=[
            row["activity_type"]
            for row in tables["kpi_activity_types"]
            if row["role"] == "touchpoint"
        ],
        free_mail=[row["domain"] for row in _csv(seeds / "free_mail_domains.csv")],
        attribution={
            row["attribution_model"]: (
                float(row["first_weight"]),
                float(row["last_weight"]),
                row["is_even"] == "true",
            )
            for row in _csv(seeds / "attribution_models.csv")
        },
    )


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def components(count: int, left: Any, right: Any) -> tuple[int, Any]:
    """Number of components of a graph of `count` nodes, and the component of each."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    weights = np.ones(len(left), dtype=np.int8)
    graph = coo_array((weights, (left, right)), shape=(count, count))
    found: tuple[int, Any] = connected_components(graph, directed=False)
    return found
