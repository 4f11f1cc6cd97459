"""A lead model looks at what was known at its instant: a warehouse that has seen everything says of an instant
what one said that had seen no more than that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.landing.warehouse import connect
from models.policies.lead_model import ModelPolicy
from models.scoring.features import feature_columns
from orchestration.lead_models import lead_model_variable
from tests.integration.random_history import History
from tests.property.dbt_models import Models

BATCHES = 3

POLICY = ModelPolicy.model_validate(
    {
        "description": "Everything a feature can be.",
        "owner": "tests",
        "effective_at": "2026-01-01T00:00:00Z",
        "outcome": "accepted",
        "within_days": 30.0,
        "features": {
            "fields": (
                *({"id": name, "field": name} for name in (
                    "job_title", "company", "country", "email_domain", "original_source",
                    "latest_source", "campaign_id", "industry",
                )),
                {"id": "employees", "field": "employee_count", "type": "number"},
            ),
            "activities": (
                *({"id": kind, "activity_type": kind} for kind in (
                    "form_submit", "page_view", "meeting_booked", "email_open", "call",
                )),
                {"id": "pricing", "activity_type": "page_view", "url_pattern": "pricing"},
                {"id": "newest", "measure": "days_since_last"},
                {"id": "oldest", "measure": "days_since_first"},
                {"id": "days", "measure": "distinct_days"},
                {"id": "all"},
            ),
            "calendar": ("weekday", "hour"),
        },
    }
)  # fmt: skip


@dataclass
class Seen:
    """What was said of everybody at an instant by the warehouse of then."""

    at: datetime
    by_then: dict[str, tuple[Any, ...]]
    by_newest: dict[str, tuple[Any, ...]]
    refused: set[str]


def features_of(
    warehouse: Any, at: datetime, *, versions: str = "told", imported_before: str | None = None
) -> dict[str, tuple[Any, ...]]:
    """Features of everybody there ever was, as of `at`, by person."""
    with contextlib.closing(connect(warehouse.settings)) as connection:
        connection.execute("set timezone = 'UTC'")
        models = Models(connection)
        activities = {
            "told": "select * from intermediate.int_activities__told",
            "newest": "select *, 0 as seq from intermediate.int_activities__unioned",
        }[versions]
        sql = models.rendered(
            "with {{ features_at(asked, features, versions, imported_before) }} select * from features",
            asked=f"select distinct person_id as example_id, person_id, '{at.isoformat()}'::timestamptz as instant "
            "from marts.entity_map where person_id is not null",
            features=lead_model_variable(POLICY)["features"],
            versions=activities,
            imported_before=imported_before,
        )
        found = connection.execute(sql)
        names = [column[0] for column in found.description or []]
        place = names.index("person_id")
        return {row[place]: row for row in found.fetchall()}


@pytest.fixture(scope="module")
def seen(open_warehouse: Callable[..., Any]) -> tuple[Any, list[Seen]]:
    """A history in batches, with what was said of everybody after each."""
    warehouse, history = open_warehouse(), History(seed=5)
    moments = []
    for batch in range(BATCHES):
        warehouse.append(history.events(warehouse.event, batch, 120 if batch else 350))
        for system, rows in history.polled(batch).items():
            warehouse.poll(system, rows, datetime.now(UTC))
        warehouse.land()
        at = datetime.now(UTC)
        warehouse.transform(at)
        newest = features_of(warehouse, at, versions="newest")
        moments.append(Seen(at, features_of(warehouse, at), newest, refused(warehouse)))
    return warehouse, moments


def refused(warehouse: Any) -> set[str]:
    """Whoever said no to something, as far as is known: a no is heeded from when it is heard, for what was before as well."""
    return {
        row[0]
        for row in warehouse.rows("select person_id from intermediate.int_consents__score_refusals")
    }


def comparable(warehouse: Any, moment: Seen) -> dict[str, tuple[Any, ...]]:
    """What was said then of people who had said no to nothing, and have not since."""
    left_out = moment.refused | refused(warehouse)
    return {person: row for person, row in moment.by_then.items() if person not in left_out}


def differing(
    warehouse: Any, moments: list[Seen], **how: Any
) -> list[tuple[tuple[Any, ...], tuple[Any, ...] | None]]:
    """What was said then, and what is said of then now, where the two differ."""
    found = []
    for moment in moments[:-1]:
        now = features_of(warehouse, moment.at, **how)
        then = comparable(warehouse, moment)
        found += [(row, now.get(person)) for person, row in then.items() if now.get(person) != row]
    return found


def test_what_came_later_changes_nothing_that_was_known_then(seen: tuple[Any, list[Seen]]) -> None:
    warehouse, moments = seen
    assert differing(warehouse, moments) == []


def test_the_history_holds_what_the_comparison_is_about(seen: tuple[Any, list[Seen]]) -> None:
    warehouse, moments = seen
    assert all(len(comparable(warehouse, moment)) > 20 for moment in moments)
    columns = [column.name for column in feature_columns(POLICY)]
    rows = [row for moment in moments for row in comparable(warehouse, moment).values()]
    for place, name in enumerate(columns, start=3):
        assert len({row[place] for row in rows}) > 1 or name in ("weekday", "hour"), name
    # Each of these has to be told from what was known then: people who are somebody else by now, what was told again, browsers.
    for what in (
        "select count(*) from marts.entity_map where known_to is not null",
        "select count(*) from (select activity_key from intermediate.int_activities__told group by 1 having count(distinct received_at) > 1)",
        "select count(*) from marts.entity_map where record_type = 'visitor'",
    ):
        assert warehouse.rows(what)[0][0] > 0, what


@pytest.mark.parametrize(
    ("planted", "how"),
    [
        ("what was received later", {"imported_before": "2100-01-01T00:00:00+00:00"}),
        ("what an activity says by now", {"versions": "newest"}),
    ],
)
def test_a_planted_leak_is_found(
    seen: tuple[Any, list[Seen]], planted: str, how: dict[str, Any]
) -> None:
    assert differing(*seen, **how) != [], planted


def test_the_newest_versions_say_of_now_what_all_versions_say(seen: tuple[Any, list[Seen]]) -> None:
    _, moments = seen
    for moment in moments:
        assert moment.by_newest == moment.by_then
