"""`handoff replay`: what would have been different under other policies, split by cause; nothing is changed by asking."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingestion.connectors.extracted import Extracted
from ingestion.contracts.registry import enum_document
from ingestion.errors.catalog import HandoffError
from models.policies.load import copy_policies
from orchestration.cli.app import app
from orchestration.policy_replay import MEASURES, Replay, changes, parsed_choices, replay
from orchestration.replay_page import precision, replay_page

START = datetime(2026, 3, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=90)
REPS = ("ann", "bob")


def form(warehouse: Any, who: str, form_id: str, at: datetime) -> dict[str, Any]:
    data = {
        "system": "web",
        "activity_id": f"{who}-{form_id}-{at:%m%d%H%M}",
        "activity_type": "form_submit",
        "form_id": form_id,
    }
    return warehouse.event("activity", {**data, "contact_id": who}, at)


def events(warehouse: Any) -> list[dict[str, Any]]:
    """Twelve who ask for sales and are no students, of whom four are taken up; six who read e-books and ask a day later; one person of two records."""
    made = []
    for number, rep in enumerate(REPS):
        made.append(warehouse.event("rep", {
            "system": "salesforce", "record_id": f"r{number}", "email": f"{rep}@handoff.example.org", "name": rep.title(),
            "territories": ["dach"], "weight": 1.0,
        }, START - timedelta(days=9)))  # fmt: skip

    def contact(who: str, at: datetime, **told: Any) -> dict[str, Any]:
        stated = {
            "email": f"{who}@firm-{who}.example.com",
            "country": "DE",
            "job_title": "Head of IT",
            **told,
        }
        return warehouse.event("contact", {"system": "web", "record_id": who, **stated}, at)

    for number in range(12):
        who, at = f"asks{number}", START + timedelta(days=number)
        made += [contact(who, at), form(warehouse, who, "contact_sales", at + timedelta(hours=1))]
        if number < 4:
            change = {"system": "web", "contact_id": who, "from": "mql", "to": "accepted"}
            made.append(warehouse.event("stage_change", change, at + timedelta(days=3)))
    for number in range(6):
        who, at = f"reads{number}", START + timedelta(days=number)
        made += [contact(who, at), form(warehouse, who, "ebook_download", at + timedelta(hours=1))]
        made.append(form(warehouse, who, "contact_sales", at + timedelta(days=1)))
    # Of one telephone: one person who has done enough, where it links; two who have not, where it does not.
    at = START + timedelta(days=20)
    for who, form_id in (("half1", "demo_request"), ("half2", "ebook_download")):
        made.append(contact(who, at, phone="+4930227100077"))
        made.append(form(warehouse, who, form_id, at + timedelta(hours=2)))
    return made


@pytest.fixture(scope="module")
def company(open_warehouse: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A warehouse, and second versions of three policies: scoring counts e-books double, identity links by no telephone, routing weighs Ann thrice."""
    folder = tmp_path_factory.mktemp("replayed") / "policies"
    copy_policies(folder)

    def version(kind: str, *edits: tuple[str, str]) -> None:
        text = (folder / kind / "v1.yml").read_text()
        for former, latter in edits:
            assert former in text, (kind, former)
            text = text.replace(former, latter, 1)
        (folder / kind / "v2.yml").write_text(text)

    version("scoring", ("form_pattern: ^ebook_download$\n    points: 10\n    cap: 20", "form_pattern: ^ebook_download$\n    points: 45\n    cap: 45"))  # fmt: skip
    version(
        "identity",
        (
            "max_records: 8, max_per_person: 10, links: true",
            "max_records: 8, max_per_person: 10, links: false",
        ),
    )
    version("routing", ("reps: []", "reps: [{rep_email: ann@handoff.example.org, weight: 3.0}]"))
    warehouse = open_warehouse(policies=folder)
    warehouse.append(events(warehouse))
    warehouse.transform(AS_OF)
    return warehouse


@pytest.fixture(scope="module")
def told(company: Any) -> Replay:
    chosen = parsed_choices(["scoring=v2", "identity=v2", "routing=v2"])
    return replay(company.settings, chosen, since=START, as_of=AS_OF)


def test_what_was_is_what_the_warehouse_says(company: Any, told: Replay) -> None:
    mqls = company.rows(
        "select person_id, reached_at, score from marts.fct_mqls order by reached_at, person_id"
    )
    assert [
        (lead["person_id"], lead["reached_at"], lead["score"]) for lead in told.before.leads
    ] == mqls
    assert len(mqls) > 12


