"""Claims about policy files: what is refused, what freezes a version, what tables hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ingestion.errors.catalog import HandoffError
from models.policies import generate
from models.policies.documents import FIT_ATTRIBUTES
from models.policies.kinds import KINDS
from models.policies.load import POLICY_FOLDER, Policies, check_frozen, copy_policies, load_policies
from models.policies.rows import POLICY_COLUMNS, policy_schemas, policy_tables
from models.routing.rules import Facts, Rules


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped policies that a test may break."""
    return copy_policies(tmp_path / "policies")


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str, str], int]:
    """Replaces a text that must stand in a file; returns the line it stands in."""

    def replace(file: str, old: str, new: str) -> int:
        path = folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return text[: text.index(old)].count("\n") + 1

    return replace


def refusal(folder: Path) -> HandoffError:
    with pytest.raises(HandoffError) as caught:
        load_policies(folder)
    assert caught.value.code == "POLICY_INVALID"
    assert caught.value.entry.exit_code == 4
    assert caught.value.remedy
    return caught.value


def add_version(folder: Path, kind: str, version: str, old: str, new: str) -> None:
    text = (folder / kind / "v1.yml").read_text(encoding="utf-8")
    assert old in text
    (folder / kind / f"{version}.yml").write_text(text.replace(old, new, 1), encoding="utf-8")


