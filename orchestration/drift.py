"""Has the change of MQLs between two windows of new people explained, and what these people are like compared; how both are told stands in
`models.drift`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.settings import Settings
from models.drift.diagnosis import Diagnosis, RuleChange, Window, diagnose
from models.drift.distributions import Shift, compare
from models.policies.documents import KpiPolicy, ScoringPolicy
from models.policies.load import Policies, load_policies
from orchestration.drift_model import inputs_of_model
from orchestration.drift_windows import HORIZON_DAYS, count_window, scores_and_rules
from orchestration.serving import open_serving

# By custom, of a population stability index; the Wasserstein distance in standard deviations is held to the same.
WORTH_A_LOOK = 0.1

# Kinds of which another version makes other MQLs of the same history.
_DECIDING = ("identity", "accounts", "consent", "scoring")

# The newest version of each kind that came into use since, and the one before it.
_CHANGED = """
    with used as (
        select kind, version, first_used_at, lag(version) over (partition by kind order by first_used_at) as former
        from ops.policies_used
    )
    select kind, former, version from used
    where former is not null and first_used_at > $start::timestamptz and first_used_at <= $as_of::timestamptz
    qualify row_number() over (partition by kind order by first_used_at desc) = 1
    order by kind
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """Two windows of `days` each, the current one from `since` to `until`, and what tells them apart: why there are more or fewer MQLs
    (`diagnosis`), what these people did and score (`people`), and how the MQLs of the last `days` differ from those the lead model was
    learned from (`model`; nothing without one)."""

    since: datetime
    until: datetime
    days: int
    before: Window
    now: Window
    diagnosis: Diagnosis
    people: tuple[Shift, ...]
    model: tuple[Shift, ...]

    @property
    def moved(self) -> tuple[Shift, ...]:
        """What has moved by more than chance and further than is worth a look, the furthest first."""
        shifts = (
            shift for shift in (*self.people, *self.model) if shift.beyond_chance > WORTH_A_LOOK
        )
        return tuple(sorted(shifts, key=lambda shift: -shift.beyond_chance))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **asdict(self),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
        }


def find_drift(
    settings: Settings,
    *,
    days: int | None = None,
    as_of: datetime | None = None,
    with_replay: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Drift:
    """Compare new people of the last `days` (those who have had HORIZON_DAYS by `as_of`) with those of as many days before; default what the
    KPI policy calls the drift window.

    Where a policy has changed since, history is replayed under the former version (`with_replay`), which tells exactly what the new one
    does. Raises what `open_serving` and `replay` raise.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    kpi = policies.deciding("kpi").document
    assert isinstance(kpi, KpiPolicy)
    days = days or round(kpi.drift_window_days)
    instant = as_of or datetime.now(UTC)
    until = (instant - timedelta(days=HORIZON_DAYS)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    since = until - timedelta(days=days)
    scoring = _scoring(policies)
    formerly = since - timedelta(days=days)
    with contextlib.closing(open_serving(settings)) as connection:
        before = count_window(connection, scoring, formerly, since)
        now = count_window(connection, scoring, since, until)
        samples = scores_and_rules(connection, formerly, since, until)
        inputs = inputs_of_model(connection, policies, instant - timedelta(days=days), instant)
        changed = [
            row
            for row in connection.execute(_CHANGED, {"start": since, "as_of": instant}).fetchall()
            if row[0] in _DECIDING
        ]
        people = {
            person: seen
            for person, seen in connection.execute(
                "select person_id, first_seen_at from marts.dim_people "
                "where first_seen_at >= ?::timestamptz and first_seen_at < ?::timestamptz",
                [since, until],
            ).fetchall()
        }
    rules = None
    if changed and with_replay:
        rules = _rules(settings, changed, people, since, instant, progress)
    return Drift(
        since,
        until,
        days,
        before,
        now,
        diagnose(before, now, rules, minimum_sample=kpi.minimum_sample),
        compare(samples, minimum_sample=kpi.minimum_sample),
        compare(inputs, minimum_sample=kpi.minimum_sample),
    )


def _scoring(policies: Policies) -> dict[str, ScoringPolicy]:
    """Versions that decide of somebody, by name; those of people who try a newer one too."""
    found = {}
    for version, policy in policies.versions["scoring"].items():
        if isinstance(policy.document, ScoringPolicy):
            found[version] = policy.document
    return found


def _rules(
    settings: Settings,
    changed: list[tuple[str, str, str]],
    people: dict[str, datetime],
    since: datetime,
    as_of: datetime,
    progress: Callable[[str], None],
) -> RuleChange:
    """Who of the people of now is an MQL in time by the versions of now, and by the former ones."""
    from orchestration.policy_replay import State, replay

    former = {kind: version for kind, version, _ in changed}
    told = replay(settings, former, since=since, as_of=as_of, progress=progress)

    def reached(state: State) -> set[str]:
        return {
            lead["person_id"]
            for lead in state.leads
            if lead["place"] == 1
            and lead["person_id"] in people
            and lead["reached_at"] < people[lead["person_id"]] + timedelta(days=HORIZON_DAYS)
        }

    by_now, by_former = reached(told.before), reached(told.after)
    return RuleChange(
        ", ".join(f"{kind} {version} → {new}" for kind, version, new in changed),
        only_now=len(by_now - by_former),
        only_former=len(by_former - by_now),
    )
