"""`handoff erase`: a person out of everything below the home, and what is still held elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.cli.output import EXIT_CHECKS, AsJson, print_json

if TYPE_CHECKING:
    from orchestration.erasure.erase import Erased


def erase(
    who: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|PERSON_ID", help="Any address of the person, or their person_id."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; it cannot be undone.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person: every record, event and message of theirs, out of the log, the archive, the warehouse and the published file.

    What is left is searched for them afterwards; exit code 1 when anything is found. Records of theirs in HubSpot, Salesforce or Marketo are
    named, and have to be deleted there: until then they are not taken up again here. What they did before and is told later goes too; who
    writes anew afterwards is somebody new. Takes as long as a rebuild, and other batches wait. docs/erasure.md
    """
    from orchestration.cli.screens import stages
    from orchestration.erasure.erase import erase_person
    from orchestration.progress import listening

    settings = Settings()
    if not dry_run and not yes:
        _ask(settings, who)
    with stages(quiet=as_json) as say, listening(say):
        erased = erase_person(settings, who, dry_run=dry_run)
    if as_json:
        print_json(erased.as_dict())
    else:
        _print(erased)
    if erased.remnants:
        raise typer.Exit(EXIT_CHECKS)


def _ask(settings: Settings, who: str) -> None:
    from orchestration.erasure.erase import erase_person

    if not sys.stdin.isatty():
        raise HandoffError(
            "BAD_REQUEST",
            "an erasure cannot be undone, and there is nobody to ask",
            remedy="Look with --dry-run, then give --yes.",
        )
    _print(erase_person(settings, who, dry_run=True))
    typer.confirm("Erase? It cannot be undone.", abort=True)


def _print(erased: Erased) -> None:
    verb = "would erase" if erased.is_dry_run else "erased"
    print(f"{verb} person {erased.person_id}")
    counted = [f"{count} {record}" for record, count in erased.events.items()]
    counted += [f"{count} {resource}" for resource, count in erased.rows.items()]
    if erased.rejections:
        counted.append(f"{erased.rejections} in quarantine")
    if erased.plans:
        counted.append(f"{erased.plans} sealed plans")
    print(f"  events and rows   {', '.join(counted) or 'none'}")
    if erased.turns:
        print(f"  turns kept        {erased.turns}, so that nobody else gets another owner")
    if erased.kept:
        print(f"  left, of others   {', '.join(erased.kept)}")
    for system, ids in erased.held_elsewhere.items():
        print(f"  delete there too  {system}: {', '.join(ids)}")
    if erased.told:
        print(f"  was told to       {', '.join(erased.told)}")
    if erased.is_dry_run:
        return
    if not erased.remnants:
        print("  searched          every file below the home; nothing is left")
    for remnant in erased.remnants:
        where = remnant.path if remnant.table is None else f"{remnant.path} {remnant.table}"
        print(f"  STILL THERE       {where}: {remnant.problem or remnant.count}")
    if erased.remnants:
        print("Take that away, and say the same again: it searches once more.")
