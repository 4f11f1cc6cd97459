"""Trains a lead model on the warehouse and puts it, with its card, where it is looked for; how it is learned stands in `models.scoring`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect, has_table
from ingestion.settings import Settings
from models.policies.lead_model import ModelPolicy
from models.policies.load import Policies, PolicyVersion, load_policies
from models.scoring.artefact import TrainedModel, model_path, model_text
from models.scoring.features import feature_columns
from orchestration.serving import open_serving
from orchestration.transform import make_on_demand

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = "int_lead_models__examples"
_FEWEST_TO_JUDGE = 30
# So much more to learn from than it was learned from makes it worth doing again.
_NEW_SHARE = 0.25

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModelTrained:
    """What was trained, for which version, and its files (not written on a dry run, but for the card)."""

    version: str
    path: Path
    card: Path
    model: TrainedModel
    is_written: bool


def train_model(
    settings: Settings,
    version: str,
    *,
    as_version: str | None = None,
    as_of: datetime | None = None,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> ModelTrained:
    """Learn a version of the model policy from the warehouse; `as_version` learns a copy of it under that name, which leaves the original as
    it is. The warehouse's writer lock must be held.

    Raises NOT_FOUND for a version there is not or an empty warehouse, POLICY_FROZEN for one that was used already, and what
    `models.scoring.training.train` raises. The same log, policy and `as_of` give the same file.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    policy = _version(policies, version)
    document = policy.document
    assert isinstance(document, ModelPolicy)
    target = _target(settings, policies, policy, as_version)
    instant = as_of or datetime.now(UTC)
    progress("what was known of each lead, and what became of it")
    examples = _examples(settings, document, instant)

    # Imported here: half a second that nobody who only reads waits for.
    from models.scoring.card import write_card
    from models.scoring.training import train

    trained = train(
        examples,
        document,
        feature_columns(document),
        as_of=instant.isoformat(),
        progress=progress,
    )
    name = as_version or version
    card = settings.artifacts_dir / "models" / f"{name}-{trained.model.model_id}.html"
    write_card(card, trained, document, name)
    if not dry_run:
        if as_version is not None:
            _put(target, _copied(policies.folder / policy.file, version))
        _put(model_path(target), model_text(trained.model))
    return ModelTrained(name, model_path(target), card, trained.model, not dry_run)


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


def active_version(settings: Settings) -> str:
    """The version of the model policy that counts."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    return policies.active["model"]


def is_trained(settings: Settings, version: str) -> bool:
    """Whether there is a model of the version."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    return policies.versions["model"][version].model is not None


def model_versions(settings: Settings) -> list[ModelVersion]:
    """Every version, oldest first, with how the trained ones have done since."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    found = []
    for name, policy in policies.versions["model"].items():
        heading = (name, policy.document.description, policies.is_active(policy))
        model = policy.model
        if model is None:
            found.append(ModelVersion(*heading))
            continue
        card = settings.artifacts_dir / "models" / f"{name}-{model.model_id}.html"
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


def retraining_due(settings: Settings) -> str | None:
    """Why the model that counts has to be learned anew, None when it has not: what it says is not what happens, or it is old by now.

    Calibration goes by the exact bounds of what happened since it was trained, and by no fewer than 30 MQLs: of few, anything can be.
    """
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    policy = policies.deciding("model")
    if policy.model is None:
        return None
    live = _live(settings, policy.version, policy.model)
    if live is None or live.cases < _FEWEST_TO_JUDGE:
        return None
    if not live.low <= live.predicted <= live.high:
        return (
            f"of {live.cases} MQLs since, it expected {live.predicted:.1%} to succeed, and {live.actual:.1%} did "
            f"({live.low:.1%} to {live.high:.1%})"
        )
    if live.cases >= _NEW_SHARE * policy.model.snapshot.cases:
        return f"{live.cases} leads have had their time since; it was learned from {policy.model.snapshot.cases}"
    return None


def waiting_challenger(settings: Settings) -> str | None:
    """A version that was trained after the one that counts, and waits for a person to compare and to name it."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
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
            "where model_version = ? and model_id = ? and outcome <> 'open' and decided_by > ?::timestamptz order by mql_id",
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


def next_version(settings: Settings) -> str:
    """Name of the version after the newest of the model policy."""
    policies = load_policies(settings.policies, further_systems=settings.extra_systems)
    return f"v{max(int(name[1:]) for name in policies.versions['model']) + 1}"


def _version(policies: Policies, version: str) -> PolicyVersion:
    versions = policies.versions["model"]
    if version not in versions:
        raise HandoffError(
            "NOT_FOUND",
            f"no version '{version}' of the model policy; known: {', '.join(versions)}",
            remedy="Copy the newest version under the next name, change it, and train that.",
        )
    return versions[version]


def _target(
    settings: Settings, policies: Policies, policy: PolicyVersion, as_version: str | None
) -> Path:
    """The policy file beside which the model goes; refuses to change what decided, or what is there."""
    if as_version is not None:
        if as_version in policies.versions["model"]:
            raise HandoffError(
                "POLICY_FROZEN",
                f"there is a version {as_version} of the model policy already",
                remedy="Name the next one, or leave --as out to train a version that was never used.",
            )
        return policies.folder / "model" / f"{as_version}.yml"
    if _was_used(settings, policy.version):
        raise HandoffError(
            "POLICY_FROZEN",
            f"{policy.file}: version {policy.version} was used and cannot be trained again",
            remedy=f"Learn it anew under the next name: handoff train --policy {policy.version} --as {next_version(settings)}.",
        )
    return policies.folder / policy.file


def _was_used(settings: Settings, version: str) -> bool:
    if not settings.warehouse_path.exists():
        return False
    with contextlib.closing(connect(settings)) as connection:
        if not has_table(connection, "ops", "policies_used"):
            return False
        return bool(
            connection.execute(
                "select count(*) from ops.policies_used where kind = 'model' and version = ?",
                [version],
            ).fetchall()[0][0]
        )


def _examples(settings: Settings, document: ModelPolicy, as_of: datetime) -> pd.DataFrame:
    """The leads of the version, of which nothing stays in the warehouse: they are people's data, and made anew when they are needed."""
    with contextlib.closing(connect(settings)) as connection:
        if not has_table(connection, "marts", "fct_mqls"):
            raise HandoffError(
                "NOT_FOUND",
                "the warehouse has no leads yet",
                remedy="Run `handoff run`, then train.",
            )
    make_on_demand(
        settings, _EXAMPLES, as_of=as_of, variables={"lead_model": lead_model_variable(document)}
    )
    with contextlib.closing(connect(settings)) as connection:
        connection.execute("set timezone = 'UTC'")
        try:
            found = connection.sql(f"select * from intermediate.{_EXAMPLES}")
            examples: pd.DataFrame = found.to_arrow_table().to_pandas()
            return examples
        finally:
            connection.execute(f"drop table intermediate.{_EXAMPLES}")


def lead_model_variable(document: ModelPolicy) -> dict[str, Any]:
    """What the dbt model of examples has to know of a version."""
    imported = document.imported_before
    return {
        "learn_from": document.learn_from,
        "outcome": document.outcome,
        "within_days": document.within_days,
        "imported_before": imported.isoformat() if imported else None,
        "features": [
            {
                "name": column.name,
                "source": column.source,
                "column_name": column.column,
                "expression": column.expression,
            }
            for column in feature_columns(document)
        ],
    }


def _copied(path: Path, version: str) -> str:
    head = f"# Learned anew from {version}, which was in use.\n"
    return head + path.read_text(encoding="utf-8")


def _put(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
