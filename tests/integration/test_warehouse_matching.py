"""Records without a shared identifier: what matching links in batches is what a rebuild links, and a person's answer lasts."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from models.matching.parameters import parameters_path, parameters_text
from models.matching.training import train
from models.policies.documents import IdentityPolicy
from models.policies.load import POLICY_FOLDER, parse_source, read_source
from orchestration.identity_reviews import answer_review, open_reviews
from orchestration.serving import publish

AS_OF = datetime(2026, 6, 1, 12, tzinfo=UTC)
SAID_AT = datetime(2026, 1, 1, tzinfo=UTC)
COMPARED = ("matches", "links", "people", "features", "blocks")

MATCHING = """
matching:
  comparisons:
    - {name: person, kind: full_name, fields: [first_name, last_name]}
    - {name: born, kind: date, fields: [birth_date]}
    - {name: town, kind: text, fields: [city], term_frequencies: true}
    - {name: tax, kind: code, fields: [custom.tax_id]}
  blocking: [[last_name], [birth_date], [custom_tax_id], [first_name, city]]
  # Few, so that batches make blocks too large, and small enough again.
  max_block: 6
  thresholds: {link: 3, review: -2}
  guard: {max_records: 6, unscored_weight: -6, distinct: [custom.tax_id]}
  training:
    certain: [[first_name, last_name, birth_date]]
    recall: 0.6
    passes: [[birth_date], [last_name]]
"""
FIRST = ("Ann", "Bob", "Carla", "Dov", "Eve", "Farid", "Gül", "Hana", "Ivo", "Jo")
LAST = tuple(
    f"{stem}{end}"
    for stem in ("Adl", "Berg", "Col", "Dia", "Ek", "Frank")
    for end in ("er", "mann", "son", "a", "y")
)
TOWNS = ("Berlin", "Wien", "Bonn", "Graz")


def made_up_contacts(people: int, seed: int) -> list[dict[str, Any]]:
    """Three records of each person, with something changed or missing; two of them sometimes share an address."""
    chance = random.Random(seed)
    records: list[dict[str, Any]] = []
    for person in range(people):
        whole = {
            "first_name": chance.choice(FIRST),
            "last_name": chance.choice(LAST),
            "birth_date": f"{chance.randrange(1950, 2000)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
            "city": chance.choice(TOWNS),
            "custom": {"tax_id": f"{person:07}"},
        }
        for copy, system in enumerate(("hubspot", "salesforce", "web")):
            told = dict(whole)
            for field in chance.sample(sorted(told), chance.choice((0, 1, 1, 2))):
                told[field] = None
            if copy == 1 and chance.random() < 0.3:
                told["last_name"] = (told["last_name"] or "X") + "e"
            if copy < 2 and chance.random() < 0.2:
                told["email"] = f"person{person}@acme.example"
            record_id = f"003{person:015}" if system == "salesforce" else f"{system}-{person}"
            records.append({"record_id": record_id, "system": system, **told})
    return records


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policies, with trained comparisons."""
    folder = tmp_path_factory.mktemp("policies") / "policies"
    shutil.copytree(
        POLICY_FOLDER,
        folder,
        ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.parameters.json"),
    )
    file = folder / "identity" / "v1.yml"
    text = file.read_text(encoding="utf-8").partition("\n# Links between records")[0]
    file.write_text(text + MATCHING, encoding="utf-8")
    source = read_source(folder, file, [])
    assert source is not None
    document: IdentityPolicy = parse_source(IdentityPolicy, source, [])
    assert document is not None and document.matching is not None
    connection = duckdb.connect(config={"threads": 1})
    connection.execute(
        "create table contacts (record_key ubigint, first_name varchar, last_name varchar, birth_date varchar, city varchar, custom varchar)"
    )
    connection.executemany(
        "insert into contacts values (?, ?, ?, ?, ?, ?)",
        [
            [
                number,
                told["first_name"],
                told["last_name"],
                told["birth_date"],
                told["city"],
                json.dumps(told["custom"]),
            ]
            for number, told in enumerate(made_up_contacts(400, 1))
        ],
    )
    parameters = train(connection, "contacts", document.matching)
    parameters_path(file).write_text(parameters_text(parameters), encoding="utf-8")
    return folder


