"""Refuses plans larger than the sync policy allows; says nothing about single rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingestion.errors.catalog import HandoffError
from ingestion.outbound.plan import Plan


@dataclass(frozen=True, slots=True)
class Guard:
    """Limits for one object in one plan, from the sync policy.

    `max_update_share` is the share (0..1) of the records known in the system; it is not judged for
    plans of at most `share_floor` updates, where one record more or less would decide.
    """

    max_creates: int
    max_updates: int
    max_update_share: float
    share_floor: int = 20


@dataclass(frozen=True, slots=True)
class GuardViolation:
    """One limit that a plan breaks: `planned` is above `allowed` (a count, or a share 0..1)."""

    object: str
    limit: str
    allowed: float
    planned: float
    message: str
    remedy: str


def check_guard(
    plan: Plan, guards: Mapping[str, Guard], known_counts: Mapping[str, int]
) -> list[GuardViolation]:
    """The limits `plan` breaks; empty means it may be applied.

    `guards` and `known_counts` (records of ours known in the system) are by object. An object
    without a guard may not be written at all.
    """
    found: list[GuardViolation] = []
    for name, counts in plan.counts().items():
        guard = guards.get(name)
        if guard is None:
            total = counts.creates + counts.updates
            if total:
                found.append(
                    GuardViolation(
                        name,
                        "guard",
                        0,
                        total,
                        f"{name}: {total} records planned, but the sync policy has no guard for it",
                        f"Add `{name}` under `destinations.{plan.system}` in the sync policy.",
                    )
                )
            continue
        known = known_counts.get(name, 0)
        share = counts.updates / known if known else float(counts.updates > 0)
        judged: list[tuple[str, float, float, str]] = [
            ("max_creates", guard.max_creates, counts.creates, f"{counts.creates} creates"),
            ("max_updates", guard.max_updates, counts.updates, f"{counts.updates} updates"),
        ]
        if counts.updates > guard.share_floor:
            text = f"{counts.updates} updates are {share:.1%} of {known} known records"
            judged.append(("max_update_share", guard.max_update_share, share, text))
        for limit, allowed, planned, text in judged:
            if planned > allowed:
                shown = f"{allowed:.1%}" if limit == "max_update_share" else f"{allowed:g}"
                found.append(
                    GuardViolation(
                        name,
                        limit,
                        allowed,
                        planned,
                        f"{name}: {text}, {limit} allows {shown}",
                        f"Look at {plan.plan_id}; if meant, raise {limit} of {name}.",
                    )
                )
    return found


def require_guard(plan: Plan, guards: Mapping[str, Guard], known_counts: Mapping[str, int]) -> None:
    """Raises HandoffError GUARD_REFUSED with every broken limit, its numbers and the remedy."""
    violations = check_guard(plan, guards, known_counts)
    if violations:
        raise HandoffError(
            "GUARD_REFUSED",
            f"plan {plan.plan_id} refused, nothing was sent: "
            + "; ".join(violation.message for violation in violations),
            remedy=" ".join(dict.fromkeys(violation.remedy for violation in violations)),
        )
