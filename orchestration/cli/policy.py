"""`handoff policy`: whether the policies can be used; what they say is RevOps' business."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingestion.settings import Settings
from orchestration.cli.output import AsJson, print_json

app = typer.Typer(
    name="policy",
    help="The rules people own: scoring, routing, identity, consent, accounts, sync and KPIs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    # With one command alone typer would leave its name out.
    ...


@app.command()
def check(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Folder of policies; default: HANDOFF_POLICIES, or the ones that come with Handoff.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read every policy and say what is wrong, each fault by file and line with what to do.

    Finds rules that contradict each other, that nobody could ever meet, and values that do not exist; refuses a version that has decided and says
    something else now. After a run it also names the scoring rules that nobody has met so far. Exit code 4 when a policy cannot be used.
    """
    from orchestration.policy_check import check_policies

    checked = check_policies(Settings(), folder)
    if as_json:
        print_json(checked.as_dict())
        return
    width = max(len(version.kind) for version in checked.versions)
    for version in checked.versions:
        state = "decides" if version.is_active else "does not decide"
        print(f"{version.kind:<{width}}  {version.version:<4} {state:<16} {version.description}")
    for rule in checked.unmet:
        print(f"nobody has met {rule.section} rule '{rule.rule_id}' ({rule.label}) so far")
    print(f"{len(checked.versions)} versions in {checked.folder} can be used.")
