"""Versions of the lead model: which one counts, how the trained ones have done since, and whether it is time to learn anew."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from models.policies.load import Policies, load_policies
from models.scoring.artefact import TrainedModel
from orchestration.serving import open_serving

_FEWEST_TO_JUDGE = 30
# So much more to learn from than it was learned from makes it worth doing again.
_NEW_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Live:
    """How a model has told MQLs whose days have passed since it was trained; `auc` needs ten of either kind."""

    cases: int
    positives: int
    predicted: float
    actual: float
    low: float
    high: float
    auc: float | None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of the model policy; what is None is not known before it is trained, or before its MQLs had their days."""

    version: str
    description: str
    is_champion: bool
    model_id: str | None = None
    estimator: str | None = None
    cases: int = 0
    auc: float = 0.0
    trained_as_of: str = ""
    card: str | None = None
    live: Live | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def lead_policies(settings: Settings) -> Policies:
    """The policies, of which the functions here ask the model."""
    return load_policies(settings.policies, further_systems=settings.extra_systems)


def card_path(settings: Settings, version: str, model: TrainedModel) -> Path:
    """Where the card of a version stands."""
    return settings.artifacts_dir / "models" / f"{version}-{model.model_id}.html"


def active_version(policies: Policies) -> str:
    """The version of the model policy that counts."""
    return policies.active["model"]


def is_trained(policies: Policies, version: str) -> bool:
    """Whether there is a model of the version."""
    return policies.versions["model"][version].model is not None


def model_versions(settings: Settings, policies: Policies) -> list[ModelVersion]:
    """Every version, oldest first, with how the trained ones have done since."""
    found = []
    for name, policy in policies.versions["model"].items():
        heading = (name, policy.document.description, policies.is_active(policy))
        model = policy.model
        if model is None:
            found.append(ModelVersion(*heading))
            continue
        card = card_path(settings, name, model)
        found.append(
            ModelVersion(
                *heading,
                model_id=model.model_id,
                estimator=model.estimator,
                cases=model.snapshot.cases,
                auc=model.validations[model.estimator].newest.auc,
                trained_as_of=model.snapshot.as_of,
                card=str(card) if card.is_file() else None,
                live=_live(settings, name, model),
            )
        )
    return found


def live_figures(settings: Settings, policies: Policies) -> Live | None:
    """How the model that counts has done since it was trained; None without one, and of fewer than 30 MQLs."""
    policy = policies.deciding("model")
    live = None if policy.model is None else _live(settings, policy.version, policy.model)
    return live if live is not None and live.cases >= _FEWEST_TO_JUDGE else None


def retraining_due(settings: Settings, policies: Policies) -> str | None:
    """Why the model that counts has to be learned anew, None when it has not: what it says is not what happens, or it is old by now.

    Calibration goes by the exact bounds of what happened since it was trained, and by no fewer than 30 MQLs: of few, anything can be.
    """
    return due_by(policies, live_figures(settings, policies))


def due_by(policies: Policies, live: Live | None) -> str | None:
    """The same by figures that are at hand."""
    policy = policies.deciding("model")
    if policy.model is None or live is None:
        return None
    if not live.low <= live.predicted <= live.high:
        return (
            f"of {live.cases} MQLs since, it expected {live.predicted:.1%} to succeed, and {live.actual:.1%} did "
            f"({live.low:.1%} to {live.high:.1%})"
        )
    if live.cases >= _NEW_SHARE * policy.model.snapshot.cases:
        return f"{live.cases} leads have had their time since; it was learned from {policy.model.snapshot.cases}"
    return None


def waiting_challenger(policies: Policies) -> str | None:
    """A version that was trained after the one that counts, and waits for a person to compare and to name it."""
    counting = policies.deciding("model").model
    since = "" if counting is None else counting.snapshot.as_of
    waiting = [
        version
        for version, policy in policies.versions["model"].items()
        if policy.model is not None
        and not policies.is_active(policy)
        and policy.model.snapshot.as_of > since
    ]
    return waiting[-1] if waiting else None


def _live(settings: Settings, version: str, model: TrainedModel) -> Live | None:
    """Of MQLs that were still open when it was trained: those it learned from it has seen."""
    with contextlib.suppress(HandoffError), contextlib.closing(open_serving(settings)) as serving:
        told = serving.execute(
            "select probability, outcome = 'success' as is_positive from marts.fct_mql_outcomes "
            "where model_version = ? and model_id = ? and outcome in ('success', 'failure') and decided_by > ?::timestamptz order by mql_id",
            [version, model.model_id, model.snapshot.as_of],
        ).fetchnumpy()
        if len(told["probability"]):
            return _told_live(told["is_positive"], told["probability"])
    return None


def _told_live(is_positive: Any, probability: Any) -> Live:
    import numpy as np

    from models.scoring.metrics import auc, wilson

    label, told = np.asarray(is_positive, dtype=np.float64), np.asarray(probability, np.float64)
    positives, cases = int(label.sum()), len(label)
    low, high = wilson(positives, cases)
    enough = 10 <= positives <= cases - 10
    return Live(
        cases=cases,
        positives=positives,
        predicted=float(told.mean()),
        actual=positives / cases,
        low=low,
        high=high,
        auc=auc(label, told) if enough else None,
    )


def next_version(policies: Policies) -> str:
    """Name of the version after the newest of the model policy."""
    return f"v{max(int(name[1:]) for name in policies.versions['model']) + 1}"
