"""Claims about the checks at the doors: what stops a batch, what never leaks, offline Data Docs."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from expectations import suites
from expectations.context import ephemeral_context
from expectations.docs import build_data_docs
from expectations.kept_results import keep_result, kept_results
from expectations.suites import SUITE_FOLDER, load_suite
from expectations.validate import SuiteResult, validate_frame
from ingestion.errors.catalog import HandoffError

LEADS = "sync_salesforce__leads"
TASKS = "sync_salesforce__tasks"
SECRET = "ada.lovelace-secret"


def operations(count: int, object_name: str, key_field: str) -> dict[str, object]:
    return {
        "operation_id": [f"{number:032x}" for number in range(count)],
        "object": object_name,
        "action": "upsert",
        "external_id_field": key_field,
        "external_id": [f"key-{number}" for number in range(count)],
        "target_id": None,
        "person_id": [f"person-{number}" for number in range(count)],
        "payload": '{"LastName": "Lovelace"}',
        "changes": '{"LastName": {"old": null, "new": "Lovelace"}}',
        "reasons": '["form_demo_request"]',
        "trace_parent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "is_consented": True,
    }


def leads(count: int = 20) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **operations(count, "Lead", "Handoff_Person_Id__c"),
            "last_name": "Lovelace",
            "company": "Analytical Engines",
            "email": [f"ada{number}@engines.example" for number in range(count)],
            "owner_salesforce_id": "0055e000001abcdEAA",
        }
    )


def tasks(count: int = 20) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **operations(count, "Task", "Handoff_Task_Key__c"),
            "due_at": pd.Timestamp("2026-01-05T09:15:00Z"),
            "owner_salesforce_id": "0055e000001abcd",
            "who_external_id": [f"person-{number}" for number in range(count)],
        }
    )


def broken(result: SuiteResult) -> set[tuple[str | None, int | None]]:
    return {(row.column, row.unexpected_count) for row in result.results if not row.success}


def put(column: str, value: object, row: int = 3) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        changed = frame.copy()
        values = list(changed[column])
        values[row] = value
        changed[column] = pd.Series(values, dtype=object)
        return changed

    return change


@pytest.mark.parametrize(("frame", "name"), [(leads(), LEADS), (tasks(), TASKS)])
def test_a_good_batch_passes_every_claim(frame: pd.DataFrame, name: str) -> None:
    result = validate_frame(frame, name)
    assert result.success
    assert broken(result) == set()
    assert result.row_count == len(frame)
    assert all(row.unexpected_count in (0, None) for row in result.results)
    assert result.failures == []


@pytest.mark.parametrize("name", [LEADS, TASKS])
def test_an_empty_batch_passes(name: str) -> None:
    frame = leads(1) if name == LEADS else tasks(1)
    assert validate_frame(frame.head(0), name).success


@pytest.mark.parametrize(
    ("change", "failures"),
    [
        (put("operation_id", None), {("operation_id", 1)}),
        (put("operation_id", f"{4:032x}"), {("operation_id", 2)}),
        (put("external_id", None), {("external_id", 1)}),
        (put("external_id", "key-4"), {("external_id", 2)}),
        (put("external_id_field", "Email"), {("external_id_field", 1)}),
        (put("object", "Contact"), {("object", 1)}),
        (put("action", "create"), {("action", 1)}),
        (put("action", "delete"), {("action", 1)}),
        (put("action", "update"), {("target_id", 1)}),
        (put("target_id", "00Q5e00000"), {("target_id", 1)}),
        (put("payload", "{no json"), {("payload", 1)}),
        (put("is_consented", False), {("is_consented", 1)}),
        (put("is_consented", None), {("is_consented", 1)}),
        (put("person_id", None), {("person_id", 1)}),
        (put("last_name", None), {("last_name", 1)}),
        (put("last_name", "L" * 81), {("last_name", 1)}),
        (put("last_name", ""), {("last_name", 1)}),
        (put("company", None), {("company", 1)}),
        (put("email", "ada at engines"), {("email", 1)}),
        (put("email", "ada@engines.example\n"), {("email", 1)}),
        (put("owner_salesforce_id", "ada@engines.example"), {("owner_salesforce_id", 1)}),
        (put("owner_salesforce_id", "0055e000001abcdE"), {("owner_salesforce_id", 1)}),
    ],
)
def test_one_bad_lead_stops_the_batch(
    change: Callable[[pd.DataFrame], pd.DataFrame], failures: set[tuple[str, int]]
) -> None:
    result = validate_frame(change(leads()), LEADS)
    assert broken(result) == failures
    assert not result.success
    assert next(iter(failures))[0] in " ".join(row.message for row in result.failures)


@pytest.mark.parametrize("column", ["due_at", "owner_salesforce_id", "who_external_id"])
def test_a_task_without_its_essentials_stops_the_batch(column: str) -> None:
    result = validate_frame(put(column, None)(tasks()), TASKS)
    assert not result.success
    assert broken(result) == {(column, 1)}


def test_an_update_with_its_target_passes() -> None:
    frame = put("target_id", "00Q5e000001abcdEAA")(put("action", "update")(leads()))
    assert validate_frame(frame, LEADS).success


def test_a_warning_is_told_and_stops_nothing() -> None:
    frame = put("email", None)(put("trace_parent", "none", 5)(leads()))
    result = validate_frame(frame, LEADS)
    assert result.success
    assert {row.column for row in result.warnings} == {"email", "trace_parent"}
    assert result.failures == []


def test_a_missing_column_is_named_and_the_other_claims_are_still_judged() -> None:
    frame = put("is_consented", False)(leads()).drop(columns="company")
    result = validate_frame(frame, LEADS)
    told = [row.message for row in result.failures]
    assert any("missing company" in message for message in told)
    assert any(message == "company: is always there: the column is missing" for message in told)
    assert ("is_consented", 1) in broken(result)


def test_counts_and_rates_are_of_all_rows() -> None:
    frame = leads(200)
    frame.loc[:9, "email"] = "nobody"
    (row,) = [row for row in validate_frame(frame, LEADS).results if not row.success]
    assert row.unexpected_count == 10
    assert row.unexpected_rate == pytest.approx(0.05)
    assert row.message.endswith("broken by 10 of 200 rows")


def write_suite(folder: Path, *expectations: Mapping[str, object]) -> None:
    (folder / "probe.json").write_text(json.dumps(list(expectations)), encoding="utf-8")


@pytest.fixture
def suite_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites that a test may write to, read by the real loader."""
    folder = tmp_path / "suites"
    shutil.copytree(suites.SUITE_FOLDER, folder)
    monkeypatch.setattr(suites.load_suite, "__defaults__", (folder,))
    return folder


