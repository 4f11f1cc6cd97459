"""Says whether the policies can be used, and which of their rules nobody has ever met; changes nothing."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingestion.settings import Settings
from models.policies.documents import ScoringPolicy
from models.policies.load import Policies, check_frozen, load_policies
from orchestration.serving import open_serving


@dataclass(frozen=True, slots=True)
class VersionChecked:
    """One version of one kind, as `handoff policy check` lists it."""

    kind: str
    version: str
    is_active: bool
    description: str
    owner: str
    effective_at: str


@dataclass(frozen=True, slots=True)
class UnmetRule:
    """A rule of the active scoring version that nobody's ledger has, though others' rules are in it."""

    rule_id: str
    label: str
    section: str


@dataclass(frozen=True, slots=True)
class PoliciesChecked:
    """Every version, and the rules without effect; `people` is how many have a ledger, 0 before the first run."""

    folder: Path
    versions: tuple[VersionChecked, ...]
    people: int = 0
    unmet: tuple[UnmetRule, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "folder": str(self.folder)}


def check_policies(settings: Settings, folder: Path | None = None) -> PoliciesChecked:
    """Read and judge every policy below `folder` (default: those in use), and compare with what was published.

    Raises POLICY_INVALID, which names every fault by file and line with its remedy, and POLICY_FROZEN when a version that decided says
    something else now.
    """
    policies = load_policies(folder or settings.policies, further_systems=settings.extra_systems)
    used, people, met = _as_published(settings, policies)
    check_frozen(policies, used)
    return PoliciesChecked(
        policies.folder,
        tuple(
            VersionChecked(
                kind,
                version.version,
                policies.is_active(version),
                version.document.description,
                version.document.owner,
                version.document.effective_at.isoformat(),
            )
            for kind, versions in sorted(policies.versions.items())
            for version in versions.values()
        ),
        people,
        tuple(rule for rule in _rules(policies) if people and rule.rule_id not in met),
    )


def _rules(policies: Policies) -> list[UnmetRule]:
    document = policies.versions["scoring"][policies.active["scoring"]].document
    assert isinstance(document, ScoringPolicy)
    return [
        UnmetRule(rule.id, rule.label, section)
        for section in ("engagement", "fit", "exclusions")
        for rule in getattr(document, section)
    ]


def _as_published(
    settings: Settings, policies: Policies
) -> tuple[dict[tuple[str, str], str], int, set[str]]:
    """Hashes of the versions that decided, how many people have a ledger by the active scoring version, and its rules that are in any."""
    if not settings.serving_path.exists():
        return {}, 0, set()
    with contextlib.closing(open_serving(settings)) as connection:
        used = {
            (kind, version): content_hash
            for kind, version, content_hash in connection.execute(
                "select kind, version, content_hash from ops.policies_used"
            ).fetchall()
        }
        rules = connection.execute(
            "select rule_id, count(distinct person_id) from marts.fct_score_ledger where scoring_version = ? group by cube (rule_id)",
            [policies.active["scoring"]],
        ).fetchall()
    people = next((count for rule, count in rules if rule is None), 0)
    return used, people, {rule for rule, _ in rules if rule is not None}