def test_what_would_have_been_is_what_the_versions_make_of_the_same_log(
    company: Any, told: Replay, open_warehouse: Callable[..., Any], tmp_path: Path
) -> None:
    """The same events in a warehouse that had these versions from the beginning."""
    folder = tmp_path / "policies"
    shutil.copytree(company.settings.policies, folder)
    rollout = (folder / "rollout.yml").read_text()
    for kind in ("scoring", "identity", "routing"):
        rollout = rollout.replace(f"{kind}: v1", f"{kind}: v2")
    (folder / "rollout.yml").write_text(rollout)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(company.settings.root / "log", home / "log")
    other = type(company)(company.settings.model_copy(update={"home": home, "policies": folder}))
    other.transform(AS_OF)
    wanted = other.rows(
        "select mqls.person_id, mqls.reached_at, mqls.score, assignments.rep_id from marts.fct_mqls as mqls "
        "left join marts.fct_assignments as assignments using (mql_id) order by mqls.reached_at, mqls.person_id"
    )
    found = [
        (lead["person_id"], lead["reached_at"], lead["score"], lead["rep_id"])
        for lead in told.after.leads
    ]
    assert found == wanted


def test_the_parts_sum_up_to_the_whole(told: Replay) -> None:
    assert [cause.kind for cause in told.causes] == ["identity", "scoring", "routing"]
    for name in MEASURES:
        whole = told.after.measure(name) - told.before.measure(name)
        assert sum(cause.differences[name] for cause in told.causes) == whole, name
    net = len(told.of_kind("gained")) - len(told.of_kind("lost"))
    assert told.after.measure("mqls") - told.before.measure("mqls") == net


def test_each_cause_changes_what_it_is_about(told: Replay) -> None:
    identity, scoring, routing = told.causes
    # The person of two records falls in two halves, neither of which has done enough.
    assert (identity.gained, identity.lost) == (0, 1)
    # E-books count for more: who reads is ready a day before asking.
    assert scoring.moved == 6
    assert scoring.gained >= 1
    # Who owns a lead changes no lead.
    assert (routing.gained, routing.lost, routing.moved) == (0, 0, 0)
    assert routing.differences["mqls"] == 0
    before = {rep: (was, is_) for rep, was, is_ in told.workload}
    assert before["Ann"][1] > before["Bob"][1] * 2
    assert abs(before["Ann"][0] - before["Bob"][0]) <= 1


def test_precision_is_of_what_happened(told: Replay) -> None:
    succeeded, known = precision(told.before)
    assert succeeded == 4
    assert known == told.before.measure("mqls")
    assert all(change.outcome == "failed" for change in told.of_kind("gained"))


def test_only_leads_since_then_are_told(told: Replay) -> None:
    """Who moves across the line is lost for the time after it."""
    line = START + timedelta(days=2, hours=12)
    halves = [
        type(state)(state.versions, line, state.leads, state.pushes)
        for state in (told.before, told.after)
    ]
    found = list(changes(*halves))
    lost = [change for change in found if change.kind == "lost" and change.after is not None]
    assert lost
    assert all(
        change.after < line <= change.before for change in lost if change.after and change.before
    )
    kinds = [change.kind for change in found]
    assert halves[1].measure("mqls") - halves[0].measure("mqls") == kinds.count(
        "gained"
    ) - kinds.count("lost")


def test_the_page_shows_it_and_loads_nothing(told: Replay) -> None:
    text = replay_page(told)
    assert text.count("<svg ") == 3
    assert "<script" not in text
    assert "scoring v1 → v2" in text
    assert "@firm-" not in text
    assert replay_page(told) == text