# (file, text to replace, replacement, line offset of the fault, what the message must name)
REFUSED = {
    "a tie-break twice": (
        "accounts/v1.yml", "customer, owner, recent_change", "owner, owner, recent_change", 0,
        "'owner' occurs twice"),
    "unknown evidence": (
        "accounts/v1.yml", "match: [stated, exact_domain", "match: [stated, exact_domains", 0,
        "exact_domain"),
    "a source that is no system": (
        "accounts/v1.yml", "source_priority: [salesforce", "source_priority: [salesfroce", 0,
        "did you mean 'salesforce'"),
    "an unknown provider": (
        "accounts/v1.yml", "providers: [files, http]", "providers: [files, https]", 0,
        "did you mean 'http'"),
    "a blocked address": (
        "accounts/v1.yml", "blocked_domains: []", "blocked_domains: ['www@acme.com']", 0,
        "would never match"),
    "answers that never grow old": (
        "accounts/v1.yml", "refresh_after_days: 90", "refresh_after_days: 0", 0,
        "refresh_after_days"),
    "rearm above the threshold": (
        "scoring/v1.yml", "rearm_below: 40", "rearm_below: 70", 0, "rearm_below 70"),
    "rearm equal to the threshold": (
        "scoring/v1.yml", "rearm_below: 40", "rearm_below: 60", 0, "rearm_below 60"),
    "threshold above total_cap": (
        "scoring/v1.yml", "mql_threshold: 60", "mql_threshold: 300", 0, "cannot be reached"),
    "threshold is text": (
        "scoring/v1.yml", "mql_threshold: 60", "mql_threshold: sixty", 0, "'sixty'"),
    "threshold is true": (
        "scoring/v1.yml", "mql_threshold: 60", "mql_threshold: true", 0, "True"),
    "threshold is not a number": (
        "scoring/v1.yml", "mql_threshold: 60", "mql_threshold: .nan", 0, "mql_threshold"),
    "levels do not fall": ("scoring/v1.yml", "[50, 25, 10]", "[50, 25, 30]", 0, "levels are 50, 25, 30"),
    "two levels": ("scoring/v1.yml", "[50, 25, 10]", "[50, 25]", 0, "levels are 50, 25"),
    "a cell without the better ones": (
        "scoring/v1.yml", "groups: []", "mql_cells: [A2, B1]", 0,
        "cell A2 makes MQLs and A1 does not"),
    "a cell nobody reaches": (
        "scoring/v1.yml", "grades:\n  a: 30", "mql_cells: [A1]\ngrades:\n  a: 90", 0,
        "cell A1 cannot be reached"),
    "a cell of no grid": (
        "scoring/v1.yml", "groups: []", "mql_cells: [E1]", 0, "E1"),
    "days that lie ahead": ("scoring/v1.yml", "after_days: 30", "after_days: -1", 0, "after_days"),
    "unknown group": (
        "scoring/v1.yml", "    cap: 16", "    cap: 16\n    group: lookin", 1, "unknown group 'lookin'"),
    "a group without rules": (
        "scoring/v1.yml", "groups: []", "groups: [{id: looking, cap: 9}]", 0,
        "group 'looking' has no rule"),
    "a cooldown of what counts once": (
        "scoring/v1.yml", "    once: true", "    once: true\n    cooldown_hours: 3", 1,
        "has a cooldown"),
    "an exclusion of a fit rule's people": (
        "scoring/v1.yml", "value: [leadhopper-demoworld.com]",
        "value: [gmail.com, googlemail.com, yahoo.com, hotmail.com, outlook.com, icloud.com, gmx.de,"
        " gmx.net, web.de, proton.me, protonmail.com, qq.com]", -15,
        "rule 'email_free' asks what exclusion 'competitor' asks"),
    "an exclusion of nothing": (
        "scoring/v1.yml", "value: [leadhopper-demoworld.com]", "value: leadhopper", 0, "needs a list"),
    "a country that does not exist": (
        "scoring/v1.yml", 'NL, "NO"', 'XQ, "NO"', 0, "'XQ' of rule 'country_target'"),
    "grades do not fall": ("scoring/v1.yml", "  a: 30", "  a: 10", -1, "a 10, b 15"),
    "cap below points": ("scoring/v1.yml", "    cap: 60", "    cap: 20", 0, "cap 20"),
    "unknown field": ("scoring/v1.yml", "    cap: 60", "    capp: 60", 0, "did you mean 'cap'"),
    "rule id twice": ("scoring/v1.yml", "id: email_opened", "id: email_clicked", 0, "occurs twice"),
    "rule id twice across sections": (
        "scoring/v1.yml", "id: email_free", "id: page_blog", 0, "'page_blog' occurs twice"),
    "unknown activity type": (
        "scoring/v1.yml", "activity_type: email_open", "activity_type: email_opened", 0,
        "did you mean 'email_open'"),
    "pattern does not close": ("scoring/v1.yml", "^demo_request$", "(demo", 0, "'(demo'"),
    "pattern looks ahead": ("scoring/v1.yml", "^demo_request$", "(?=demo)", 0, "'(?=demo)'"),
    "pattern refers back": ("scoring/v1.yml", "^demo_request$", r"(a)\1", 0, r"'(a)\1'"),
    "fit pattern does not close": (
        "scoring/v1.yml", "(\\b(manager", "((\\b(manager", 0, "no valid pattern"),
    "negative points fade": (
        "scoring/v1.yml", "points: 1\n    cap: 5\n    half_life_days: 7",
        "points: -1\n    half_life_days: 7", 1, "fades after 7 days"),
    "negative points with a cap": (
        "scoring/v1.yml", "points: 3\n    once: true", "points: -3\n    cap: 6", 1, "has a cap"),
    "once with a cap": (
        "scoring/v1.yml", "    once: true", "    once: true\n    cap: 3", 1, "counts once"),
    "rule without effect": (
        "scoring/v1.yml", "points: 3\n", "points: 0\n", 0, "gives 0 points"),
    "unknown attribute": (
        "scoring/v1.yml", "attribute: industry", "attribute: industrie", 0, "'industry'"),
    "at_least needs a number": ("scoring/v1.yml", "value: 200", "value: many", 0, "'many'"),
    "at_least on a text": (
        "scoring/v1.yml", "attribute: employee_count", "attribute: company", 1, "at_least"),
    "unknown operator": ("scoring/v1.yml", "operator: at_least", "operator: atleast", 0, "atleast"),
    "value is a mapping": ("scoring/v1.yml", "value: 200", "value: {a: 1}", 0, "fit.value"),
    "instant without a zone": (
        "scoring/v1.yml", "2025-01-01T00:00:00Z", "2025-01-01T00:00:00", 0, "no time zone"),
    "day instead of an instant": (
        "scoring/v1.yml", "2025-01-01T00:00:00Z", "2025-01-01", 0, "2025-01-01"),
    "template instead of text": (
        "scoring/v1.yml", "revops@example.com", "{{ evil }}", 0, "'evil'"),
    "list as a name": (
        "identity/v1.yml", "system_priority:", "[a, b]: 1\nsystem_priority:", 0, "['a', 'b']"),
    "bracket never closed": ("scoring/v1.yml", "revops@example.com", "[a", 1, "not valid YAML"),
    "key twice": (
        "scoring/v1.yml", "total_cap: 200", "total_cap: 200\ntotal_cap: 3", 1, "total_cap"),
    "country in two territories": (
        "routing/v1.yml", "countries: [US,", "countries: [DE, GB,", 0, "'GB' is in territories"),
    "country twice in one": (
        "routing/v1.yml", "countries: [DE,", "countries: [DE, DE,", 0, "twice in territory 'dach'"),
    "country written out": (
        "routing/v1.yml", "countries: [US,", "countries: [usa,", 0, "two-letter"),
    "two defaults": (
        "routing/v1.yml", "name: apac\n", "name: apac\n    default: true\n", 1, "both the default"),
    "territory twice": ("routing/v1.yml", "name: apac", "name: dach", 0, "'dach' occurs twice"),
    "weight of zero": (
        "routing/v1.yml", "reps: []", "reps:\n  - {rep_email: a@b.example, weight: 0}", 1,
        "weight 0 of a@b.example"),
    "weight in an unknown territory": (
        "routing/v1.yml", "reps: []",
        "reps:\n  - {rep_email: a@b.example, territory: dahc, weight: 1}", 1,
        "did you mean 'dach'"),
    "two entries for one rep": (
        "routing/v1.yml", "reps: []",
        "reps:\n  - {rep_email: a@b.example, weight: 1}\n"
        "  - {rep_email: A@b.example, weight: 2}",
        2, "two entries"),
    "reps are no list": ("routing/v1.yml", "reps: []", "reps: 3", 0, "a list expected"),
    "postal codes backwards": (
        "routing/v1.yml", "name: apac\n", "name: apac\n    postal_codes: [\"72..70\"]\n", 1, "'72..70' is no range"),
    "no company of that size": (
        "routing/v1.yml", "name: apac\n", "name: apac\n    employees_at_least: 50\n    employees_at_most: 9\n", 1,
        "at least 50 and at most 9"),
    "languages of one territory": (
        "routing/v1.yml", "reps: []", "reps:\n  - {rep_email: a@b.example, territory: dach, languages: [de]}", 1,
        "only a weight can be of one territory"),
    "a claim twice": (
        "routing/v1.yml", "owners: [account_owner, relationship]", "owners: [account_owner, account_owner]", 0,
        "'account_owner' occurs twice"),
    "a language nothing tells": (
        "routing/v1.yml", "reps: []", "reps: []\nlanguages: {when_nobody: anyone}", 1, "nothing tells"),
    "hours in a zone nobody knows": (
        "routing/v1.yml", 'hours: "09:00-17:00"}', 'hours: "09:00-17:00", time_zone: Europe/Berln}', 0, "Europe/Berln"),
    "better grade waits longer": ("routing/v1.yml", "  A: 15", "  A: 90", 0, "grade A waits 90"),
    "unknown grade": ("routing/v1.yml", "  A: 15", "  E: 15", 0, "'E'"),
    "max_records below two": (
        "identity/v1.yml", "max_records: 8", "max_records: 1", 0, "max_records 1"),
    "identifier twice": (
        "identity/v1.yml", "{type: phone, priority: 3", "{type: email, priority: 3", 0,
        "'email' occurs twice"),
    "mail domain twice": (
        "identity/v1.yml", "[fastmail.com, fastmail.fm]", "[fastmail.com, gmail.com]", 0, "'gmail.com'",
    ),
    "a limit of external ids": (
        "identity/v1.yml", "{type: external_id, priority: 1, max_records: 50", "{type: external_id, priority: 1, max_records: 50, max_per_person: 3", 0,
        "max_per_person counts"),
    "a name is not verified": (
        "identity/v1.yml", "  default: [system_priority, recency]", "  default: [verified, recency]", 0, "'verified'"),
    "a criterion twice": (
        "identity/v1.yml", "email: [verified, system_priority", "email: [verified, verified", 0, "'verified' occurs twice"),
    "priority twice": ("identity/v1.yml", "priority: 3", "priority: 2", 0, "priority 2"),
    "blocked value with a bad pattern": (
        "identity/v1.yml", "'@(example|test|invalid|localhost)$'", "'@('", 0, "'@('"),
    "mailbox with a domain": (
        "identity/v1.yml", "[info, sales,", "[info@x.example, sales,", 0, "info@x.example"),
    "granted consent blocks": (
        "consent/v1.yml", "[denied, withdrawn, pending]", "[denied, withdrawn, granted]", 0,
        "'granted' blocks"),
    "withdrawal does not block": (
        "consent/v1.yml", "[denied, withdrawn, pending]", "[denied]", 0,
        "'withdrawn' does not block"),
    "same consent rule twice": (
        "consent/v1.yml", "channel: crm", "channel: all", 4, "has a rule already"),
    "misspelt destination": (
        "consent/v1.yml", "destination: salesforce", "destination: salesfroce", 0,
        "did you mean 'salesforce'"),
    "share as a percentage": (
        "sync/v1.yml", "max_update_share: 0.5", "max_update_share: 50", 0, "outside 0..1"),
    "negative share": (
        "sync/v1.yml", "max_update_share: 0.5", "max_update_share: -0.1", 0, "outside 0..1"),
    "human field overwritten": (
        "sync/v1.yml", "FirstName: {owner: crm, mode: fill_empty}",
        "FirstName: {owner: crm, mode: always}", 0, "'FirstName'"),
    "unknown first touch": (
        "kpi/v1.yml", "[call, reply,", "[cal, reply,", 0, "did you mean 'call'"),
    "touchpoint twice": (
        "kpi/v1.yml", "[form_submit, webinar_attend,", "[form_submit, form_submit,", 0,
        "'form_submit' occurs twice"),
    "no touchpoint at all": (
        "kpi/v1.yml", "[form_submit, webinar_attend, campaign_response, page_view, email_click, meeting_booked]", "[]", 0,
        "touchpoint_activity_types"),
    "rollout names an absent version": (
        "rollout.yml", "scoring: v1", "scoring: v3", 0, "no version 'v3' (known: v1)"),
    "rollout names no version": ("rollout.yml", "scoring: v1", "scoring: newest", 0, "newest"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_contradiction_is_refused_at_its_line(
    name: str, folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    file, old, new, offset, named = REFUSED[name]
    line = edit(file, old, new) + offset

    error = refusal(folder)

    assert named in error.message
    told = {int(found) for found in re.findall(rf"{re.escape(file)}:(\d+)", error.message)}
    assert told == {line}, error.message


def test_every_problem_of_all_files_is_told_at_once(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    first = edit("scoring/v1.yml", "rearm_below: 40", "rearm_below: 90")
    second = edit("scoring/v1.yml", "    cap: 60", "    cap: 2")
    third = edit("sync/v1.yml", "max_update_share: 0.5", "max_update_share: 5")

    message = refusal(folder).message

    assert message.startswith("3 problems")
    for place in (f"scoring/v1.yml:{first}", f"scoring/v1.yml:{second}", f"sync/v1.yml:{third}"):
        assert place in message


def test_a_missing_field_is_named(folder: Path, edit: Callable[[str, str, str], int]) -> None:
    edit("routing/v1.yml", "seed: handoff-routing-v1", "")
    assert "field 'seed' is missing" in refusal(folder).message


def test_a_threshold_above_all_points_is_refused(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    edit("scoring/v1.yml", "total_cap: 200\n", "")
    edit("scoring/v1.yml", "mql_threshold: 60", "mql_threshold: 10000")
    assert "all rules together give at most" in refusal(folder).message


def test_a_rule_without_a_cap_can_reach_any_threshold(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    edit("scoring/v1.yml", "total_cap: 200\n", "")
    edit("scoring/v1.yml", "mql_threshold: 60", "mql_threshold: 10000")
    edit("scoring/v1.yml", "    cap: 60\n", "")
    load_policies(folder)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda f: (f / "scorring").mkdir(), "did you mean 'scoring'"),
        (lambda f: (f / "scoring" / "v2.yaml").write_text(""), "'v2.yaml' is no version"),
        (lambda f: (f / "scoring" / "version2.yml").write_text(""), "'version2.yml'"),
        (lambda f: (f / "rolout.yml").write_text(""), "'rolout.yml' is read by nothing"),
        (lambda f: (f / "scoring" / "v2.yml").write_text(""), "the file is empty"),
        (lambda f: (f / "scoring" / "v2.yml").write_text("- a"), "no mapping"),
        (lambda f: (f / "scoring" / "v2.yml").write_bytes(b"owner: \xff\xfe"), "cannot be read"),
        (lambda f: (f / "rollout.yml").unlink(), "rollout.yml: the file is missing"),
        (lambda f: shutil.rmtree(f / "consent"), "no version of consent"),
    ],
)
def test_a_stray_or_absent_file_is_not_passed_over(
    make: Callable[[Path], object], named: str, folder: Path
) -> None:
    make(folder)
    assert named in refusal(folder).message


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in refusal(tmp_path / "none").message


def test_a_destination_without_a_consent_rule_is_refused(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    line = edit("sync/v1.yml", "  salesforce:\n", "  hubspot: {}\n  salesforce:\n")
    error = refusal(folder)
    assert error.path == f"sync/v1.yml:{line}"
    assert "'hubspot' has no rule" in error.message


def test_a_system_nobody_knows_has_no_priority(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    line = edit("identity/v1.yml", "salesforce, hubspot", "salesforce, hubspott")
    told = refusal(folder).message
    assert f"identity/v1.yml:{line}: unknown system 'hubspott'; did you mean 'hubspot'?" in told
    assert "marketo" in told
    load_policies(folder, further_systems=["hubspott"])


def test_a_version_that_is_not_active_may_name_a_system_that_was_given_up(folder: Path) -> None:
    add_version(folder, "identity", "v2", "salesforce, hubspot", "salesforce, eloqua")
    load_policies(folder)


def test_the_shipped_policies_load_and_are_all_active() -> None:
    policies = load_policies()
    assert set(policies.active) == set(KINDS)
    assert policies.active == dict.fromkeys(KINDS, "v1")


def test_a_version_ten_comes_after_a_version_nine(folder: Path) -> None:
    for version in ("v2", "v9", "v10"):
        shutil.copy(folder / "kpi" / "v1.yml", folder / "kpi" / f"{version}.yml")
    assert list(load_policies(folder).versions["kpi"]) == ["v1", "v2", "v9", "v10"]


def used_now(policies: Policies) -> dict[tuple[str, str], str]:
    return {
        (kind, version): found.content_hash
        for kind, versions in policies.versions.items()
        for version, found in versions.items()
    }


def test_comments_layout_and_prose_may_change_after_use(folder: Path) -> None:
    used = used_now(load_policies(folder))
    yaml = YAML(typ="safe")
    for file in folder.glob("*/v1.yml"):
        content = yaml.load(file.read_text(encoding="utf-8"))
        content |= {"description": "Other words.", "owner": "somebody else"}
        file.write_text(json.dumps(content, default=str), encoding="utf-8")
    check_frozen(load_policies(folder), used)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scoring/v1.yml", "points: 30", "points: 31"),
        ("scoring/v1.yml", "half_life_days: 30", "half_life_days: 31"),
        ("routing/v1.yml", "[DE, AT, CH, LI]", "[DE, AT, CH]"),
        ("identity/v1.yml", "max_records: 8", "max_records: 9"),
        ("consent/v1.yml", "when_unknown: deny", "when_unknown: allow"),
        ("sync/v1.yml", "max_creates: 1000", "max_creates: 1001"),
        ("kpi/v1.yml", "first_touch_hours: 168", "first_touch_hours: 24"),
    ],
)
def test_a_used_version_is_frozen(
    file: str, old: str, new: str, folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    used = used_now(load_policies(folder))
    edit(file, old, new)
    changed = load_policies(folder)

    with pytest.raises(HandoffError) as caught:
        check_frozen(changed, used)

    assert caught.value.code == "POLICY_FROZEN"
    assert caught.value.entry.exit_code == 4
    assert file in caught.value.message
    assert "v2.yml" in caught.value.remedy


def test_a_mail_of_marketing_is_no_first_touch_of_sales() -> None:
    rows = policy_tables(load_policies())["kpi_activity_types"].to_pylist()
    played = {
        role: {row["activity_type"] for row in rows if row["role"] == role and row["is_active"]}
        for role in ("first_touch", "touchpoint")
    }
    assert "call" in played["first_touch"]
    assert "form_submit" in played["touchpoint"]
    assert "email_sent" not in played["first_touch"] | played["touchpoint"]


def test_a_used_version_may_not_vanish(folder: Path) -> None:
    add_version(folder, "scoring", "v2", "mql_threshold: 60", "mql_threshold: 80")
    used = used_now(load_policies(folder))
    (folder / "scoring" / "v2.yml").unlink()
    with pytest.raises(HandoffError, match="version v2 of scoring was used and is gone"):
        check_frozen(load_policies(folder), used)


def test_writing_a_default_out_changes_no_hash(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    used = used_now(load_policies(folder))
    pattern = "    form_pattern: ^contact_sales$"
    edit("scoring/v1.yml", pattern, f"{pattern}\n    once: false")
    edit("scoring/v1.yml", "mql_threshold: 60", "mql_threshold: 60.0")
    check_frozen(load_policies(folder), used)


def test_tables_have_their_full_schema_even_when_empty() -> None:
    tables = policy_tables(load_policies())
    schemas = policy_schemas()
    assert set(tables) == set(POLICY_COLUMNS)
    assert tables["rollout_trials"].num_rows == 0
    for name, table in tables.items():
        assert table.schema == schemas[name], name
        assert table.schema.names == list(POLICY_COLUMNS[name])
        table.validate(full=True)
        for field in table.schema:
            if not field.nullable:
                assert table.column(field.name).null_count == 0, (name, field.name)


def test_every_row_says_its_version_and_whether_it_is_active(folder: Path) -> None:
    add_version(folder, "scoring", "v2", "mql_threshold: 60", "mql_threshold: 80")
    tables = policy_tables(load_policies(folder))
    versions = tables["scoring_versions"].to_pylist()
    assert [(row["version"], row["is_active"], row["mql_threshold"]) for row in versions] == [
        ("v1", True, 60.0),
        ("v2", False, 80.0),
    ]
    assert {row["is_active"] for row in tables["scoring_rules"].to_pylist()} == {True, False}
    assert all("version" in table.schema.names for table in tables.values())


def test_rules_become_rows_as_written() -> None:
    rows = {r["rule_id"]: r for r in policy_tables(load_policies())["scoring_rules"].to_pylist()}
    demo = rows["form_demo_request"]
    assert (demo["kind"], demo["points"], demo["cap"], demo["half_life_days"], demo["once"]) == (
        "engagement", 30.0, 60.0, 30.0, False,
    )  # fmt: skip
    assert demo["form_pattern"] == "^demo_request$" and demo["attribute"] is None
    assert rows["company_large"]["value"] == "200"
    assert rows["company_large"]["once"] is True
    assert json.loads(rows["country_target"]["value"])[:3] == ["DE", "AT", "CH"]
    assert rows["email_free"]["points"] == -20.0


def test_norway_is_a_country_and_not_false() -> None:
    tables = policy_tables(load_policies())
    rules = {row["rule_id"]: row for row in tables["scoring_rules"].to_pylist()}
    assert "NO" in json.loads(rules["country_target"]["value"])
    assert "NO" in routing(load_policies()).policy.territories[1].countries


def routing(policies: Policies) -> Rules:
    """The routing that decides, read back from its row."""
    [row] = policy_tables(policies)["routing_versions"].to_pylist()
    return Rules.read(row["version"], row["document"])


def test_unquoted_norway_is_a_country_too(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    edit("routing/v1.yml", '"NO"', "NO")
    assert routing(load_policies(folder)).territory(Facts("NO"))[0] == "emea"


def test_exactly_one_territory_takes_the_rest() -> None:
    rules = routing(load_policies())
    assert rules.territory(Facts("ZW")) == (
        "emea", "country ZW is in no territory: default territory emea",
    )  # fmt: skip
    assert rules.territory(Facts())[0] == "emea"


def test_the_same_country_may_stand_twice_with_different_priority(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    edit("routing/v1.yml", "countries:\n      [GB,", "countries:\n      [DE, GB,")
    assert routing(load_policies(folder)).territory(Facts("de"))[0] == "dach"


def test_reassigning_is_refused_where_the_crm_would_not_hear_of_it(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    edit("routing/v1.yml", "# reassign: {", "reassign: {")
    load_policies(folder)
    line = edit("sync/v1.yml", "OwnerId: {owner: crm, mode: follow}", "OwnerId: {owner: crm, mode: fill_empty}")  # fmt: skip
    error = refusal(folder)
    assert f"sync/v1.yml:{line}" in error.message and "mode: follow" in error.remedy


@pytest.mark.parametrize(
    ("activity_type", "field", "value", "rule_id"),
    [
        ("form_submit", "form_pattern", "demo_request", "form_demo_request"),
        ("form_submit", "form_pattern", "newsletter", "form_newsletter"),
        ("page_view", "url_pattern", "/pricing", "page_pricing"),
        ("page_view", "url_pattern", "https://www.example.com/pricing?plan=team", "page_pricing"),
        ("page_view", "url_pattern", "https://www.example.com/demo", "page_demo"),
        ("page_view", "url_pattern", "/blog/lead-scoring-in-practice", "page_blog"),
        ("page_view", "url_pattern", "https://www.example.com/docs/pricing", None),
        ("page_view", "url_pattern", "/pricing-history", None),
        ("page_view", "url_pattern", "/demo-day", None),
    ],
)
def test_each_address_earns_the_points_of_one_rule(
    activity_type: str, field: str, value: str, rule_id: str | None
) -> None:
    import duckdb

    rules = policy_tables(load_policies())["scoring_rules"]
    connection = duckdb.connect()
    connection.register("rules", rules)
    found = connection.execute(
        f"select rule_id from rules where activity_type = $1 and regexp_matches($2, {field})",
        [activity_type, value],
    ).fetchall()
    assert [row[0] for row in found] == ([] if rule_id is None else [rule_id])


@pytest.mark.parametrize(
    ("title", "rule_ids"),
    [
        ("VP Operations", {"title_senior"}),
        ("Chief Revenue Officer", {"title_senior"}),
        ("CTO", {"title_senior"}),
        ("Marketing Manager", {"title_manager"}),
        ("Einkaufsleiter", {"title_manager"}),
        ("Student of Directing", {"title_student"}),
        ("Werkstudentin Marketing", set()),
        ("Sachbearbeiterin", set()),
        ("Factory worker", set()),
    ],
)
def test_titles_earn_the_points_meant_for_them(title: str, rule_ids: set[str]) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.register("rules", policy_tables(load_policies())["scoring_rules"])
    found = connection.execute(
        "select rule_id from rules where attribute = 'job_title' and regexp_matches($1, value)",
        [title],
    ).fetchall()
    assert {row[0] for row in found} == rule_ids


@pytest.mark.parametrize(
    ("identifier_type", "value", "is_blocked"),
    [
        ("email", "test@acme.example", True),
        ("email", "tester.jones@acme.example", False),
        ("email", "nathan@acme.example", False),
        ("phone", "+490000000000", True),
        ("phone", "+4930231201", False),
        ("phone", "+12125550188", False),
        ("external_id", "0", True),
        ("external_id", "00Q5e000001abcdEAA", False),
    ],
)
def test_placeholders_are_blocked_and_real_values_are_not(
    identifier_type: str, value: str, is_blocked: bool
) -> None:
    import duckdb

    connection = duckdb.connect()
    connection.register("blocked", policy_tables(load_policies())["identity_blocked_values"])
    found = connection.execute(
        "select count(*) from blocked where identifier_type = $1 and regexp_matches($2, pattern)",
        [identifier_type, value],
    ).fetchone()
    assert found is not None and (found[0] > 0) is is_blocked


def test_every_fit_attribute_is_accepted(
    folder: Path, edit: Callable[[str, str, str], int]
) -> None:
    rules = "".join(
        f"  - {{id: has_{name}, label: x, attribute: {name}, operator: present, points: 1}}\n"
        for name in FIT_ATTRIBUTES
    )
    edit("scoring/v1.yml", "fit:\n", f"fit:\n{rules}")
    load_policies(folder)


def test_the_schemas_for_editors_are_current_and_accept_the_shipped_files() -> None:
    import jsonschema_rs

    assert generate.stale_files() == []
    yaml = YAML(typ="safe")
    for file in [*POLICY_FOLDER.glob("*/v*.yml"), POLICY_FOLDER / "rollout.yml"]:
        named = file.read_text(encoding="utf-8").splitlines()[0]
        schema_file = file.parent / named.removeprefix("# yaml-language-server: $schema=")
        schema = json.loads(schema_file.read_text(encoding="utf-8"))
        content = json.loads(json.dumps(yaml.load(file.read_text(encoding="utf-8")), default=str))
        assert jsonschema_rs.is_valid(schema, content), file
        assert not jsonschema_rs.is_valid(schema, {**content, "mql_treshold": 1}), file


def test_a_stale_schema_is_named(tmp_path: Path) -> None:
    shutil.copytree(generate.SCHEMA_FOLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "scoring.json").write_text("{}")
    (tmp_path / "kpi.json").unlink()
    (tmp_path / "pricing.json").write_text("{}")
    assert generate.stale_files(tmp_path) == ["scoring.json", "kpi.json", "pricing.json"]


def test_importing_the_loader_is_cheap() -> None:
    probe = (
        "import sys, models.policies.load, models.policies.rows; "
        "print([m for m in ('duckdb', 'pyarrow', 'pandas', 'ruamel.yaml') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
