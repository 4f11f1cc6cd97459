"""A person's word on two records: it holds against whatever they share, in batches as in a rebuild, and is said once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestion.errors.catalog import HandoffError
from orchestration.cli.app import app
from orchestration.identity_directives import tell_directive
from orchestration.serving import publish

AS_OF = datetime(2026, 6, 1, 12, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)


def evidence(warehouse: Any, record_id: str) -> set[tuple[str, str]]:
    """Kind and value of what the map says of a record."""
    [(told,)] = warehouse.rows(
        f"select evidence from marts.entity_map where is_current and record_id = '{record_id}'"
    )
    return {(link["identifier_type"], link["identifier_value"]) for link in json.loads(told)}


def ran(warehouse: Any, hours: int) -> None:
    """A batch, and what it decided is published."""
    assert not warehouse.transform(AS_OF + timedelta(hours=hours)).is_full_refresh
    publish(warehouse.settings)


@pytest.fixture(scope="module")
def warehouse(open_warehouse: Callable[..., Any]) -> Any:
    """Two who share a mailbox, a third of one of them, somebody else, and what they did."""
    warehouse = open_warehouse()

    def contact(system: str, record_id: str, hour: int, **told: Any) -> dict[str, Any]:
        said = {"system": system, "record_id": record_id, **told}
        event: dict[str, Any] = warehouse.event("contact", said, START + timedelta(hours=hour))
        return event

    warehouse.append([contact("hubspot", "ann", 1, email="desk@acme.example", last_name="Ann")])
    warehouse.append(
        [
            contact("hubspot", "bob", 2, email="Desk@acme.example", last_name="Bob"),
            contact(
                "web", "bobs", 3, phone="+49 30 901820", country="DE",
                external_ids=[{"system": "hubspot", "record_id": "bob"}],
            ),
            contact("web", "cleo", 4, email="cleo@other.example", last_name="Cleo"),
            *[
                warehouse.event(
                    "activity",
                    {
                        "system": "hubspot", "activity_id": f"{who}-{number}", "activity_type": "form_submit",
                        "contact_id": who, "form_id": "demo",
                    },
                    START + timedelta(hours=5 + number),
                )
                for who, number in (("ann", 1), ("bob", 2))
            ],
        ]
    )  # fmt: skip
    warehouse.transform(AS_OF)
    publish(warehouse.settings)
    assert warehouse.persons() == {frozenset({"ann", "bob", "bobs"}), frozenset({"cleo"})}
    return warehouse


def command(warehouse: Any, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `handoff identity` on this home."""
    home = {"HANDOFF_HOME": str(warehouse.settings.home)}
    done = CliRunner().invoke(app, ["identity", *arguments], env=home)
    return done.exit_code, done.stdout


def test_a_word_on_two_records_holds_until_another_one(warehouse: Any) -> None:
    settings = warehouse.settings
    before = dict(
        warehouse.rows("select record_id, person_id from marts.entity_map where is_current")
    )
    points = "select person_id, count(*) from marts.fct_activities group by all order by all"
    assert warehouse.rows(points) == [(before["ann"], 2)]

    # Said in any order and form; what only was tried is not written.
    tried = tell_directive(settings, "split", "hubspot/contact/bob", "hubspot:ann", dry_run=True)
    assert tried.event is not None
    ran(warehouse, 1)
    assert len(warehouse.persons()) == 2
    tell_directive(settings, "split", "hubspot/bob", "hubspot:ann", reason="a mailbox of two")
    ran(warehouse, 2)
    assert warehouse.persons() == {
        frozenset({"ann"}), frozenset({"bob", "bobs"}), frozenset({"cleo"})
    }  # fmt: skip
    after = dict(
        warehouse.rows("select record_id, person_id from marts.entity_map where is_current")
    )
    assert after["ann"] == before["ann"], "whose record came first keeps the id"
    assert sorted(warehouse.rows(points)) == sorted([(after["ann"], 1), (after["bob"], 1)])
    assert evidence(warehouse, "ann") == {("held_apart", "hubspot:bob")}
    assert evidence(warehouse, "bob") == {
        ("held_apart", "hubspot:ann"), ("external_id", "hubspot:bob")
    }  # fmt: skip
    # One record more that shares the mailbox does not bring them together again.
    warehouse.append(
        [
            warehouse.event(
                "contact",
                {"system": "marketo", "record_id": "m", "email": "desk@acme.example"},
                START + timedelta(days=9),
            )
        ]
    )
    ran(warehouse, 3)
    assert warehouse.persons() == {
        frozenset({"ann", "m"}), frozenset({"bob", "bobs"}), frozenset({"cleo"})
    }  # fmt: skip
    in_batches = warehouse.snapshot("marts", "sync")
    warehouse.transform(AS_OF + timedelta(hours=3), full_refresh=True)
    assert warehouse.snapshot("marts", "sync") == in_batches

    # Said already: nothing is written, whichever was named first.
    assert tell_directive(settings, "split", "hubspot:ann", "hubspot:bob").event is None
    [(word,)] = warehouse.rows("select word from ops.identity_directives")
    assert word == "split"

    # Another word: one again, and a fourth whom nothing links with them.
    tell_directive(settings, "merge", "hubspot:ann", "hubspot:bob")
    tell_directive(settings, "merge", "web:cleo", "web:bobs")
    ran(warehouse, 4)
    assert warehouse.persons() == {frozenset({"ann", "bob", "bobs", "cleo", "m"})}
    assert set(dict(warehouse.rows(points))) == {before["ann"]}
    assert tell_directive(settings, "merge", "hubspot:bob", "hubspot:ann").event is None
    code, said = command(warehouse, "merge", "hubspot:ann", "hubspot:bob", "--json")
    assert (code, json.loads(said)["written"]) == (0, False), "said already"


def test_the_command_says_what_is_and_what_will_be(warehouse: Any) -> None:
    code, said = command(warehouse, "split", "hubspot:ann", "hubspot:bob", "--dry-run")
    assert code == 0
    assert "hubspot:ann and hubspot:bob are one person now" in said
    assert "would say: hubspot:ann and hubspot:bob are two people; counts with the next run" in said

    for arguments, problem, words in (
        (("hubspot:ann", "hubspot:nobody"), "NOT_FOUND", "hubspot:nobody"),
        (("hubspot:ann", "hubspot/ann"), "BAD_REQUEST", "named twice"),
    ):
        with pytest.raises(HandoffError, match=words) as caught:
            tell_directive(warehouse.settings, "split", *arguments)
        assert caught.value.code == problem
