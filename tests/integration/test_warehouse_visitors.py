"""Visits of which only the browser is known: whose they are once somebody says who they are, and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestration.explain import explain_person
from orchestration.serving import publish

START = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """A web site whose events are decided on in batches."""

    def __init__(self, warehouse: Any) -> None:
        self.warehouse = warehouse
        self.batches = 0

    def view(self, visitor: str | None, day: float, name: str, **who: str) -> dict[str, Any]:
        """Somebody looks at a page; `who` names them."""
        data = {
            "system": "web", "activity_id": name, "activity_type": "page_view", "url": "https://www.example.com/pricing", **who,
        }  # fmt: skip
        if visitor:
            data["anonymous_id"] = visitor
        event: dict[str, Any] = self.warehouse.event("activity", data, START + timedelta(days=day))
        return event

    def batch(self, *events: dict[str, Any], day: float = 400) -> None:
        """Tell the events and decide on them, as of that day and a bit later each time."""
        self.warehouse.append(events)
        self.batches += 1
        self.as_of = START + timedelta(days=day, minutes=self.batches)
        assert self.warehouse.transform(self.as_of).is_full_refresh == (self.batches == 1)

    def visits(self) -> dict[str, set[str]]:
        """Activities by the address of whose they are."""
        found: dict[str, set[str]] = {}
        for email, activity in self.warehouse.rows(
            "select email, system_activity_id from marts.fct_activities inner join marts.dim_people using (person_id)"
        ):
            found.setdefault(email, set()).add(activity)
        return found

    def assert_as_rebuilt(self) -> None:
        in_batches = self.warehouse.snapshot("marts", "sync")
        self.warehouse.transform(self.as_of, full_refresh=True)
        assert self.warehouse.snapshot("marts", "sync") == in_batches


@pytest.fixture(scope="module")
def site(open_warehouse: Callable[..., Any]) -> Site:
    return Site(open_warehouse())


def test_visits_are_theirs_who_say_who_they_are_for_as_long_as_the_policy_says(site: Site) -> None:
    ann = {"email": "ann@acme.example"}
    site.batch(site.view("laptop", 10, "long before"), site.view("laptop", 100, "before"))
    assert site.visits() == {}, "nobody has said who they are"
    assert site.warehouse.rows("select 1 from marts.dim_people") == []

    site.batch(site.view("laptop", 120, "named", **ann))
    assert site.visits() == {"ann@acme.example": {"before", "named"}}
    [(record_id, first_seen)] = site.warehouse.rows(
        "select record_id, first_seen_at from marts.dim_people inner join marts.entity_map using (person_id) where record_type = 'email'"
    )
    assert record_id == "ann@acme.example"
    assert first_seen > START + timedelta(days=119), "of the browser it is not known since when"

    # Ninety days after the last time, and then she is seen with it once more.
    site.batch(site.view("laptop", 209, "after"), site.view("laptop", 215, "long after"))
    assert site.visits() == {"ann@acme.example": {"before", "named", "after"}}
    site.batch(site.view("laptop", 220, "named again", **ann))
    hers = {"before", "named", "after", "long after", "named again"}
    assert site.visits() == {"ann@acme.example": hers}
    site.assert_as_rebuilt()

    publish(site.warehouse.settings)
    explained = explain_person(site.warehouse.settings, "ann@acme.example")
    [browser] = [row for row in explained.records if row["record_type"] == "visitor"]
    assert browser["link_path"] == [
        {
            "identifier_type": "anonymous_id",
            "identifier_value": "web:laptop",
            "record": "web:ann@acme.example",
        }
    ]


def test_a_browser_of_two_people_is_nobodys_until_they_are_one(site: Site) -> None:
    hers = site.visits()["ann@acme.example"] - {"named", "named again"}
    site.batch(site.view("laptop", 230, "colleague", email="bob@acme.example"))
    assert site.visits() == {
        "ann@acme.example": {"named", "named again"},
        "bob@acme.example": {"colleague"},
    }
    shared = site.warehouse.rows(
        "select stated_value, reason from ops.refused_identifiers where identifier_type = 'anonymous_id'"
    )
    assert shared == [("laptop", "shared_device")] * 2
    assert not site.warehouse.rows("select 1 from marts.entity_map where record_type = 'visitor'")
    # One contact has both addresses' mailboxes after all.
    site.batch(
        site.warehouse.event(
            "contact",
            {
                "system": "hubspot", "record_id": "7", "email": "bob@acme.example",
                "external_ids": [{"system": "web", "record_id": "ann"}],
            },
            START + timedelta(days=231),
        ),
        site.warehouse.event(
            "contact",
            {"system": "web", "record_id": "ann", "email": "ann@acme.example"},
            START + timedelta(days=231),
        ),
    )  # fmt: skip
    [visits] = site.visits().values()
    assert visits == hers | {"named", "named again", "colleague"}
    site.assert_as_rebuilt()


def test_what_was_done_by_somebody_else_after_all_takes_its_visits_along(site: Site) -> None:
    """The same activity told again, now of another browser, and of nobody."""
    before = site.visits()
    site.batch(
        site.view("phone", 240, "on the phone"),
        site.view("phone", 241, "it was he", email="cleo@other.example"),
    )
    assert site.visits()["cleo@other.example"] == {"on the phone", "it was he"}
    moved = site.view("tablet", 241, "it was he", email="cleo@other.example")
    moved["time"] = (START + timedelta(days=242)).isoformat()
    site.batch(moved)
    assert site.visits()["cleo@other.example"] == {"it was he"}
    assert {who: visits for who, visits in site.visits().items() if who in before} == before
    site.assert_as_rebuilt()


def test_the_days_come_from_the_policy(site: Site) -> None:
    [(valid_from, valid_to)] = site.warehouse.rows(
        "select valid_from, valid_to from marts.entity_map where record_type = 'visitor' and record_id = 'tablet'"
    )
    assert valid_to - valid_from == timedelta(days=180)
    [(evidence,)] = site.warehouse.rows(
        "select evidence from marts.entity_map where record_type = 'visitor' and record_id = 'tablet'"
    )
    assert json.loads(evidence) == [
        {"identifier_type": "anonymous_id", "identifier_value": "web:tablet", "record_count": 2}
    ]
