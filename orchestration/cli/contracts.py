"""`handoff contracts`: what changed in the contracts, whether it may be published, and how enumerations and picklists compare."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.output import EXIT_CHECKS, EXIT_OK, AsJson, print_json

app = typer.Typer(
    name="contracts",
    help="What may come in: versions, what changed between them, custom fields, picklists.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_RANGE_HELP = (
    "OLD..NEW, each a git revision or a folder of contracts; NEW is the working tree when it is left out (main..)."
)  # fmt: skip


@app.command()
def check(
    between: Annotated[str | None, typer.Argument(metavar="OLD..NEW", help=_RANGE_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a breaking change without a new major version, and a published contract that was edited in place.

    Without OLD..NEW the working tree is held against ingestion/contracts/published.json, and each version against the one before it: that
    needs no git.
    """
    from ingestion.contracts.contract_sets import open_range, working_tree
    from ingestion.contracts.releases import check_published, releases

    today = datetime.now(UTC).date()
    if between is None:
        tree = working_tree()
        found = check_published(tree, today)
        subject = (
            f"{sum(map(len, tree.documents.values()))} contracts and {len(tree.enums)} enumerations"
        )
    else:
        old, new = open_range(between)
        found = releases(old, new, today)
        subject = f"{old.name} → {new.name}: {len(found)} changed"
    refusals = [words for release in found for words in release.refusals]
    if as_json:
        print_json(
            {"ok": not refusals, "refusals": refusals, "releases": [row.as_dict() for row in found]}
        )
    else:
        from ingestion.contracts.release_notes import changelog

        if between is not None and found:
            print(changelog(found))
        for words in refusals if between is None else ():
            print(f"refused: {words}")
        verdict = f"{len(refusals)} refused" if refusals else "nothing stands against it"
        print(f"{subject}; {verdict}")
    raise typer.Exit(EXIT_CHECKS if refusals else EXIT_OK)


@app.command()
def diff(
    between: Annotated[str, typer.Argument(metavar="OLD..NEW", help=_RANGE_HELP)],
    as_changelog: Annotated[
        bool, typer.Option("--changelog", help="Print Markdown for a changelog.")
    ] = False,
    guide: Annotated[
        Path | None,
        typer.Option("--migration-guide", help="Write the beginning of a migration guide here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed, field by field, with the rule that judges each change."""
    from ingestion.contracts.contract_sets import open_range
    from ingestion.contracts.release_notes import changelog, migration_guide
    from ingestion.contracts.releases import releases

    old, new = open_range(between)
    found = releases(old, new, datetime.now(UTC).date())
    if guide is not None:
        guide.parent.mkdir(parents=True, exist_ok=True)
        guide.write_text(migration_guide(found, new), encoding="utf-8")
    if as_json:
        print_json([release.as_dict() for release in found])
    elif as_changelog:
        print(changelog(found), end="")
    else:
        for release in found:
            step = " → ".join(filter(None, (release.previous, release.version)))
            for change in release.changes:
                row = change.as_dict()
                print(
                    f"{release.subject:<20} {step:<16} {row['verdict']:<10} {change.rule:<28} {change.path:<32} {change.words}"
                )
            if not release.changes:
                words = "; ".join(release.refusals) or ("new" if release.version else "changed")
                print(f"{release.subject:<20} {step:<16} {words}")
        if not found:
            print(f"no contract differs between {old.name} and {new.name}")
    if guide is not None and not as_json:
        print(f"wrote {guide}")


@app.command()
def publish(as_json: AsJson = False) -> None:
    """Add new versions and new enumeration values to ingestion/contracts/published.json, after which they may not change."""
    from ingestion.contracts.contract_sets import working_tree
    from ingestion.contracts.releases import publish as add_to_lock

    added = add_to_lock(working_tree(), datetime.now(UTC).date())
    if as_json:
        print_json({"published": added})
    else:
        print("published: " + (", ".join(added) or "nothing new"))
