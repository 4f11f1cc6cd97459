"""Live picklists of the sandbox, read over HTTP through the connectors, against the mapping of the enumerations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.connectors import catalog
from ingestion.contracts.picklists import mismatches
from ingestion.errors.catalog import HandoffError
from ingestion.sandbox import hubspot_properties, salesforce_schema
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import environment
from ingestion.settings import Settings
from tests.serving import served


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(create_app(7, datetime(2026, 4, 1, tzinfo=UTC))) as address:
        yield address


@pytest.fixture
def sandboxed(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in (environment(url, 7) | {"HANDOFF_HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    return Settings()


def found(settings: Settings, system: str) -> dict[str, set[str]]:
    rows: dict[str, set[str]] = {}
    for row in mismatches(system, catalog.picklists(system).read(settings)):
        rows.setdefault(row.finding, set()).add(row.value or row.field)
    return rows


@pytest.mark.parametrize("system", ["hubspot", "salesforce"])
def test_a_portal_as_it_is_delivered_has_no_word_without_a_meaning(
    sandboxed: Settings, system: str
) -> None:
    live = catalog.picklists(system).read(sandboxed)
    assert sum(len(picklist.values) for picklist in live) > 10
    assert "unmapped" not in found(sandboxed, system)


def test_a_value_somebody_added_in_the_portal_is_found(
    sandboxed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = hubspot_properties.OPTIONS["contacts"]["lifecyclestage"]
    monkeypatch.setitem(stages, "1234567", "Evaluating")
    assert found(sandboxed, "hubspot")["unmapped"] == {"1234567"}


def test_a_value_that_was_hidden_or_deleted_is_named(
    sandboxed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {("contacts", "lifecyclestage", "evangelist")}
    monkeypatch.setattr(hubspot_properties, "HIDDEN", hidden)
    monkeypatch.delitem(hubspot_properties.OPTIONS["contacts"]["lifecyclestage"], "other")
    rows = found(sandboxed, "hubspot")
    assert rows["inactive"] == {"evangelist"}
    assert "other" in rows["gone"]


def test_a_status_of_the_crm_that_is_not_mapped_is_found(
    sandboxed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = salesforce_schema.SCHEMA["Lead"]["Status"]
    added = replace(field, values=(*field.values, "On Hold"))
    monkeypatch.setitem(salesforce_schema.SCHEMA["Lead"], "Status", added)
    assert found(sandboxed, "salesforce")["unmapped"] == {"On Hold"}


def test_a_field_that_cannot_be_seen_is_no_agreement(
    sandboxed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(hubspot_properties.OPTIONS["contacts"], "hs_legal_basis")
    assert "contacts.hs_legal_basis" in found(sandboxed, "hubspot")["unreadable"]


def test_a_system_whose_api_tells_no_picklists_is_said_so() -> None:
    with pytest.raises(HandoffError, match="known with a picklists: hubspot, salesforce"):
        catalog.picklists("marketo")


def test_the_command_fails_on_a_word_without_a_meaning(
    sandboxed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "orchestration.cli.app", "contracts", "picklists", "salesforce", "--json"]  # fmt: skip

    def run() -> tuple[int, Any]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    code, answer = run()
    assert (code, answer["ok"]) == (0, True), answer
    field = salesforce_schema.SCHEMA["Lead"]["Status"]
    added = replace(field, values=(*field.values, "On Hold"))
    monkeypatch.setitem(salesforce_schema.SCHEMA["Lead"], "Status", added)
    code, answer = run()
    assert code == 1
    [failure] = [row for row in answer["mismatches"] if row["is_failure"]]
    assert failure["value"] == "On Hold"
