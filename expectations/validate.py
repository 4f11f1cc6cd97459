"""Runs a suite over a data frame and says what held, in counts: no value of the data ever stands in
a result."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from expectations.context import ephemeral_context
from expectations.suites import Expectation, Severity, Suite, load_suite
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.validator.validator import Validator


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """Whether one claim held; `unexpected_count` rows (a share 0..1 of all) broke it, None where
    rows do not count."""

    expectation: str
    column: str | None
    success: bool
    severity: Severity
    unexpected_count: int | None
    unexpected_rate: float | None
    message: str
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """`success` is whether every critical claim held; warnings are in `results` and stop
    nothing. `table` is the address of what was judged: one suite may guard many tables."""

    suite: str
    success: bool
    results: list[ExpectationResult]
    seconds: float
    row_count: int = 0
    table: str = ""

    @property
    def name(self) -> str:
        """What was judged by what; no two outcomes of one run share it."""
        return f"{self.table}.{self.suite}" if self.table else self.suite

    @property
    def failures(self) -> list[ExpectationResult]:
        """Critical claims that did not hold."""
        return [r for r in self.results if not r.success and r.severity == "critical"]

    @property
    def warnings(self) -> list[ExpectationResult]:
        """Other claims that did not hold."""
        return [r for r in self.results if not r.success and r.severity != "critical"]


def validate_frame(frame: pd.DataFrame, suite_name: str, table: str = "") -> SuiteResult:
    """Run the suite of that name over `frame`, the rows of `table` (its address): 30 claims on 20,000 rows take about 0.25 s.

    The first call of a process also imports Great Expectations, which takes seconds.

    Great Expectations runs with BOOLEAN_ONLY: every other result format copies failing values,
    hence personal data, into results, logs and pages (great_expectations#8780). Counts are asked
    for separately, as numbers. Raises HandoffError NOT_FOUND for an unknown suite, SUITE_INVALID
    for a broken one.
    """
    started = time.perf_counter()
    suite = load_suite(suite_name)
    results = _run(frame, suite)
    return SuiteResult(
        suite=suite.name,
        success=all(result.success for result in results if result.severity == "critical"),
        results=results,
        seconds=time.perf_counter() - started,
        row_count=len(frame),
        table=table,
    )


def _run(frame: pd.DataFrame, suite: Suite) -> list[ExpectationResult]:
    context = ephemeral_context()
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset(suite.name)
    batch = asset.add_batch_definition_whole_dataframe("whole")
    validator = context.get_validator(
        batch_request=batch.build_batch_request({"dataframe": frame}),
        create_expectation_suite_with_name=suite.name,
    )
    configurations = gx_configurations(suite)
    outcomes = validator.graph_validate(
        configurations=configurations, runtime_configuration={"result_format": "BOOLEAN_ONLY"}
    )
    # Great Expectations groups results by column; the position comes back in meta.
    held = [False] * len(configurations)
    failed_to_run = [False] * len(configurations)
    for outcome in outcomes:
        assert (
            outcome.expectation_config is not None and outcome.expectation_config.meta is not None
        )
        position = outcome.expectation_config.meta["position"]
        held[position] = bool(outcome.success)
        failed_to_run[position] = _has_raised(outcome.exception_info)
    return [
        _result(
            expectation,
            frame,
            is_met=held[position],
            could_run=not failed_to_run[position],
            count=None
            if failed_to_run[position]
            else _unexpected_count(validator, configurations[position], held[position]),
        )
        for position, expectation in enumerate(suite.expectations)
    ]


def gx_configurations(suite: Suite) -> list[ExpectationConfiguration]:
    """The suite in Great Expectations' own classes, each with its position in meta.

    Raises HandoffError SUITE_INVALID for a type or argument it does not know.
    """
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.metadata_types import FailureSeverity

    configurations = []
    for position, expectation in enumerate(suite.expectations):
        configuration = ExpectationConfiguration(
            type=expectation.type,
            kwargs=dict(expectation.kwargs),
            meta={**expectation.meta, "position": position},
            severity=FailureSeverity(expectation.severity),
        )
        try:
            configuration.to_domain_obj()
        except (GreatExpectationsError, ValueError, TypeError) as error:
            raise HandoffError(
                "SUITE_INVALID",
                f"{suite.file.name}: expectation {position + 1}, {expectation.type}: {error}",
                path=str(suite.file),
            ) from error
        configurations.append(configuration)
    return configurations


def _has_raised(exception_info: Mapping[str, Any]) -> bool:
    """Whether the check itself broke: either one entry, or one per metric that failed."""
    if "raised_exception" in exception_info:
        return bool(exception_info["raised_exception"])
    return bool(exception_info)


def _unexpected_count(
    validator: Validator, configuration: ExpectationConfiguration, is_met: bool
) -> int | None:
    """Rows that break the claim, from the same metric that decided it; None for claims not about
    rows."""
    from great_expectations.exceptions.exceptions import GreatExpectationsError

    expectation = configuration.to_domain_obj()
    map_metric = getattr(expectation, "map_metric", None)
    if map_metric is None:
        return None
    if is_met and float(configuration.kwargs.get("mostly") or 1) >= 1:
        return 0
    name = f"{map_metric}.unexpected_count"
    dependencies = expectation.get_validation_dependencies(
        execution_engine=validator.execution_engine,
        runtime_configuration={"result_format": "BOOLEAN_ONLY"},
    )
    metric = dependencies.get_metric_configuration(name)
    if metric is None:
        return None
    try:
        return int(validator.get_metrics(metrics={name: metric})[name])
    except (GreatExpectationsError, KeyError):
        return None


def _result(
    expectation: Expectation,
    frame: pd.DataFrame,
    *,
    is_met: bool,
    could_run: bool,
    count: int | None,
) -> ExpectationResult:
    rate = None if count is None or len(frame) == 0 else count / len(frame)
    claim = describe(expectation)
    column = expectation.column
    if not could_run and column is not None and column not in frame.columns:
        message = f"{claim}: the column is missing"
    elif not could_run:
        # The exception's text may quote values; the type of the column says enough to find the
        # cause.
        kind = f" of type {frame[column].dtype}" if column is not None else ""
        message = f"{claim}: cannot be judged on a column{kind}"
    elif not is_met and count is not None:
        message = f"{claim}: broken by {count:,} of {len(frame):,} rows"
    elif not is_met and expectation.type == "expect_table_columns_to_match_set":
        wanted = list(expectation.kwargs["column_set"])
        missing = [name for name in wanted if name not in frame.columns]
        further = [name for name in frame.columns if name not in wanted]
        message = (
            f"{claim}: missing {_shown(missing) or 'none'}; further {_shown(further) or 'none'}"
        )
    elif not is_met:
        message = f"{claim}: does not hold for {len(frame):,} rows"
    else:
        message = claim if not count else f"{claim} (not by {count:,} of {len(frame):,} rows)"
    return ExpectationResult(
        expectation=expectation.type,
        column=column,
        success=is_met,
        severity=expectation.severity,
        unexpected_count=count,
        unexpected_rate=rate,
        message=message,
        kwargs=expectation.kwargs,
    )


_CLAIMS = {
    "expect_column_values_to_not_be_null": "is always there",
    "expect_column_values_to_be_null": "is always empty",
    "expect_column_values_to_be_unique": "is unique",
    "expect_column_values_to_be_in_set": "is one of {value_set}",
    "expect_column_values_to_not_be_in_set": "is none of {value_set}",
    "expect_column_values_to_match_regex": "matches {regex}",
    "expect_column_values_to_not_match_regex": "does not match {regex}",
    "expect_column_values_to_be_between": "is from {min_value} to {max_value}",
    "expect_column_value_lengths_to_be_between": "has from {min_value} to {max_value} characters",
    "expect_column_values_to_be_json_parseable": "is JSON",
    "expect_column_to_exist": "exists",
    "expect_table_columns_to_match_set": "the table has the columns {column_set}",
    "expect_table_row_count_to_be_between": "the table has from {min_value} to {max_value} rows",
    "expect_compound_columns_to_be_unique": "{column_list} together are unique",
    "expect_column_pair_values_a_to_be_greater_than_b": "{column_A} is not less than {column_B}",
}


class _Shown(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "any"


def describe(expectation: Expectation) -> str:
    """The claim in words, from the suite alone: `email: matches ^…$`."""
    template = _CLAIMS.get(expectation.type)
    if template is None:
        words = expectation.type.removeprefix("expect_").removeprefix("column_").replace("_", " ")
        arguments = {k: v for k, v in expectation.kwargs.items() if k != "column"}
        told = words + (f" {json.dumps(arguments, default=str)}" if arguments else "")
    else:
        shown = {k: _shown(v) for k, v in expectation.kwargs.items() if v is not None}
        told = template.format_map(_Shown(shown))
    mostly = expectation.kwargs.get("mostly")
    if mostly is not None and mostly < 1:
        told += f", in at least {mostly:.1%} of the rows"
    return told if expectation.column is None else f"{expectation.column}: {told}"


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
