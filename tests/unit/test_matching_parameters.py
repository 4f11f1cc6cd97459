"""Trained parameters: the same contacts give the same file, the product's SQL weighs pairs as Splink does, and a file that does not fit is refused."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestion.errors.catalog import HandoffError
from models.matching.features import blocking_keys, feature_expressions
from models.matching.parameters import (
    comparisons_hash,
    level_rows,
    parameters_path,
    parameters_text,
    read_parameters,
)
from models.matching.training import open_linker, train
from models.policies.documents import IdentityPolicy, Matching
from models.policies.load import POLICY_FOLDER, load_policies, parse_source, read_source
from models.policies.rows import policy_tables

MATCHING = """
matching:
  comparisons:
    - {name: person, kind: full_name, fields: [first_name, last_name]}
    - {name: born, kind: date, fields: [birth_date]}
    - {name: town, kind: text, fields: [city], term_frequencies: true}
    - {name: mail, kind: email, fields: [email]}
    - {name: tax, kind: code, fields: [custom.tax_id]}
  blocking: [[last_name], ["first_name|last_name"], [birth_date], [email_local]]
  thresholds: {link: 4, review: 0}
  training:
    certain: [[email], [first_name, last_name, birth_date]]
    recall: 0.8
    passes: [[birth_date], [last_name]]
"""
FIRST = ("Ann", "Bob", "Carla", "Dov", "Eve", "Farid", "Gül", "Hana", "Ivo", "Jo", "Kai", "Lea")
LAST = (
    "Adler",
    "Berg",
    "Cole",
    "Diaz",
    "Ek",
    "Frank",
    "Gomez",
    "Hahn",
    "Ito",
    "Jung",
    "Kurz",
    "Lang",
)
TOWNS = ("Berlin", "Berlin", "Berlin", "Wien", "Bonn", "Graz")


def contacts(connection: duckdb.DuckDBPyConnection) -> None:
    """600 contacts of 300 people, the second of each with something changed."""
    chance = random.Random(3)
    connection.execute(
        "create table contacts (record_key ubigint, first_name varchar, last_name varchar, birth_date varchar, city varchar, "
        "email varchar, custom varchar)"
    )
    rows: list[list[Any]] = []
    for person in range(300):
        first, last, town = chance.choice(FIRST), chance.choice(LAST), chance.choice(TOWNS)
        born = f"{chance.randrange(1950, 2000)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
        told = [
            first,
            last,
            born,
            town,
            f"{first}.{last}{person}@acme.example",
            f'{{"tax_id": "{person:06}"}}',
        ]
        again = list(told)
        for place in chance.sample(range(6), 2):
            again[place] = None
        if chance.random() < 0.3:
            again[0], again[1] = again[1], again[0]
        rows += [[person * 2, *told], [person * 2 + 1, *again]]
    connection.executemany("insert into contacts values (?, ?, ?, ?, ?, ?, ?)", rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policies with what is compared here."""
    copied = tmp_path_factory.mktemp("policies") / "policies"
    shutil.copytree(
        POLICY_FOLDER,
        copied,
        ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.parameters.json"),
    )
    file = copied / "identity" / "v1.yml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.partition("\nmatching:")[0] + MATCHING, encoding="utf-8")
    return copied


@pytest.fixture(scope="module")
def matching(folder: Path) -> Matching:
    source = read_source(folder, folder / "identity" / "v1.yml", [])
    assert source is not None
    document = parse_source(IdentityPolicy, source, [])
    assert document is not None and document.matching is not None
    return document.matching


def trained(matching: Matching) -> tuple[duckdb.DuckDBPyConnection, Any]:
    connection = duckdb.connect(config={"threads": 1})
    contacts(connection)
    return connection, train(connection, "contacts", matching)


def test_the_same_contacts_give_the_same_file(matching: Matching) -> None:
    assert parameters_text(trained(matching)[1]) == parameters_text(trained(matching)[1])


def test_what_fewer_than_five_records_have_is_in_no_file(matching: Matching) -> None:
    _, parameters = trained(matching)
    assert set(parameters.term_frequencies["city"]) == {"berlin", "wien", "bonn", "graz"}
    assert "adler" not in parameters_text(parameters)


def test_a_pair_weighs_what_splink_says(matching: Matching) -> None:
    """The levels, put together as the dbt model does it, against Splink's own predictions of the same trained model."""
    connection, parameters = trained(matching)
    linker = open_linker(connection, "match_features", matching)
    model: Any = linker._settings_obj.core_model_settings
    model.probability_two_random_records_match = parameters.prior_probability
    for comparison, told in zip(model.comparisons, parameters.comparisons, strict=True):
        for level, trained_level in zip(comparison.comparison_levels, told.levels, strict=True):
            if not level.is_null_level:
                level._m_probability = trained_level.m_probability
                level._u_probability = trained_level.u_probability
    predicted = {
        (min(left, right), max(left, right)): weight
        for left, right, weight in linker.inference.predict()
        .as_duckdbpyrelation()
        .project("unique_id_l, unique_id_r, match_weight")
        .fetchall()
    }
    frequencies = parameters.term_frequencies["city"]
    terms = [str(parameters.prior_weight)]
    for comparison in parameters.comparisons:
        whens = " ".join(
            f"when {level.condition} then {level.match_weight}"
            if level.condition != "ELSE"
            else f"else {level.match_weight}"
            for level in comparison.levels
        )
        terms.append(f"(case {whens} end)")
        for level in comparison.levels:
            if level.term_frequency_column:
                known = " ".join(
                    f"when '{value}' then log2({level.u_probability} / {share})"
                    for value, share in frequencies.items()
                )
                terms.append(
                    f"coalesce(case when {level.condition} then case city_l {known} end end, 0)"
                )
    columns = list(feature_expressions(matching))
    sides = ", ".join(f"l.{column} as {column}_l, r.{column} as {column}_r" for column in columns)
    ours = connection.execute(
        f"select a, b, {' + '.join(terms)} from (select l.unique_id as a, r.unique_id as b, {sides} "
        "from match_features l join match_features r on l.unique_id < r.unique_id)"
    ).fetchall()
    compared = {(a, b): weight for a, b, weight in ours if (a, b) in predicted}
    assert len(compared) == len(predicted) > 1_000
    for pair, weight in compared.items():
        assert weight == pytest.approx(predicted[pair], abs=1e-6), pair


