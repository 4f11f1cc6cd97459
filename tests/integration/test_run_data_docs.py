"""When the pages of the checks are built: whenever there is a newer result, whatever became of the run."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from expectations.kept_results import keep_result
from expectations.validate import validate_frame
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration import definitions, micro_batch
from orchestration.data_docs import refresh_data_docs, results_folder


def judge(settings: Settings, table: str) -> None:
    """Keep the outcome of an empty table."""
    keep_result(validate_frame(pd.DataFrame(), "raw_records", table), results_folder(settings))


def test_pages_are_built_for_new_results_only(settings: Settings) -> None:
    assert refresh_data_docs(settings) is None
    judge(settings, "raw_hubspot.contacts")
    index = refresh_data_docs(settings)
    assert index is not None
    built = index.stat().st_mtime_ns
    assert refresh_data_docs(settings) == index
    assert index.stat().st_mtime_ns == built
    judge(settings, "raw_hubspot.companies")
    assert refresh_data_docs(settings) == index
    assert "raw_hubspot.companies" in index.read_text(encoding="utf-8")


def test_a_run_that_a_check_stopped_leaves_the_pages_that_say_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        judge(settings, "sync.sync_salesforce__leads")
        raise HandoffError("EXPECTATION_FAILED", "a lead has no name")

    monkeypatch.setattr(micro_batch, "run_once", stopped)
    monkeypatch.setattr(micro_batch, "open_instance", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(
        definitions,
        "defs",
        lambda: SimpleNamespace(resolve_job_def=lambda name: SimpleNamespace(name=name)),
    )
    with pytest.raises(HandoffError, match="a lead has no name"):
        micro_batch.run_micro_batches(settings)
    index = settings.artifacts_dir / "data_docs" / "index.html"
    assert "sync.sync_salesforce__leads" in index.read_text(encoding="utf-8")