def test_no_failing_value_reaches_results_logs_or_output(
    suite_folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # A mean of texts raises "Could not convert string 'ada…' to numeric".
    write_suite(
        suite_folder,
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "e", "regex": "^x"}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "e", "value_set": [1]}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "e"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "e", "min_value": 1}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "e", "max_value": 3}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "e", "max_value": 3}},
        {
            "type": "expect_column_values_to_match_strftime_format",
            "kwargs": {"column": "e", "strftime_format": "%Y"},
        },
    )
    caplog.set_level(logging.DEBUG)

    frame = pd.DataFrame({"e": pd.Series([SECRET, SECRET, None], dtype=object)})
    with pytest.raises(TypeError, match=SECRET):
        frame["e"].mean()

    result = validate_frame(frame, "probe")
    page = build_data_docs([result], suite_folder.parent / "docs")

    assert not any(row.success for row in result.results)
    captured = capfd.readouterr()
    pages = "".join(file.read_text(encoding="utf-8") for file in page.parent.rglob("*.html"))
    for text in (repr(result), str(result.results), caplog.text, captured.out, captured.err, pages):
        assert SECRET not in text


def test_great_expectations_logs_no_exception_text(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from great_expectations.validator.metric_configuration import MetricConfiguration

    frame = pd.DataFrame({"e": pd.Series([SECRET, SECRET], dtype=object)})
    context = ephemeral_context()
    batch = context.data_sources.add_pandas("d").add_dataframe_asset("a")
    whole = batch.add_batch_definition_whole_dataframe("w")
    validator = context.get_validator(
        batch_request=whole.build_batch_request({"dataframe": frame}),
        create_expectation_suite_with_name="s",
    )
    with pytest.raises(KeyError):
        validator.get_metric(MetricConfiguration("column.mean", {"column": "e"}))
    captured = capfd.readouterr()
    assert SECRET not in caplog.text + captured.out + captured.err


def test_mostly_allows_the_rest_and_still_counts_it(suite_folder: Path) -> None:
    kwargs = {"column": "e", "mostly": 0.5}
    write_suite(suite_folder, {"type": "expect_column_values_to_not_be_null", "kwargs": kwargs})
    result = validate_frame(pd.DataFrame({"e": ["a", "b", None]}), "probe")
    assert result.success
    assert result.results[0].unexpected_count == 1
    assert "in at least 50.0% of the rows" in result.results[0].message


def test_severity_may_stand_in_meta(suite_folder: Path) -> None:
    kwargs = {"column": "e"}
    row = {"type": "expect_column_values_to_not_be_null", "kwargs": kwargs}
    write_suite(suite_folder, {**row, "meta": {"severity": "warning"}}, row)
    result = validate_frame(pd.DataFrame({"e": [None]}), "probe")
    assert [found.severity for found in result.results] == ["warning", "critical"]
    assert not result.success


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "probe.json is no expectation suite"),
        ('[{"kwargs": {}}]', "type"),
        ('[{"type": "expect_wonders", "kwargs": {}}]', "expect_wonders"),
        (
            '[{"type": "expect_column_values_to_not_be_null", "kwargs": {"columns": "e"}}]',
            "expectation 1, expect_column_values_to_not_be_null",
        ),
        (
            '[{"type": "expect_column_to_exist", "kwargs": {"column": "e"}, "severity": "bad"}]',
            "severity 'bad'",
        ),
    ],
)
def test_a_broken_suite_is_named(content: str, named: str, suite_folder: Path) -> None:
    (suite_folder / "probe.json").write_text(content, encoding="utf-8")
    with pytest.raises(HandoffError) as caught:
        validate_frame(pd.DataFrame({"e": [1]}), "probe")
    assert caught.value.code == "SUITE_INVALID"
    assert named in caught.value.message