def test_blocks_find_the_pairs_splinks_rules_find(matching: Matching) -> None:
    connection, _ = trained(matching)
    linker = open_linker(connection, "match_features", matching)
    pairs = linker.inference.predict().as_duckdbpyrelation().project("unique_id_l, unique_id_r")
    expected = {(min(pair), max(pair)) for pair in pairs.fetchall()}
    keyed = " union ".join(
        f"select unique_id, '{rule}|' || ({expression}) as block from match_features"
        for rule, expression in blocking_keys(matching)
    )
    found = connection.execute(
        f"with keyed as ({keyed}) select distinct l.unique_id, r.unique_id from keyed l join keyed r using (block) "
        "where l.unique_id < r.unique_id"
    ).fetchall()
    assert set(found) == expected


def test_too_few_contacts_are_said_so(matching: Matching) -> None:
    connection = duckdb.connect(config={"threads": 1})
    contacts(connection)
    connection.execute("delete from contacts where record_key >= 99")
    with pytest.raises(HandoffError, match="99 contacts") as raised:
        train(connection, "contacts", matching)
    assert raised.value.code == "MATCHING_UNTRAINABLE"


def test_untrained_comparisons_decide_nothing(folder: Path) -> None:
    plain = load_policies().versions["identity"]["v1"]
    assert (
        plain.parameters is not None
        or policy_tables(load_policies())["identity_matching"].num_rows == 0
    )
    policies = load_policies(folder)
    assert policies.versions["identity"]["v1"].parameters is None
    assert policy_tables(policies)["identity_matching"].num_rows == 0


def test_parameters_beside_a_version_are_part_of_it(
    folder: Path, matching: Matching, tmp_path: Path
) -> None:
    copied = tmp_path / "policies"
    shutil.copytree(folder, copied)
    before = load_policies(copied).versions["identity"]["v1"].content_hash
    path = parameters_path(copied / "identity" / "v1.yml")
    _, parameters = trained(matching)
    path.write_text(parameters_text(parameters), encoding="utf-8")
    assert read_parameters(path) == parameters
    policies = load_policies(copied)
    assert policies.versions["identity"]["v1"].content_hash != before
    tables = policy_tables(policies)
    assert tables["identity_matching_levels"].num_rows == len(level_rows(parameters))
    assert tables["identity_matching"].column("parameters_version").to_pylist() == [
        parameters.version
    ]


def test_parameters_of_other_comparisons_are_refused(
    folder: Path, matching: Matching, tmp_path: Path
) -> None:
    copied = tmp_path / "policies"
    shutil.copytree(folder, copied)
    _, parameters = trained(matching)
    file = copied / "identity" / "v1.yml"
    parameters_path(file).write_text(parameters_text(parameters), encoding="utf-8")
    file.write_text(
        file.read_text().replace("kind: text, fields: [city]", "kind: exact, fields: [city]")
    )
    with pytest.raises(HandoffError, match=r"identity/v1.parameters.json.*other comparisons"):
        load_policies(copied)
    parameters_path(file).write_text("{}", encoding="utf-8")
    with pytest.raises(HandoffError, match="cannot be read"):
        load_policies(copied)


FAULTS = {
    "thresholds rise": ("link: 4, review: 0", "link: 0, review: 4", "thresholds do not fall"),
    "field there is not": ("fields: [city]", "fields: [town]", "unknown field 'town'"),
    "name of one field": (
        "fields: [first_name, last_name]",
        "fields: [first_name]",
        "compares 2 field",
    ),
    "blocking on nothing": ("[[last_name], ", "[[surname], ", "unknown column 'surname'"),
    "name twice": ("name: born", "name: mail", "'mail' occurs twice"),
    "training on nothing": ("passes: [[birth_date]", "passes: [[born]", "unknown column 'born'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_section_is_named(fault: str, folder: Path, tmp_path: Path) -> None:
    old, new, said = FAULTS[fault]
    copied = tmp_path / "policies"
    shutil.copytree(folder, copied)
    file = copied / "identity" / "v1.yml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(HandoffError) as raised:
        load_policies(copied)
    assert said in str(raised.value)


def test_what_is_compared_is_told_by_its_hash(matching: Matching) -> None:
    reordered = matching.model_copy(update={"max_block": 7})
    assert comparisons_hash(reordered) == comparisons_hash(matching)
    fewer = matching.model_copy(update={"comparisons": matching.comparisons[1:]})
    assert comparisons_hash(fewer) != comparisons_hash(matching)
