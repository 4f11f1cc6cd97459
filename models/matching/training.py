"""Trains what agreement and disagreement weigh, with Splink, from the records themselves: no labels are needed."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from ingestion.errors.catalog import HandoffError
from models.matching.comparisons import splink_comparisons
from models.matching.features import feature_expressions, part_expression
from models.matching.parameters import (
    MatchParameters,
    TrainedComparison,
    TrainedLevel,
    comparisons_hash,
)
from models.policies.documents import Matching

if TYPE_CHECKING:
    import duckdb
    from splink import Linker

# Values that fewer records have are nobody's business in a file beside the policy, and too few to measure.
_FEWEST_RECORDS = 5
# Digits kept of a probability: the last ones of a floating sum are not the same in every release.
_DIGITS = 9
_FEWEST_TO_TRAIN = 100
_ROUNDS = (25, 8, 3)
# Least share of the pairs of one person on a level. Expectation maximisation takes what no pair shows for impossible; 1 in 10,000 is as sure as
# one may be of that.
_LEAST_M = 1e-4


def train(
    connection: duckdb.DuckDBPyConnection, contacts: str, matching: Matching
) -> MatchParameters:
    """Parameters for `matching` from `contacts`, a relation with the columns of `int_contacts__current`.

    Splink estimates u from random pairs, m by expectation maximisation in the policy's passes. The connection should be private and of one
    thread: then the same records give the same parameters. Raises HandoffError MATCHING_UNTRAINABLE where there are too few records, or too
    few pairs that agree.
    """
    # Splink is told by the user of a library to be quiet; its warnings about single levels are answered by the defaults it takes.
    logging.getLogger("splink").setLevel(logging.ERROR)
    count = _features(connection, contacts, matching)
    if count < _FEWEST_TO_TRAIN:
        raise HandoffError(
            "MATCHING_UNTRAINABLE",
            f"{count} contacts have something to compare; training takes {_FEWEST_TO_TRAIN}",
            remedy="Ingest more contacts first, or copy the parameters file of a similar warehouse.",
        )
    linker = open_linker(connection, "match_features", matching)
    training = matching.training
    try:
        linker.training.estimate_probability_two_random_records_match(
            [rule for blocking in training.certain for rule in splink_rules(blocking)],
            recall=training.recall,
        )
        linker.training.estimate_u_using_random_sampling(
            max_pairs=float(training.max_pairs), seed=training.seed
        )
        for blocking in training.passes:
            _learn(linker, splink_rules(blocking)[0])
    except Exception as error:
        # Splink's own classes, and what DuckDB says of a column without values.
        raise HandoffError(
            "MATCHING_UNTRAINABLE",
            f"Splink cannot train on {count} contacts: {str(error).strip().splitlines()[0]}",
            remedy="Look at matching.training: `certain` and every pass must find pairs of records.",
        ) from error
    return _parameters(connection, linker, matching, count)


def _learn(linker: Linker, rule: str) -> None:
    """One pass. On clean records the share of a level no pair is on falls until Splink refuses it as no number: fewer rounds are enough then."""
    settings: Any = linker._settings_obj
    # A pass takes what it cannot learn out of these, and puts it back only when it ends well.
    before = settings.core_model_settings.copy()
    for rounds in _ROUNDS:
        settings.core_model_settings = before.copy()
        settings.training_settings = replace(settings.training_settings, max_iterations=rounds)
        try:
            linker.training.estimate_parameters_using_expectation_maximisation(
                rule, estimate_without_term_frequencies=True
            )
        except ValueError as error:
            if "below the minimum" not in str(error) or rounds == _ROUNDS[-1]:
                raise
        else:
            return


def open_linker(connection: duckdb.DuckDBPyConnection, table: str, matching: Matching) -> Linker:
    """Splink's linker for the policy over a table of features with a `unique_id`."""
    from splink import DuckDBAPI, Linker, SettingsCreator

    # The library's lists hold more kinds than ours, and lists of either are no lists of both.
    rules: list[Any] = [rule for blocking in matching.blocking for rule in splink_rules(blocking)]
    comparisons: list[Any] = [*splink_comparisons(matching)]
    settings = SettingsCreator(
        link_type="dedupe_only",
        blocking_rules_to_generate_predictions=rules,
        comparisons=comparisons,
    )
    return Linker(DuckDBAPI(connection=connection).register(table), settings, log_level=None)


def splink_rules(blocking: tuple[str, ...]) -> list[str]:
    """A blocking rule of the policy as conditions on l and r: one for each way its alternatives can meet."""
    ways: list[list[str]] = []
    for part in blocking:
        names, _, length = part.partition(":")
        columns = names.split("|")
        ways.append(
            [
                f"{part_expression('l.' + left, length)} = {part_expression('r.' + right, length)}"
                for left, right in product(columns, columns)
            ]
        )
    return [" and ".join(conditions) for conditions in product(*ways)]


def _features(connection: duckdb.DuckDBPyConnection, contacts: str, matching: Matching) -> int:
    columns = feature_expressions(matching)
    selected = ", ".join(f'{expression} as "{name}"' for name, expression in columns.items())
    some = " or ".join(f'"{name}" is not null' for name in columns)
    connection.execute(
        f"create or replace temp table match_features as select record_key as unique_id, {selected} "
        f"from {contacts} where {some} order by record_key"
    )
    return int(connection.execute("select count(*) from match_features").fetchall()[0][0])


def _parameters(
    connection: duckdb.DuckDBPyConnection, linker: Linker, matching: Matching, count: int
) -> MatchParameters:
    import splink

    model: Any = linker._settings_obj.core_model_settings
    comparisons = tuple(
        TrainedComparison(
            name=comparison.output_column_name,
            levels=tuple(
                TrainedLevel(
                    label=level.label_for_charts,
                    condition=level.sql_condition,
                    is_null_level=level.is_null_level,
                    m_probability=None
                    if level.is_null_level
                    else _rounded(max(level.m_probability, _LEAST_M)),
                    u_probability=None if level.is_null_level else _rounded(level.u_probability),
                    term_frequency_column=level._tf_adjustment_input_column_name,
                )
                for level in comparison.comparison_levels
            ),
        )
        for comparison in model.comparisons
    )
    columns = {
        level.term_frequency_column
        for comparison in comparisons
        for level in comparison.levels
        if level.term_frequency_column
    }
    return MatchParameters(
        comparisons_hash=comparisons_hash(matching),
        splink_version=splink.__version__,
        seed=matching.training.seed,
        record_count=count,
        prior_probability=_rounded(model.probability_two_random_records_match),
        comparisons=comparisons,
        term_frequencies={name: _frequencies(connection, name) for name in sorted(columns)},
    )


def _frequencies(connection: duckdb.DuckDBPyConnection, column: str) -> dict[str, float]:
    """Share of the records that have a value, of those that have any: Splink's definition."""
    rows = connection.execute(
        f'select "{column}", count(*) / sum(count(*)) over () from match_features '
        f'where "{column}" is not null group by 1 qualify count(*) >= {_FEWEST_RECORDS} order by 1'
    ).fetchall()
    return {value: _rounded(share) for value, share in rows}


def _rounded(probability: float) -> float:
    return max(float(f"{probability:.{_DIGITS}g}"), 1e-12)
