"""The figures on matching are counted as they are defined, and its policies are policies."""

from __future__ import annotations

import csv
import shutil
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.matching_data import POLICIES, SETS, write_events
from benchmarks.matching_quality import quality
from models.policies.load import copy_policies, load_policies


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=2, max_size=12)
)
def test_pairs_and_clusters_are_counted_as_defined(records: list[tuple[str, str]]) -> None:
    found = {str(number): cluster for number, (cluster, _) in enumerate(records)}
    truth = {str(number): cluster for number, (_, cluster) in enumerate(records)}
    said = {pair for pair in combinations(found, 2) if found[pair[0]] == found[pair[1]]}
    true = {pair for pair in combinations(truth, 2) if truth[pair[0]] == truth[pair[1]]}
    told = quality(found, truth)
    assert told.precision == (pytest.approx(len(said & true) / len(said)) if said else 1.0)
    assert told.recall == (pytest.approx(len(said & true) / len(true)) if true else 1.0)
    sets = [
        {frozenset(record for record in of if of[record] == cluster) for cluster in of.values()}
        for of in (found, truth)
    ]
    assert told.cluster_precision == pytest.approx(len(sets[0] & sets[1]) / len(sets[0]))
    assert told.cluster_recall == pytest.approx(len(sets[0] & sets[1]) / len(sets[1]))


def test_clusterings_of_different_records_are_not_compared() -> None:
    with pytest.raises(ValueError, match="1 records"):
        quality({"1": "a"}, {"1": "a", "2": "a"})


@pytest.mark.parametrize("name", SETS)
def test_the_policy_of_a_set_is_one(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    copy_policies(folder)
    shutil.copy(POLICIES / f"{name}.yml", folder / "identity" / "v2.yml")
    assert load_policies(folder).versions["identity"]["v2"].parameters is None


def test_records_without_a_value_leave_the_field_out(tmp_path: Path) -> None:
    with (tmp_path / "fake_1000.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["unique_id", "first_name", "surname", "dob", "city", "email", "cluster"])
        writer.writerow(["7", "Ann", "", "1970-02-31", "Bonn", "", "c"])
    events = tmp_path / "events.jsonl"
    assert write_events("fake_1000", tmp_path, events) == {"7": "c"}
    assert (
        '"data": {"record_id": "7", "system": "hubspot", "first_name": "Ann", "city": "Bonn"}'
        in events.read_text()
    )
