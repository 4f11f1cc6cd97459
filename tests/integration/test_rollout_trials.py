"""Trials of rollout.yml: a new version of scoring or routing for some people, everybody else by the active one, and back by one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestion.errors.catalog import HandoffError
from models.policies.load import POLICY_FOLDER, copy_policies, load_policies
from orchestration.policy_replay import replay
from orchestration.transform import rebuild_downstream

START = datetime(2026, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=30)
PEOPLE = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Policies whose second scoring doubles what asking for sales earns, and whose second routing has another SLA."""
    folder = tmp_path_factory.mktemp("trials") / "policies"
    copy_policies(folder)
    for kind, former, latter in (
        ("scoring", "points: 40\n    cap: 40", "points: 80\n    cap: 80"),
        ("routing", "sla_minutes: 240", "sla_minutes: 480"),
    ):
        text = (folder / kind / "v1.yml").read_text()
        assert former in text
        (folder / kind / "v2.yml").write_text(text.replace(former, latter, 1))
    return folder


def roll_out(folder: Path, trials: str) -> None:
    shipped = (POLICY_FOLDER / "rollout.yml").read_text()
    (folder / "rollout.yml").write_text(shipped + trials)


@pytest.fixture(scope="module")
def company(open_warehouse: Callable[..., Any], folder: Path) -> Any:
    warehouse = open_warehouse(policies=folder)
    made = []
    for number in range(PEOPLE):
        at, who = START + timedelta(hours=number), {"system": "web", "contact_id": str(number)}
        stated = {
            "email": f"p{number}@firm{number % 20}.example.com",
            "country": "DE",
            "job_title": "Head of IT",
        }
        made.append(
            warehouse.event("contact", {"system": "web", "record_id": str(number), **stated}, at)
        )
        form = {
            "activity_id": f"a{number}",
            "activity_type": "form_submit",
            "form_id": "contact_sales",
        }
        made.append(warehouse.event("activity", {**who, **form}, at))
    warehouse.append(made)
    roll_out(folder, "")
    warehouse.transform(AS_OF)
    return warehouse


def decide(warehouse: Any) -> None:
    """Make anew what scoring decides; what it is made of is the same."""
    warehouse.land()
    rebuild_downstream(warehouse.settings, ["source:raw_policies.scoring_*"], as_of=AS_OF)


def versions(warehouse: Any) -> dict[str, str]:
    """The scoring version of each person's MQL; each has one, and the ledger and the score name the same."""
    rows = warehouse.rows("select person_id, scoring_version from marts.fct_mqls")
    for table in ("fct_scores", "fct_score_ledger"):
        told = warehouse.rows(f"select distinct person_id, scoring_version from marts.{table}")
        assert sorted(told) == sorted(rows), table
    assert len(rows) == len(dict(rows)) == PEOPLE
    return dict(rows)


def test_a_share_of_people_is_decided_for_and_a_larger_one_takes_in_whoever_it_had(
    company: Any, folder: Path
) -> None:
    assert set(versions(company).values()) == {"v1"}
    chosen: list[set[str]] = []
    for share in (20, 60, 0):
        roll_out(folder, f"trials: {{scoring: {{version: v2, share: {share}}}}}\n")
        decide(company)
        found = versions(company)
        chosen.append({person for person, version in found.items() if version == "v2"})
        # Points are those of the version: 80 and the fit of 20, or 40 and the fit.
        assert company.rows(
            "select distinct scoring_version, round(fit_score), score >= 100 from marts.fct_mqls order by all"
        ) == [("v1", 20.0, False), *([("v2", 20.0, True)] if share else [])]
    fifth, most, nobody = chosen
    assert 0.1 * PEOPLE < len(fifth) < 0.32 * PEOPLE
    assert 0.48 * PEOPLE < len(most) < 0.72 * PEOPLE
    assert fifth < most
    assert nobody == set()


def test_who_is_named_is_in_or_out_whatever_the_share(company: Any, folder: Path) -> None:
    [(first, email)] = company.rows(
        "select person_id, email from marts.dim_people order by person_id limit 1"
    )
    roll_out(
        folder,
        f"trials: {{scoring: {{version: v2, share: 0, allow: ['@firm3.example.com', '{first}', P7@firm7.example.com]}}}}\n",
    )
    decide(company)
    wanted = {
        person
        for person, address in company.rows("select person_id, email from marts.dim_people")
        if address.endswith("@firm3.example.com") or address in (email, "p7@firm7.example.com")
    }
    assert {person for person, version in versions(company).items() if version == "v2"} == wanted
    roll_out(folder, "trials: {scoring: {version: v2, share: 100, deny: ['@firm3.example.com']}}\n")
    decide(company)
    denied = {person for person, version in versions(company).items() if version == "v1"}
    assert len(denied) == PEOPLE / 20


def test_a_batch_goes_on_as_a_rebuild_would(company: Any, folder: Path) -> None:
    roll_out(
        folder, "trials: {scoring: {version: v2, share: 50}, routing: {version: v2, share: 50}}\n"
    )
    company.transform(AS_OF)
    who = {
        "system": "web",
        "contact_id": "11",
        "activity_id": "later",
        "activity_type": "form_submit",
        "form_id": "demo_request",
    }
    company.append([company.event("activity", who, AS_OF)])
    done = company.transform(AS_OF + timedelta(days=1))
    assert not done.is_full_refresh
    batches = company.snapshot("marts", "sync")
    assert company.transform(AS_OF + timedelta(days=1), full_refresh=True).is_full_refresh
    assert company.snapshot("marts", "sync") == batches
    # Routing settles by a hash of its own: all four of the versions come together.
    assert len(company.rows(
        "select distinct scoring_version, routing_version from marts.fct_assignments join marts.fct_mqls using (mql_id)"
    )) == 4  # fmt: skip
    assert company.rows("select distinct routing_version, sla_minutes from marts.fct_assignments order by all") in (
        [("v1", 240), ("v2", 480)], [("v1", 60), ("v2", 60)],
    )  # fmt: skip


def test_a_replay_of_what_is_tried_is_of_everybody(company: Any, folder: Path) -> None:
    roll_out(folder, "trials: {scoring: {version: v2, share: 50}}\n")
    company.transform(AS_OF)
    told = replay(company.settings, {"scoring": "v2"}, since=START)
    before = {lead["scoring_version"] for lead in told.before.leads}
    assert before == {"v1", "v2"}
    assert {lead["scoring_version"] for lead in told.after.leads} == {"v2"}


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        ("trials: {scoring: {version: v9}}", "scoring has no version 'v9'"),
        ("trials: {scoring: {version: v1}}", "decides for everybody: there is nothing to try"),
        ("trials: {scoring: {version: v2, share: 120}}", "share 120"),
        ("trials: {identity: {version: v2}}", "identity"),
        ("trials: {scoring: {version: v2, allow: [a@b.com], deny: [A@b.com]}}", "'a@b.com' is allowed and denied"),
        ("trials: {scoring: {version: v2, allow: [nobody]}}", "nobody"),
    ],
)  # fmt: skip
def test_a_trial_that_cannot_be_is_refused_by_line(folder: Path, trials: str, told: str) -> None:
    roll_out(folder, trials + "\n")
    with pytest.raises(HandoffError, match=told) as error:
        load_policies(folder)
    assert error.value.code == "POLICY_INVALID"
    assert "rollout.yml:" in error.value.message
