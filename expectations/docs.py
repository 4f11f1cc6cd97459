"""Builds Data Docs of suites and results as pages that need no network; judging the data is
validate.py's work."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from expectations.context import ephemeral_context
from expectations.suites import SUITE_FOLDER, Expectation, Suite
from expectations.validate import ExpectationResult, SuiteResult, gx_configurations

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )

STYLE_FILE = Path(__file__).with_name("data_docs.css")
SITE = "handoff"

_REMOTE = r"""["'](?:https?:)?//[^"']*["']"""
_REMOTE_SCRIPT = re.compile(rf"<script[^>]*\ssrc={_REMOTE}[^>]*>.*?</script>", re.I | re.S)
_REMOTE_LINK = re.compile(rf"<link[^>]*\shref={_REMOTE}[^>]*>", re.I | re.S)
_REMOTE_IMAGE = re.compile(rf"<img[^>]*\ssrc={_REMOTE}[^>]*>", re.I | re.S)
_REMOTE_ANCHOR = re.compile(rf"<a[^>]*\shref={_REMOTE}[^>]*>(.*?)</a>", re.I | re.S)
_REMOTE_CSS = re.compile(r"@import[^;]*;|url\(\s*[\"']?(?:https?:)?//[^)]*\)", re.I)
_SCRIPT = re.compile(r"<script\b[^>]*>.*?</script>", re.I | re.S)
_FOOTER = re.compile(r"<footer>.*?</footer>", re.I | re.S)
_HEAD_END = re.compile(r"</head>", re.I)


def build_data_docs(
    results: Sequence[SuiteResult], folder: Path, *, run_at: datetime | None = None
) -> Path:
    """Write the pages of one run to `folder` (replaced whole) and return its index.html.

    The pages carry counts, never values, and load nothing from anywhere: Great Expectations' own
    ask seven outside hosts, show bare text without a network, and tell those hosts who is looking.
    `run_at` is the instant of the run, shown on each page; default now.
    """
    run_at = datetime.now(UTC) if run_at is None else run_at
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    context = ephemeral_context()
    for result in results:
        _store(context, result, run_at)
    context.add_data_docs_site(
        SITE,
        {
            "class_name": "SiteBuilder",
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(part.absolute()),
            },
            "site_index_builder": {
                "class_name": "DefaultSiteIndexBuilder",
                "show_cta_footer": False,
            },
        },
    )
    context.build_data_docs(site_names=[SITE])
    style = STYLE_FILE.read_text(encoding="utf-8")
    for page in part.rglob("*.html"):
        page.write_text(make_offline(page.read_text(encoding="utf-8"), style), encoding="utf-8")
    # Theirs is filled by a script from outside; without it the tables stay empty.
    (part / "index.html").write_text(_index_page(results, part, run_at, style), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder / "index.html"


def make_offline(html: str, style: str) -> str:
    """The page without anything that asks a host, and with `style` instead of the stylesheets it
    asked for."""
    html = _REMOTE_SCRIPT.sub("", html)
    # What remains are calls into the libraries that are gone now, each an error in the console.
    html = _SCRIPT.sub("", html)
    html = _REMOTE_LINK.sub("", html)
    html = _REMOTE_IMAGE.sub('<span class="ge-brand">Data Docs</span>', html)
    html = _FOOTER.sub("", html)
    html = _REMOTE_ANCHOR.sub(r"\1", html)
    html = _REMOTE_CSS.sub("", html)
    return _HEAD_END.sub(lambda _: f"<style>{style}</style></head>", html, count=1)


def _suite_of(result: SuiteResult) -> Suite:
    """The claims as they were judged: the suite's file may have changed since."""
    return Suite(
        name=result.suite,
        file=SUITE_FOLDER / f"{result.suite}.json",
        expectations=tuple(
            Expectation(type=row.expectation, kwargs=row.kwargs, severity=row.severity)
            for row in result.results
        ),
    )


