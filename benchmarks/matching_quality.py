"""Precision, recall and F1 of matching on published record sets, beside Splink with its authors' settings: `python -m benchmarks.matching_quality FOLDER [NAME…]`.

Ours goes the product's own way: `handoff ingest`, `handoff run`, `handoff identity train`, `handoff run`, and `marts.entity_map` says who is whom.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.matching_data import POLICIES, SETS, write_events
from models.policies.load import copy_policies

AS_OF = "2026-06-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares 0..1. A pair is right when both records are of one entity, a cluster when it is exactly the entity's records."""

    precision: float
    recall: float
    cluster_precision: float
    cluster_recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean over pairs."""
        return _f1(self.precision, self.recall)

    @property
    def cluster_f1(self) -> float:
        """Harmonic mean over clusters."""
        return _f1(self.cluster_precision, self.cluster_recall)


def quality(found: Mapping[str, str], truth: Mapping[str, str]) -> Quality:
    """Compare two clusterings, given as the cluster of each record; raises ValueError when they are not of the same records."""
    if set(found) != set(truth):
        raise ValueError(f"{len(set(found) ^ set(truth))} records are in one clustering only")
    both = _pairs(Counter((found[record], truth[record]) for record in truth).values())
    found_pairs, true_pairs = (_pairs(Counter(of.values()).values()) for of in (found, truth))
    found_sets, true_sets = _sets(found), _sets(truth)
    exact = len(found_sets & true_sets)
    return Quality(
        both / found_pairs if found_pairs else 1.0,
        both / true_pairs if true_pairs else 1.0,
        exact / len(found_sets),
        exact / len(true_sets),
    )


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _pairs(sizes: Any) -> int:
    return sum(size * (size - 1) // 2 for size in sizes)


def _sets(clusters: Mapping[str, str]) -> set[frozenset[str]]:
    members: dict[str, set[str]] = defaultdict(set)
    for record, cluster in clusters.items():
        members[cluster].add(record)
    return {frozenset(records) for records in members.values()}


def ours(name: str, folder: Path, home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Cluster of each record as the product says it, and the truth."""
    policies = home / "policies"
    copy_policies(policies)
    shutil.copy(POLICIES / f"{name}.yml", policies / "identity" / "v2.yml")
    events = home / "events.jsonl"
    truth = write_events(name, folder, events)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HANDOFF_")},
        "HANDOFF_HOME": str(home / "state"),
        "HANDOFF_POLICIES": str(policies),
    }

    def handoff(*arguments: str) -> str:
        started = time.monotonic()
        command = [sys.executable, "-m", "orchestration.cli.app", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(
                f"handoff {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        print(f"  handoff {arguments[0]} {time.monotonic() - started:.0f} s", file=sys.stderr)
        return done.stdout

    handoff("ingest", str(events))
    handoff("run", "--as-of", AS_OF)
    handoff("identity", "train", "--policy", "v2")
    rollout = policies / "rollout.yml"
    rollout.write_text(rollout.read_text().replace("identity: v1", "identity: v2"))
    handoff("run", "--as-of", AS_OF)
    rows = json.loads(
        handoff(
            "query", "--format", "json",
            "select record_id, person_id from marts.entity_map where system = 'hubspot' and is_current",
        )
    )  # fmt: skip
    return {row["record_id"]: row["person_id"] for row in rows}, truth


def authors(name: str, folder: Path) -> dict[str, str] | None:
    """Cluster of each record by Splink with the settings of its authors' examples; None where they have published none.

    Source: docs/demos/examples/duckdb of moj-analytical-services/splink: accuracy_analysis_from_labels_column and febrl3; clustered at match
    probability 0.5.
    """
    import duckdb
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    connection = duckdb.connect()
    recall: float
    if name == "fake_1000":
        path, key, recall, seed = folder / "fake_1000.csv", "unique_id", 0.7, 5
        comparisons: list[Any] = [
            cl.ForenameSurnameComparison("first_name", "surname"),
            cl.DateOfBirthComparison("dob", input_is_string=True),
            cl.ExactMatch("city").configure(term_frequency_adjustments=True),
            cl.EmailComparison("email"),
        ]
        blocking = [block_on(column) for column in ("first_name", "surname", "dob", "email")]
        certain: list[Any] = [
            "l.first_name = r.first_name and levenshtein(r.dob, l.dob) <= 1",
            "l.surname = r.surname and levenshtein(r.dob, l.dob) <= 1",
            "l.first_name = r.first_name and levenshtein(r.surname, l.surname) <= 2",
            "l.email = r.email",
        ]
        passes = [block_on("dob"), block_on("email"), block_on("first_name", "surname")]
    elif name == "febrl3":
        path, key, recall, seed = folder / "febrl3.csv", "rec_id", 0.9, 2
        comparisons = [
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DateOfBirthComparison(
                "date_of_birth", input_is_string=True, datetime_format="%Y%m%d"
            ),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.ExactMatch("postcode").configure(term_frequency_adjustments=True),
        ]
        blocking = [
            block_on(column)
            for column in ("soc_sec_id", "given_name", "surname", "date_of_birth", "postcode")
        ]
        certain = [
            block_on("soc_sec_id"),
            block_on("given_name", "surname", "date_of_birth"),
            "l.given_name = r.surname and l.surname = r.given_name and l.date_of_birth = r.date_of_birth",
        ]
        passes = [block_on("date_of_birth"), block_on("postcode")]
    else:
        return None
    connection.execute(
        f"create table given as from read_csv('{path}', all_varchar = true, normalize_names = false)"
    )
    names = [row[0] for row in connection.execute("describe given").fetchall()]
    cleaned = ", ".join(f'nullif(trim("{column}"), \'\') as "{column.strip()}"' for column in names)
    connection.execute(f"create table records as select {cleaned} from given")
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name=key,
        blocking_rules_to_generate_predictions=blocking,
        comparisons=comparisons,
    )
    linker = Linker(DuckDBAPI(connection=connection).register("records"), settings, log_level=None)
    linker.training.estimate_probability_two_random_records_match(certain, recall=recall)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=seed)
    for rule in passes:
        linker.training.estimate_parameters_using_expectation_maximisation(
            rule, estimate_without_term_frequencies=name == "fake_1000"
        )
    predicted = linker.inference.predict(threshold_match_probability=0.2)
    clustered = linker.clustering.cluster_pairwise_predictions_at_threshold(predicted, 0.5)
    return {
        str(record): str(cluster)
        for record, cluster in clustered.as_duckdbpyrelation()
        .project(f"{key}, cluster_id")
        .fetchall()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per set and way; 0 when it got through."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.matching_quality", description=__doc__
    )
    parser.add_argument(
        "folder",
        type=Path,
        help="where fake_1000.csv, febrl3.csv and csv_example_input_with_true_ids.csv stand",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SETS)}; all if none")
    parser.add_argument(
        "--authors-only", action="store_true", help="leave the product out: seconds, not minutes"
    )
    given = parser.parse_args(arguments)
    names = given.names or list(SETS)
    if unknown := sorted(set(names) - set(SETS)):
        parser.error(f"unknown set {', '.join(unknown)}; known: {', '.join(SETS)}")
    print(
        "| set | way | pairs P | R | F1 | clusters P | R | F1 |\n|---|---|---|---|---|---|---|---|"
    )
    for name in names:
        with tempfile.TemporaryDirectory(prefix="handoff-matching-") as scratch:
            truth = write_events(name, given.folder, Path(scratch) / "events.jsonl")
            by_authors = authors(name, given.folder)
            if by_authors is not None:
                _print(name, "Splink, its authors' settings", quality(by_authors, truth))
            if not given.authors_only:
                found, _ = ours(name, given.folder, Path(scratch))
                _print(name, "handoff, entity_map", quality(found, truth))
    return 0


def _print(name: str, way: str, told: Quality) -> None:
    figures = (
        told.precision,
        told.recall,
        told.f1,
        told.cluster_precision,
        told.cluster_recall,
        told.cluster_f1,
    )
    print(
        f"| {name} | {way} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
