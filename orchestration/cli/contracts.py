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
    from ingestion.contracts.upcasts import broken_examples

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
    if between is None:
        refusals += broken_examples()
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


@app.command()
def picklists(
    system: Annotated[
        str, typer.Argument(help="System whose live picklists are read, e.g. hubspot.")
    ],
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also fail on what is mapped and gone or inactive there."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a system's live picklists with our mapping, before a deploy. Exit code 1 when it has a value we have no meaning for.

    What is mapped and not there is named and no failure: the registry knows words of several orgs.
    """
    from ingestion.connectors import catalog
    from ingestion.contracts.picklists import mismatches
    from ingestion.settings import Settings

    live = catalog.picklists(system).read(Settings())
    found = mismatches(system, live)
    failures = [row for row in found if strict or row.is_failure]
    if as_json:
        print_json(
            {
                "system": system,
                "ok": not failures,
                "fields": [
                    {"field": row.field, "enum": row.enum, "values": len(row.values)}
                    for row in live
                ],
                "mismatches": [row.as_dict() for row in found],
            }
        )
    else:
        for picklist in live:
            count = picklist.missing or f"{len(picklist.values)} values"
            print(f"{picklist.field:<28} {picklist.enum:<20} {count}")
        for row in found:
            print(
                f"{'!' if row in failures else ' '} {row.finding:<10} {row.field:<28} {row.words}"
            )
        print(f"{len(failures)} to put right" if failures else "every live value has a meaning")
    raise typer.Exit(EXIT_CHECKS if failures else EXIT_OK)


@app.command()
def fields(as_json: AsJson = False) -> None:
    """Show the custom fields that are defined: record, name, type, allowed values, owner. They are checked at the door."""
    from dataclasses import asdict

    from ingestion.contracts.custom_fields import custom_fields

    found = custom_fields()
    if as_json:
        print_json([asdict(field) for field in found])
        return
    for field in found:
        allowed = f" ({', '.join(map(str, field.allowed))})" if field.allowed else ""
        print(
            f"{field.record:<12} custom.{field.name:<24} {field.type + allowed:<24} {field.owner:<12} {field.description}"
        )
    print(f"{len(found)} defined in ingestion/contracts/custom_fields.yml; others pass unchecked")