def test_an_unknown_suite_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HandoffError) as caught:
        validate_frame(leads(1), "sync_salesforce__lead")
    assert caught.value.code == "NOT_FOUND"
    assert f"did you mean '{LEADS}'" in caught.value.message
    assert TASKS in caught.value.message


def test_a_name_never_leads_out_of_the_folder() -> None:
    with pytest.raises(HandoffError, match="unknown expectation suite"):
        load_suite("../../pyproject")


def test_every_suite_can_be_read_by_great_expectations() -> None:
    from expectations.validate import gx_configurations

    files = [file.name.partition(".")[0] for file in SUITE_FOLDER.glob("*.json")]
    assert {LEADS, TASKS} <= set(files)
    for name in files:
        suite = load_suite(name)
        assert len(gx_configurations(suite)) == len(suite.expectations) > 0


class _Assets(HTMLParser):
    """Collects what a browser would fetch for a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "data", "action", "poster"):
                self.fetched.append(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data Docs of a failed and a passed suite."""
    frame = put("email", SECRET)(leads()).drop(columns="company")
    results = [validate_frame(frame, LEADS), validate_frame(tasks(), TASKS)]
    folder = tmp_path_factory.mktemp("home") / "artifacts" / "data_docs"
    run_at = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    build_data_docs(results, folder, run_at=run_at)
    return build_data_docs(results, folder, run_at=run_at).parent


def test_no_page_of_data_docs_asks_an_outside_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) == 5
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assets = _Assets()
        assets.feed(text)
        remote = [a for a in assets.fetched + assets.links if re.match(r"(https?:)?//", a)]
        assert remote == [], page
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), page
        assert "<script" not in text


def test_data_docs_say_what_failed_and_never_the_value(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    assert "1 of 2 checks failed" in index
    assert "2026-01-05 09:00:00 UTC" in index
    (page,) = (site / "validations" / LEADS).rglob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "unexpected values found" in text
    assert SECRET not in text


def test_data_docs_of_a_suite_that_has_changed_since_are_built(suite_folder: Path) -> None:
    row = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "e"}}
    write_suite(suite_folder, row, {**row, "severity": "warning"})
    result = validate_frame(pd.DataFrame({"e": [None]}), "probe")
    (suite_folder / "probe.json").unlink()
    index = build_data_docs([result], suite_folder.parent / "docs")
    assert "0 of 2" in index.read_text(encoding="utf-8")


def test_a_table_that_failed_is_shown_beside_one_that_passed_the_same_suite(
    suite_folder: Path, tmp_path: Path
) -> None:
    write_suite(
        suite_folder,
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "e"}},
    )
    for table, value in (("raw_hubspot.contacts", None), ("raw_hubspot.companies", 1)):
        result = validate_frame(pd.DataFrame({"e": [value]}), "probe", table)
        keep_result(result, tmp_path / "kept")
    kept = kept_results(tmp_path / "kept")
    assert {(result.table, result.success) for result in kept} == {
        ("raw_hubspot.contacts", False),
        ("raw_hubspot.companies", True),
    }
    index = build_data_docs(kept, tmp_path / "docs")
    told = index.read_text(encoding="utf-8")
    assert "1 of 2 checks failed" in told
    links = re.findall(r'href="(validations/[^"]+)"', told)
    assert len(set(links)) == 2
    by_table = {link.rpartition("/")[2].rpartition(".probe")[0]: link for link in links}
    for table, word in (("raw_hubspot.contacts", "Failed"), ("raw_hubspot.companies", "Succeeded")):
        page = (index.parent / by_table[table]).read_text(encoding="utf-8")
        assert table in page
        assert word in page, table


def test_every_link_of_data_docs_leads_to_a_page(site: Path) -> None:
    from urllib.parse import unquote

    for page in site.rglob("*.html"):
        assets = _Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        for link in assets.links:
            target = unquote(link.split("#")[0])
            assert not target or (page.parent / target).resolve().is_file(), (page, link)


def test_data_docs_leave_nothing_beside_their_folder(site: Path) -> None:
    assert [entry.name for entry in site.parent.iterdir()] == ["data_docs"]


def test_importing_the_checks_does_not_import_great_expectations() -> None:
    probe = (
        "import sys, expectations.validate, expectations.docs; "
        "print([m for m in ('great_expectations', 'pandas', 'numpy') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