def test_the_command_ends_with_1_beyond_a_limit_and_changes_nothing(company: Any) -> None:
    before = company.snapshot("marts", "sync", "raw_policies", "ops")
    said = CliRunner().invoke(
        app,
        ["replay", "--policy", "routing=v2", "--since", START.isoformat(), "--as-of", AS_OF.isoformat(), "--max-lost", "0", "--json"],
        env={"HANDOFF_HOME": str(company.settings.home), "HANDOFF_POLICIES": str(company.settings.policies)},
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["measures"]["mqls"]["before"] == told["measures"]["mqls"]["after"]
    assert Path(told["page"]).is_file()
    assert company.snapshot("marts", "sync", "raw_policies", "ops") == before
    assert not (company.settings.root / "copies" / "replay").exists()
    said = CliRunner().invoke(
        app,
        ["replay", "--policy", "identity=v2", "--since", START.isoformat(), "--as-of", AS_OF.isoformat(), "--max-lost", "0"],
        env={"HANDOFF_HOME": str(company.settings.home), "HANDOFF_POLICIES": str(company.settings.policies)},
    )  # fmt: skip
    assert said.exit_code == 1
    assert "beyond the limit: 1 leads lost, 0 allowed" in said.output


@pytest.mark.parametrize(
    ("chosen", "code", "told"),
    [
        ({"scoring": "v1"}, "BAD_REQUEST", "nothing would be different"),
        ({"scoring": "v7"}, "NOT_FOUND", "scoring has no version 'v7'"),
        ({"scorin": "v2"}, "NOT_FOUND", "did you mean 'scoring'"),
        ({"model": "v1"}, "NOT_FOUND", "no policy 'model' can be replayed"),
    ],
)
def test_what_cannot_be_replayed_is_refused_at_once(
    company: Any, chosen: dict[str, str], code: str, told: str
) -> None:
    with pytest.raises(HandoffError, match=told) as error:
        replay(company.settings, chosen, since=START)
    assert error.value.code == code
    with pytest.raises(HandoffError, match="'scoring' names no version"):
        parsed_choices(["scoring"])


def with_other_words(folder: Path, **meanings: str) -> Path:
    """A folder in which words of Salesforce's lead status mean something else."""
    told = enum_document("lifecycle_stage")
    words = {**told["systems"]["salesforce"], **meanings}
    folder.mkdir()
    (folder / "lifecycle_stage.json").write_text(
        json.dumps({**told, "systems": {**told["systems"], "salesforce": words}})
    )
    return folder


def test_other_meanings_of_a_systems_words_are_a_cause_of_their_own(
    company: Any, tmp_path: Path
) -> None:
    """Sales works two more leads, by a word that means 'accepted'. If it meant 'inquiry', they would not have been taken up."""
    home = tmp_path / "home"
    shutil.copytree(company.settings.home, home)
    other = type(company)(company.settings.model_copy(update={"home": home}))
    leads = []
    for number, day, status in ((5, 6, "New"), (5, 8, "Working"), (6, 7, "New"), (6, 9, "Working")):
        at = (START + timedelta(days=day)).isoformat()
        payload = {
            "Id": f"00Q5g00000000{number}AEAA",
            "SystemModstamp": at,
            "CreatedDate": at,
            "LastName": "Weber",
            "Company": "Acme",
            "Email": f"asks{number}@firm-asks{number}.example.com",
            "Status": status,
        }
        leads.append(Extracted(payload["Id"], datetime.fromisoformat(at), False, payload))
    other.poll("salesforce", {"leads": leads}, AS_OF)
    other.transform(AS_OF)
    before = other.snapshot("marts")
    folder = with_other_words(tmp_path / "words", Working="inquiry")
    told = replay(other.settings, {"scoring": "v2"}, since=START, as_of=AS_OF, mapping=folder)
    assert other.snapshot("marts") == before
    assert [(cause.kind, cause.former, cause.version) for cause in told.causes] == [
        ("mapping", "in use", "words"),
        ("scoring", "v1", "v2"),
    ]
    words, rules = told.causes
    assert words.differences["succeeded"] == -2
    assert words.differences["mqls"] == 0 and rules.differences["succeeded"] == 0
    for name in MEASURES:
        assert told.after.measure(name) - told.before.measure(name) == sum(
            cause.differences[name] for cause in told.causes
        )
    assert "mapping words" in replay_page(told)
    # With the same words nothing but the policy is different.
    rules_alone = replay(other.settings, {"scoring": "v2"}, since=START, as_of=AS_OF)
    assert [cause.kind for cause in rules_alone.causes] == ["scoring"]
    assert rules_alone.after.measure("succeeded") == told.before.measure("succeeded")


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        (None, "", "NOT_FOUND", "has no enumeration"),
        ("lifecycle_stages.json", "{}", "NOT_FOUND", "did you mean lifecycle_stage.json?"),
        ("lifecycle_stage.json", "[1]", "BAD_REQUEST", "is no enumeration"),
        ("lifecycle_stage.json", '{"systems": {"salesforce": {"New": "brand new"}}}', "ENUM_UNKNOWN", "'brand new'"),
        ("lifecycle_stage.json", None, "BAD_REQUEST", "mean what they mean now"),
    ],
)  # fmt: skip
def test_words_that_cannot_be_tried_are_refused_at_once(
    company: Any, tmp_path: Path, name: str | None, content: str | None, code: str, words: str
) -> None:
    if content is None:
        folder = with_other_words(tmp_path / "words")
    else:
        folder = tmp_path / "words"
        folder.mkdir()
        if name:
            (folder / name).write_text(content)
    with pytest.raises(HandoffError) as refused:
        replay(company.settings, {}, since=START, mapping=folder)
    assert refused.value.code == code
    assert words in refused.value.message
    assert refused.value.remedy
