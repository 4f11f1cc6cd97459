"""`handoff drift`: what is counted is what there was, and a change of policy is told from a change of people by a replay."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from models.policies.load import POLICY_FOLDER
from orchestration.cli.app import app
from orchestration.drift import find_drift
from orchestration.drift_page import verdict
from orchestration.drift_windows import HORIZON_DAYS
from orchestration.serving import publish

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 14
AS_OF = START + timedelta(days=2 * DAYS + HORIZON_DAYS)
EACH_DAY = 12


@pytest.fixture(scope="module")
def company(open_warehouse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Twelve people a day, of whom every third has a second record; every fourth asks for sales, and every other fourth reads an e-book and asks
    for a demo, which is not enough."""
    folder = tmp_path_factory.mktemp("drifting") / "policies"
    shutil.copytree(
        POLICY_FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "schemas")
    )
    text = (folder / "scoring" / "v1.yml").read_text()
    assert "mql_threshold: 60" in text
    (folder / "scoring" / "v2.yml").write_text(
        text.replace("mql_threshold: 60", "mql_threshold: 50")
    )
    warehouse = open_warehouse(policies=folder)
    rng, made = random.Random(3), []
    for day in range(2 * DAYS):
        for number in range(EACH_DAY):
            who, at = f"{day}-{number}", START + timedelta(days=day, hours=1 + number)
            source = rng.choice(["ads", "events", "organic"])
            stated = {
                "email": f"p{who}@firm{who}.example.com",
                "country": "DE",
                "job_title": "Head of IT",
                "original_source": source,
            }
            made.append(
                warehouse.event("contact", {"system": "web", "record_id": who, **stated}, at)
            )
            if number % 3 == 0:
                again = {"system": "web", "record_id": f"{who}-again", "email": stated["email"]}
                made.append(warehouse.event("contact", again, at + timedelta(minutes=30)))
            forms = {0: ["contact_sales"], 1: ["demo_request"]}.get(number % 4, [])
            for form_id in forms:
                did = {
                    "system": "web",
                    "contact_id": who,
                    "activity_id": f"{who}-{form_id}",
                    "activity_type": "form_submit",
                    "form_id": form_id,
                }
                made.append(warehouse.event("activity", did, at + timedelta(hours=2)))
    warehouse.append(made)
    warehouse.transform(AS_OF)
    publish(warehouse.settings)
    return warehouse


def test_what_is_counted_is_what_there_was(company: Any) -> None:
    found = find_drift(company.settings, days=DAYS, as_of=AS_OF)
    for window in (found.before, found.now):
        assert window.people == EACH_DAY * DAYS
        assert window.joined == EACH_DAY * DAYS // 3
        assert window.records == window.people + window.joined
        assert window.daily_records == (EACH_DAY + EACH_DAY // 3,) * DAYS
        assert window.mql_count == EACH_DAY * DAYS // 4
        assert set(window.leads) == {"ads", "events", "organic"}
    assert found.since == START + timedelta(days=DAYS)
    assert found.diagnosis.first is None
    assert verdict(found) == "Nothing is more than chance."


def test_another_version_is_named_and_its_part_is_exact(company: Any) -> None:
    """Everybody who asks for a demo is an MQL by the new version: in both windows, so the count alone shows nothing."""
    rollout = company.settings.policies / "rollout.yml"
    rollout.write_text(rollout.read_text().replace("scoring: v1", "scoring: v2"))
    company.transform(AS_OF)
    # As if it had come into use in the current window.
    company.rows(
        f"update ops.policies_used set first_used_at = '{START + timedelta(days=1)}' where version = 'v1'"
    )
    company.rows(
        f"update ops.policies_used set first_used_at = '{START + timedelta(days=DAYS + 2)}' where version = 'v2'"
    )
    publish(company.settings)
    said = CliRunner().invoke(
        app,
        ["drift", "--days", str(DAYS), "--as-of", AS_OF.isoformat(), "--json"],
        env={"HANDOFF_HOME": str(company.settings.home), "HANDOFF_POLICIES": str(company.settings.policies)},
    )  # fmt: skip
    assert said.exit_code == 1, said.output
    told = json.loads(said.stdout)
    assert told["diagnosis"]["first"] == "rule version"
    parts = {part["cause"]: part for part in told["diagnosis"]["parts"]}
    assert parts["rule version"]["mqls"] == EACH_DAY * DAYS // 4
    assert "scoring v1 → v2" in parts["rule version"]["evidence"]
    assert sum(part["mqls"] for part in parts.values()) == pytest.approx(
        told["diagnosis"]["now"] - told["diagnosis"]["before"]
    )
    without = find_drift(company.settings, days=DAYS, as_of=AS_OF, with_replay=False)
    assert without.diagnosis.first is None
