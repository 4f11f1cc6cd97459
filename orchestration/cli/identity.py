"""`handoff identity`: what evidence weighs, the matches a person decides, and their word on any two records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion.settings import Settings
from orchestration.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from orchestration.identity_directives import Word
    from orchestration.identity_reviews import Answer, Review

app = typer.Typer(
    name="identity",
    help="Who is whom: your own word on two records, what evidence weighs, and the matches that wait for you.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
review = typer.Typer(
    name="review",
    help="Pairs of records that may be one person: look at them, accept or reject.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

MatchId = Annotated[
    str,
    typer.Argument(
        metavar="MATCH", help="Id from `handoff identity review`, or its first characters."
    ),
]
Reason = Annotated[str | None, typer.Option(help="Why; kept with the answer.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")
]

# What refused a link that weighs enough, as `int_identity__links` says it.
REFUSALS = {
    "average": "the other records of the two disagree too much",
    "conflict": "they have different values of a field one person has one of",
    "size": "the person would have too many records",
    "density": "too few of the pairs between the two agree on anything",
    "group": "too many records hang together by links",
}


Named = Annotated[
    str,
    typer.Argument(metavar="RECORD", help="A record as system:record_id, e.g. hubspot:101."),
]


@app.command()
def merge(
    record: Named,
    other: Named,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make two records one person, whatever they say: all records of both come together.

    The directive is an event in the log and counts with the next run; `handoff identity split` takes it back. The person keeps the id of the
    record that was received first.
    """
    _tell("merge", record, other, reason, dry_run, as_json)


@app.command()
def split(
    record: Named,
    other: Named,
    reason: Reason = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Hold two records apart, whatever they share: no identifier and no evidence makes them one person any more.

    Other records of the person go with the one they share the stronger identifier with. The directive is an event in the log and counts with
    the next run; `handoff identity merge` takes it back.
    """
    _tell("split", record, other, reason, dry_run, as_json)


@app.command()
def train(
    policy: Annotated[
        str,
        typer.Option(metavar="VERSION", help="Version of the identity policy to train, e.g. v2."),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Learn what agreement and disagreement of each compared field weigh, from the warehouse's own contacts; no labels are needed.

    Writes vN.parameters.json beside the version; the same contacts give the same file. A version that decided already is not trained again:
    copy it, train the copy, and name it in rollout.yml. The next run then rebuilds with it.
    """
    from orchestration.matching import train_parameters
    from orchestration.writer_lock import warehouse_writer, writer_patience

    settings = Settings()
    with warehouse_writer(settings, wait_seconds=writer_patience(settings)):
        trained = train_parameters(settings, policy, dry_run=dry_run)
    parameters = trained.parameters
    if as_json:
        print_json(
            {
                "policy": policy,
                "path": str(trained.path),
                "written": not dry_run,
                "parameters_version": parameters.version,
                "record_count": parameters.record_count,
                "prior_weight": parameters.prior_weight,
                "comparisons": [
                    {
                        "comparison": comparison.name,
                        "levels": [
                            {"level": level.label, "match_weight": level.match_weight}
                            for level in comparison.levels
                            if not level.is_null_level
                        ],
                    }
                    for comparison in parameters.comparisons
                ],
            }
        )
        return
    print(
        f"{parameters.record_count} contacts; any two are one person by {parameters.prior_weight:+.1f}"
    )
    for comparison in parameters.comparisons:
        print(comparison.name)
        for level in comparison.levels:
            if not level.is_null_level:
                print(f"  {level.match_weight:+7.2f}  {level.label}")
    print(f"{'would write' if dry_run else 'wrote'} {trained.path}, version {parameters.version}")
    if not dry_run:
        print(f"Name it in rollout.yml (identity: {policy}) to decide with it.")


app.add_typer(review)


@review.callback()
def list_reviews(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Show the strongest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the pairs that wait for an answer, strongest first, both records side by side with what each comparison adds.

    Weights are log2 of the odds: 0 is even, 10 a thousand to one. `accept` makes the two one person for good, `reject` holds them apart;
    both are directives in the event log, and count with the next run. A later answer replaces an earlier one.
    """
    if context.invoked_subcommand:
        return
    from orchestration.identity_reviews import open_reviews

    count, reviews = open_reviews(Settings(), limit=limit)
    if as_json:
        print_json({"count": count, "matches": [found.as_dict() for found in reviews]})
        return
    for found in reviews:
        _print(found)
    print(f"{count} waiting" if count else "nothing waits for an answer")


@review.command()
def accept(
    match_id: MatchId, reason: Reason = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Make the two records of a match one person, whatever their evidence weighs."""
    _answer(match_id, "accept", reason, dry_run, as_json)


@review.command()
def reject(
    match_id: MatchId, reason: Reason = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Hold the two records of a match apart: nothing links them any more, whatever they come to share."""
    _answer(match_id, "reject", reason, dry_run, as_json)


def _answer(
    match_id: str, answer: Answer, reason: str | None, dry_run: bool, as_json: bool
) -> None:
    from orchestration.identity_reviews import answer_review

    found, event = answer_review(Settings(), match_id, answer, reason=reason, dry_run=dry_run)
    if as_json:
        print_json(
            {"match_id": found.match_id, "answer": answer, "written": not dry_run, "event": event}
        )
        return
    _print_said(event, dry_run)


def _tell(
    word: Word, record: str, other: str, reason: str | None, dry_run: bool, as_json: bool
) -> None:
    from orchestration.identity_directives import tell_directive

    told = tell_directive(Settings(), word, record, other, reason=reason, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "word": word,
                "records": [
                    {
                        "system": side.system,
                        "record_id": side.record_id,
                        "person_id": side.person_id,
                    }
                    for side in (told.left, told.right)
                ],
                "written": told.event is not None and not dry_run,
                "event": told.event,
            }
        )
        return
    if told.event is None:
        said = "are one person" if word == "merge" else "are held apart"
        print(
            f"nothing to say: {told.left.name} and {told.right.name} {said} already, by a directive"
        )
        return
    one_person = told.left.person_id == told.right.person_id
    print(
        f"{told.left.name} and {told.right.name} are "
        + ("one person" if one_person else "two people")
        + f" now: {' and '.join(dict.fromkeys((told.left.person_id, told.right.person_id)))}"
    )
    _print_said(told.event, dry_run)


def _print_said(event: dict[str, Any], dry_run: bool) -> None:
    told = event["data"]
    said = "are two people" if told["unmerge"] else "are one person"
    print(
        f"{'would say' if dry_run else 'said'}: {told['surviving_id']} and {told['merged_ids'][0]} {said}; counts with the next run"
    )


def _print(found: Review) -> None:
    sides = (found.left, found.right)
    print(
        f"{found.match_id[:12]}  weight {found.match_weight:+.1f}  ({found.match_probability:.1%})"
        + (
            f"  not linked: {REFUSALS.get(found.refused_reason, found.refused_reason)}"
            if found.refused_reason
            else ""
        )
    )
    print(
        f"  {'':<16}  "
        + "  ".join(f"{side['system']}/{side['record_id']}"[:34].ljust(34) for side in sides)
    )
    for field in found.left:
        if field not in ("system", "record_id", "person_id") and (
            found.left[field] or found.right[field]
        ):
            print(
                f"  {field[:16]:<16}  "
                + "  ".join(str(side[field] or "")[:34].ljust(34) for side in sides)
            )
    told = [
        f"{step['comparison']} {step['match_weight'] + step['rarity']:+.1f} ({step['level']})"
        for step in found.waterfall
        if step["match_weight"] or step["rarity"]
    ]
    print(f"  {'; '.join(told)}\n")
