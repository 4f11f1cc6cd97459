"""The queue of proposed matches a person decides: reads it from the serving file, puts answers into the event log; decides nothing."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ingestion.errors.catalog import HandoffError
from ingestion.landing.warehouse import has_table
from ingestion.settings import Settings
from orchestration.identity_directives import Word, append_directive, directive_event
from orchestration.named_rows import named_rows
from orchestration.serving import open_serving

Answer = Literal["accept", "reject"]


@dataclass(frozen=True, slots=True)
class Review:
    """Two records that may be one person: what each says, and what each comparison weighs (log2 of the odds)."""

    match_id: str
    match_weight: float
    match_probability: float
    refused_reason: str | None
    left: dict[str, Any]
    right: dict[str, Any]
    waterfall: list[dict[str, Any]]
    parameters_version: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def open_reviews(settings: Settings, *, limit: int | None = None) -> tuple[int, list[Review]]:
    """How many wait for an answer, and the first of them, strongest first."""
    with contextlib.closing(open_serving(settings)) as connection:
        if not has_table(connection, "ops", "identity_reviews"):
            return 0, []
        count = connection.execute("select count(*) from ops.identity_reviews").fetchall()[0][0]
        cursor = connection.execute(
            "select * from ops.identity_reviews order by match_weight desc, match_id limit ?",
            [count if limit is None else limit],
        )
        return int(count), [_review(row) for row in named_rows(cursor)]


def answer_review(
    settings: Settings, match_id: str, answer: Answer, *, reason: str | None, dry_run: bool = False
) -> tuple[Review, dict[str, Any]]:
    """Append the directive that joins the two records for good, or holds them apart; returns the match and the event.

    Raises NOT_FOUND for a match that does not wait for an answer. The directive is `com.handoff.merge` of the system `handoff`, whose
    ids are system:record_id; a later answer on the same two records replaces it.
    """
    _, reviews = open_reviews(settings)
    found = [review for review in reviews if review.match_id.startswith(match_id)]
    if len(found) != 1:
        raise HandoffError(
            "NOT_FOUND",
            f"no match '{match_id}' waits for an answer"
            if not found
            else f"'{match_id}' begins {len(found)} matches",
            remedy="Take the id from `handoff identity review`; answers count with the next run.",
        )
    left, right = (
        f"{side['system']}:{side['record_id']}" for side in (found[0].left, found[0].right)
    )
    word: Word = "merge" if answer == "accept" else "split"
    event = directive_event(left, right, word, "urn:handoff:identity-review", reason)
    append_directive(settings, event, dry_run=dry_run)
    return found[0], event


def _review(row: dict[str, Any]) -> Review:
    def side(name: str) -> dict[str, Any]:
        return {
            "system": row[f"{name}_system"],
            "record_id": row[f"{name}_record_id"],
            "person_id": row[f"{name}_person_id"],
            **json.loads(row[f"{name}_values"]),
        }

    return Review(
        row["match_id"],
        row["match_weight"],
        row["match_probability"],
        row["refused_reason"],
        side("left"),
        side("right"),
        json.loads(row["waterfall"]),
        row["parameters_version"],
    )