def _store(context: EphemeralDataContext, result: SuiteResult, run_at: datetime) -> None:
    from great_expectations.core import ExpectationSuite, RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    suite = ExpectationSuite(name=result.suite)
    for configuration in gx_configurations(_suite_of(result)):
        suite.add_expectation_configuration(configuration)
    if result.suite not in {known.name for known in context.suites.all()}:
        context.suites.add(suite)
    key = ValidationResultIdentifier(
        expectation_suite_identifier=ExpectationSuiteIdentifier(result.suite),
        run_id=RunIdentifier(run_name=f"{run_at:%Y-%m-%dT%H%M%SZ}", run_time=run_at),
        batch_identifier=result.name,
    )
    context.validation_results_store.set(key, _gx_result(result, run_at))


def _gx_result(result: SuiteResult, run_at: datetime) -> ExpectationSuiteValidationResult:
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    configurations = gx_configurations(_suite_of(result))
    rows = [
        ExpectationValidationResult(
            success=row.success,
            expectation_config=configuration,
            result=_counts(row, result.row_count),
            exception_info={
                "raised_exception": False,
                "exception_message": None,
                "exception_traceback": None,
            },
        )
        for row, configuration in zip(result.results, configurations, strict=True)
    ]
    met = sum(row.success for row in result.results)
    return ExpectationSuiteValidationResult(
        success=result.success,
        results=rows,
        suite_name=result.suite,
        statistics={
            "evaluated_expectations": len(rows),
            "successful_expectations": met,
            "unsuccessful_expectations": len(rows) - met,
            "success_percent": 100 * met / len(rows) if rows else 100.0,
        },
        meta={
            "great_expectations_version": version("great-expectations"),
            "run_id": {"run_name": f"{run_at:%Y-%m-%dT%H%M%SZ}", "run_time": run_at.isoformat()},
            "batch_spec": {
                "data_asset_name": f"{result.table or result.suite}, {result.row_count:,} rows"
            },
        },
    )


def _index_page(results: Sequence[SuiteResult], folder: Path, run_at: datetime, style: str) -> str:
    rows = []
    for result in sorted(results, key=lambda result: (result.success, result.name)):
        pages = sorted((folder / "validations" / result.suite).rglob(f"{result.name}.html"))
        status = (
            '<span class="text-success">\u2713 passed</span>'
            if result.success
            else '<span class="text-danger">\u2717 failed</span>'
        )
        met = sum(row.success for row in result.results)
        link = quote(pages[-1].relative_to(folder).as_posix()) if pages else ""
        rows.append(
            f'<tr><td>{status}</td><td><a href="{link}">{escape(result.name)}</a></td>'
            f'<td class="number">{result.row_count:,}</td>'
            f'<td class="number">{met} of {len(result.results)}</td>'
            f'<td class="number">{len(result.failures)}</td>'
            f'<td class="number">{len(result.warnings)}</td>'
            f'<td><a href="{quote(f"expectations/{result.suite}.html")}">claims</a></td></tr>'
        )
    failed = sum(not result.success for result in results)
    told = (
        f"{failed} of {len(results)} checks failed"
        if failed
        else f"all {len(results)} checks passed"
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Data Docs</title><style>{style}</style></head><body>"
        '<nav class="navbar"><span class="ge-brand">Data Docs</span></nav><div class="index">'
        f"<h1>{told}</h1><p>Run of {run_at:%Y-%m-%d %H:%M:%S %Z}. Counts only: no values are "
        f"kept.</p>"
        "<table><thead><tr><th>Status</th><th>Table and suite</th>"
        '<th class="number">Rows</th><th class="number">Claims met</th>'
        '<th class="number">Critical</th><th class="number">Warnings</th><th></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></body></html>"
    )


def _counts(row: ExpectationResult, row_count: int) -> dict[str, Any]:
    """What the page may show of a result: numbers. The keys are Great Expectations' own."""
    if row.unexpected_count is None:
        return {} if row.success else {"observed_value": row.message}
    percent = 100 * (row.unexpected_rate or 0.0)
    return {
        "element_count": row_count,
        "unexpected_count": row.unexpected_count,
        "unexpected_percent": percent,
        "unexpected_percent_total": percent,
        "partial_unexpected_list": [],
    }
