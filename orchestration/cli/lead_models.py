"""`handoff train` and `handoff models`: how likely leads are to be taken up, learned from what became of earlier ones."""

from __future__ import annotations

from typing import Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import AsJson, instant_of, print_json


def train(
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Version of the model policy to train, e.g. v2; default: the one rollout.yml names.",
        ),
    ] = None,
    as_version: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="VERSION",
            help="Train a copy under this name, e.g. v2, or `next`: a challenger beside the version in use.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT",
            help="Learn from outcomes known by this instant (ISO 8601); default: now.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Learn and show; write nothing but the card.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Learn how likely a lead is to be taken up by sales, from what was known of earlier leads and what became of them.

    A logistic scorecard and boosted trees are compared on the newest leads; the better one is calibrated, turned into SQL, and written beside the
    version (vN.model.json) with a card that shows how well it does and for whom. The next run gives everybody a probability with reasons
    (marts.fct_lead_predictions). With too few outcomes, with a feature that knows the outcome, or with a model no better than chance nothing is
    written: exit code 1, and the rules decide alone.
    """
    from orchestration.cli.screens import stages
    from orchestration.lead_model_versions import active_version, lead_policies, next_version
    from orchestration.lead_models import train_model
    from orchestration.writer_lock import warehouse_writer, writer_patience

    settings = Settings()
    policies = lead_policies(settings)
    version = policy or active_version(policies)
    target = next_version(policies) if as_version == "next" else as_version
    with (
        stages(quiet=as_json) as tell,
        warehouse_writer(settings, wait_seconds=writer_patience(settings)),
    ):
        trained = train_model(
            settings,
            version,
            as_version=target,
            as_of=instant_of(as_of),
            dry_run=dry_run,
            progress=tell,
        )
    model = trained.model
    if as_json:
        print_json(
            {
                "policy": trained.version,
                "path": str(trained.path),
                "card": str(trained.card),
                "written": trained.is_written,
                "model_id": model.model_id,
                "estimator": model.estimator,
                "chosen_because": model.chosen_because,
                "snapshot": model.snapshot.model_dump(),
                "validations": {
                    name: each.model_dump() for name, each in model.validations.items()
                },
            }
        )
        return
    print(f"{model.snapshot.cases:,} leads, {model.snapshot.positives:,} successes")
    print(f"{'':<10} {'':<6} {'AUC':>6} {'95 %':>14} {'Brier':>7} {'ECE':>7} {'lift':>5}")
    for name, each in model.validations.items():
        for kind, told in (("folds", each.folds), ("newest", each.newest)):
            bounds = f"{told.auc_low:.3f} to {told.auc_high:.3f}"
            print(
                f"{name:<10} {kind:<6} {told.auc:>6.3f} {bounds:>14} {told.brier:>7.4f} {told.ece:>7.4f} {told.lift:>5.1f}"
            )
    print(f"{model.estimator}: {model.chosen_because}")
    print(f"card: {trained.card}")
    if not trained.is_written:
        print(f"would write {trained.path}, model {model.model_id}")
        return
    print(f"wrote {trained.path}, model {model.model_id}")
    if trained.version == active_version(policies):
        print("`handoff run` gives everybody a probability by it.")
    else:
        print(
            f"It is watched beside the one in use; name it in rollout.yml (model: {trained.version}) to go by it."
        )


def models(as_json: AsJson = False) -> None:
    """List the versions of the lead model: which one counts, what it was learned from, and how it has done since.

    `live` are MQLs whose days have passed since the model was trained: the AUC and the mean probability against the share that succeeded, with
    its bounds. Below ten successes or ten failures nothing is said.
    """
    from orchestration.lead_model_versions import lead_policies, model_versions

    settings = Settings()
    versions = model_versions(settings, lead_policies(settings))
    if as_json:
        print_json([version.as_dict() for version in versions])
        return
    for version in versions:
        state = "counts" if version.is_champion else "watched"
        if version.model_id is None:
            print(
                f"{version.version:<4} not trained: the rules decide alone. {version.description}"
            )
            continue
        print(
            f"{version.version:<4} {state:<8} {version.model_id}  {version.estimator}, AUC {version.auc:.3f} on the newest of {version.cases:,} leads"
        )
        if version.live is not None:
            live = version.live
            told = "" if live.auc is None else f", AUC {live.auc:.3f}"
            print(
                f"     since {version.trained_as_of[:10]}: {live.cases:,} leads, predicted {live.predicted:.1%}, "
                f"actual {live.actual:.1%} ({live.low:.1%} to {live.high:.1%}){told}"
            )
        if version.card is not None:
            print(f"     card: {version.card}")