def contents(warehouse: Any) -> dict[str, list[Any]]:
    tables = {
        name: warehouse.rows(f"select * from intermediate.int_identity__{name} order by all")
        for name in COMPARED
    }
    tables["map"] = warehouse.rows(
        "select record_key, person_id, evidence from marts.entity_map order by all"
    )
    tables["reviews"] = warehouse.rows("select * from ops.identity_reviews order by all")
    return tables


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_batches_link_what_a_rebuild_links_and_answers_last(
    open_warehouse: Callable[..., Any], policies: Path
) -> None:
    warehouse = open_warehouse(policies=policies)
    chance = random.Random(4)
    contacts = made_up_contacts(40, 2)
    chance.shuffle(contacts)

    def say(told: list[dict[str, Any]], hour: int) -> None:
        warehouse.append(
            [
                warehouse.event("contact", contact, SAID_AT + timedelta(hours=hour))
                for contact in told
            ]
        )

    say(contacts[:70], 1)
    assert warehouse.transform(AS_OF).is_full_refresh
    for batch, told in enumerate((contacts[70:95], contacts[95:]), start=2):
        say(told, batch)
        assert not warehouse.transform(
            AS_OF, scope="decisions" if batch == 3 else "everything"
        ).is_full_refresh
    # Names and birth dates change: links go, others come, blocks shrink and grow.
    changed = chance.sample(contacts, 25)
    say(
        [
            {
                **contact,
                **chance.choice(contacts),
                **{name: contact[name] for name in ("record_id", "system")},
            }
            for contact in changed
        ],
        4,
    )
    assert not warehouse.transform(AS_OF).is_full_refresh
    batched = contents(warehouse)
    assert {decision for *_, decision, _, _ in batched["matches"]} == {"link", "review", "evidence"}
    assert len([row for row in batched["links"] if row[-2]]) > 20, "hardly anything was linked"
    assert batched["reviews"]
    assert warehouse.transform(AS_OF, full_refresh=True).is_full_refresh
    assert contents(warehouse) == batched

    # The links explain themselves.
    told = warehouse.rows(
        "select evidence from marts.entity_map where evidence like '%\"match\"%' limit 1"
    )
    (link,) = [part for part in json.loads(told[0][0]) if part["identifier_type"] == "match"][:1]
    assert (
        link["match_weight"] >= 3 and link["parameters_version"] and ":" in link["identifier_value"]
    )
    (weight, waterfall), *_ = warehouse.rows(
        "select match_weight, waterfall from intermediate.int_identity__matches limit 1"
    )
    steps = json.loads(waterfall)
    assert steps[0]["comparison"] == "prior" and [step["comparison"] for step in steps[1:]] == [
        "person",
        "born",
        "town",
        "tax",
    ]
    assert sum(step["match_weight"] + step["rarity"] for step in steps) == pytest.approx(
        weight, abs=1e-3
    )

    # A person says yes to one match and no to another, and changes their mind about a third.
    publish(warehouse.settings)
    count, reviews = open_reviews(warehouse.settings)
    assert count == len(reviews) == len(batched["reviews"])
    accepted, rejected, retracted = (
        next(found for found in reviews if not found.refused_reason),
        *[found for found in reviews if not found.refused_reason][-2:],
    )
    assert len({found.match_id for found in (accepted, rejected, retracted)}) == 3
    for found, answer in (
        (accepted, "accept"),
        (rejected, "reject"),
        (retracted, "accept"),
        (retracted, "reject"),
    ):
        answer_review(warehouse.settings, found.match_id, answer, reason="called them")  # type: ignore[arg-type]
    assert not warehouse.transform(AS_OF + timedelta(days=365)).is_full_refresh
    together = [
        any(
            {side["record_id"] for side in (found.left, found.right)} <= person
            for person in warehouse.persons()
        )
        for found in (accepted, rejected, retracted)
    ]
    assert together == [True, False, False]
    waiting = {row[0] for row in warehouse.rows("select match_id from ops.identity_reviews")}
    assert not waiting & {accepted.match_id, rejected.match_id, retracted.match_id}
    assert not warehouse.rows("select 1 from marts.entity_map where system = 'handoff'")
    answered = contents(warehouse)
    warehouse.transform(AS_OF + timedelta(days=365), full_refresh=True)
    assert contents(warehouse) == answered


@pytest.mark.timeout(1800)
def test_a_no_holds_of_two_records_that_are_not_even_alike_any_more(
    open_warehouse: Callable[..., Any], policies: Path
) -> None:
    warehouse = open_warehouse(policies=policies)
    person = {"first_name": "Gül", "last_name": "Ekmann", "birth_date": "1971-03-04"}

    def contact(name: str, **told: Any) -> dict[str, Any]:
        unsaid = {"first_name": None, "last_name": None, "birth_date": None, "city": None}
        return {"record_id": name, "system": "web", **unsaid, "custom": {}, **told}

    def run(hour: int, *told: dict[str, Any], no: bool = False) -> set[frozenset[str]]:
        at = SAID_AT + timedelta(hours=hour)
        events = [warehouse.event("contact", each, at) for each in told]
        if no:
            said = {
                "system": "handoff",
                "surviving_id": "web:a",
                "merged_ids": ["web:b"],
                "unmerge": True,
            }
            events.append(warehouse.event("merge", said, at))
        warehouse.append(events)
        warehouse.transform(AS_OF + timedelta(hours=hour))
        return warehouse.persons()

    a, b = contact("a", **person, custom={"tax_id": "7700001"}), contact("b", **person)
    assert run(1, a, b) == {frozenset("ab")}
    assert run(2, no=True) == {frozenset("a"), frozenset("b")}
    # Nothing of the two is alike now, but a third has the number of the one, and the name and the birthday of the other.
    run(3, contact("a", custom={"tax_id": "7700001"}))
    third = contact("c", **person, custom={"tax_id": "7700001"})
    apart = run(4, third)
    assert not any({"a", "b"} <= person for person in apart)
    assert any(len(person) == 2 for person in apart), "the third is like neither of them"
    warehouse.transform(AS_OF + timedelta(hours=4), full_refresh=True)
    assert warehouse.persons() == apart
