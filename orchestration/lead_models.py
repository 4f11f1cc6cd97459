"""Trains a lead model on the warehouse and puts it, with its card, where it is looked for; how it is learned stands in `models.scoring`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.durable_file import write_whole
from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import connect, has_table
from ingestion.settings import Settings
from models.policies.lead_model import ModelPolicy
from models.policies.load import Policies, PolicyVersion
from models.scoring.artefact import TrainedModel, model_path, model_text
from models.scoring.features import feature_columns
from orchestration.lead_model_versions import card_path, lead_policies, next_version
from orchestration.transform import make_on_demand

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = "int_lead_models__examples"

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
    policies = lead_policies(settings)
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
    card = card_path(settings, name, trained.model)
    write_card(card, trained, document, name)
    if not dry_run:
        if as_version is not None:
            write_whole(target, _copied(policies.folder / policy.file, version))
        write_whole(model_path(target), model_text(trained.model))
    return ModelTrained(name, model_path(target), card, trained.model, not dry_run)


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
            remedy=f"Learn it anew under the next name: handoff train --policy {policy.version} --as {next_version(policies)}.",
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
        "silence": document.silence,
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
