"""Which states of the contracts may follow each other: folders, git revisions and the lock file of what was published."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ingestion.contracts import registry
from ingestion.contracts.contract_sets import ContractSet, read_folder, read_revision
from ingestion.contracts.release_notes import changelog, migration_guide
from ingestion.contracts.releases import Release, check_published, publish, releases
from ingestion.errors.catalog import HandoffError

TODAY = date(2026, 6, 1)
UPCAST = "steps:\n  - rename: {from: form_id, to: form}\n"


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    folder = tmp_path / "contracts"
    shutil.copytree(
        registry.FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.pyc")
    )
    return folder


def edit(file: Path, change: Callable[[dict[str, Any]], object], to: Path | None = None) -> None:
    document = json.loads(file.read_text())
    change(document)
    (to or file).write_text(json.dumps(document))


def add_version(contracts: Path, version: str, change: Callable[[dict[str, Any]], object]) -> None:
    folder = contracts / "activity"
    edit(folder / "1.0.0.json", change, folder / f"{version}.json")


def drop_form(document: dict[str, Any]) -> None:
    document["properties"]["form"] = document["properties"].pop("form_id")


def add_form(document: dict[str, Any]) -> None:
    document["properties"]["form"] = document["properties"]["form_id"]


def between(contracts: Path, today: date = TODAY) -> list[Release]:
    return releases(read_folder(registry.FOLDER), read_folder(contracts), today)


def refusals(found: list[Release]) -> list[str]:
    return [words for release in found for words in release.refusals]


def test_nothing_changed_is_nothing_said(contracts: Path) -> None:
    assert between(contracts) == []


def test_the_published_contracts_are_as_they_were_published() -> None:
    assert refusals(check_published(read_folder(registry.FOLDER), TODAY)) == []


def test_a_minor_version_may_add_an_optional_field(contracts: Path) -> None:
    add_version(contracts, "1.1.0", add_form)
    [release] = between(contracts)
    assert (release.previous, release.version, release.needed) == ("1.0.0", "1.1.0", "minor")
    assert release.refusals == ()


@pytest.mark.parametrize("version", ["1.0.1", "1.1.0"])
def test_a_breaking_change_needs_a_new_major_version(contracts: Path, version: str) -> None:
    add_version(contracts, version, drop_form)
    [refusal] = [words for words in refusals(between(contracts)) if "major one" in words]
    assert "field_removed at /data/form_id" in refusal


def test_an_added_field_is_more_than_a_patch(contracts: Path) -> None:
    add_version(contracts, "1.0.1", add_form)
    assert "needs a minor one" in refusals(between(contracts))[0]


def test_a_new_major_version_needs_a_way_up_for_old_events(contracts: Path) -> None:
    add_version(contracts, "2.0.0", drop_form)
    assert "add activity/upcast_1.0.0_2.0.0.yml" in refusals(between(contracts))[0]
    (contracts / "activity" / "upcast_1.0.0_2.0.0.yml").write_text(UPCAST)
    [release] = between(contracts)
    assert release.is_breaking
    assert release.refusals == ()


def test_a_published_version_may_change_its_words_alone(contracts: Path) -> None:
    file = contracts / "activity" / "1.0.0.json"
    edit(file, lambda document: document["properties"]["url"].update(description="Said better."))
    assert between(contracts) == []
    edit(file, lambda document: document["properties"]["url"].update(maxLength=9_000))
    [refusal] = refusals(between(contracts))
    assert "edited in place (bound_loosened at /data/url)" in refusal


def test_a_version_may_go_after_its_sunset_and_not_before(contracts: Path) -> None:
    add_version(contracts, "1.1.0", add_form)
    (contracts / "activity" / "1.0.0.json").unlink()
    assert "without a sunset" in refusals(between(contracts))[0]
    (contracts / "lifecycle.yml").write_text(
        "activity:\n  1.0.0: {deprecated_on: 2026-01-01, sunset_on: 2026-07-01, successor: 1.1.0, migration: x}\n"
    )
    assert "before its sunset on 2026-07-01" in refusals(between(contracts))[0]
    assert refusals(between(contracts, date(2026, 7, 1))) == []


def test_an_enumeration_may_grow_and_not_shrink(contracts: Path) -> None:
    file = contracts / "enums" / "activity_type.json"
    edit(file, lambda document: document["oneOf"].append({"const": "chat", "description": "."}))
    [release] = between(contracts)
    assert (release.subject, release.needed, release.refusals) == (
        "enums/activity_type",
        "minor",
        (),
    )
    edit(file, lambda document: document["oneOf"].pop(0))
    assert "no longer takes 'email_open'" in refusals(between(contracts))[0]


def test_the_lock_file_finds_an_edit_without_git(contracts: Path, tmp_path: Path) -> None:
    lock = contracts / "published.json"

    def found() -> list[str]:
        return refusals(check_published(read_folder(contracts), TODAY, lock))

    add_version(contracts, "1.1.0", add_form)
    assert "is not in published.json yet" in found()[0]
    assert publish(read_folder(contracts), TODAY, lock) == ["activity/1.1.0"]
    assert found() == []
    published = lock.read_text()
    edit(contracts / "activity" / "1.1.0.json", lambda document: document["properties"]["form"].update(maxLength=9))  # fmt: skip
    assert "activity/1.1.0 was published and is edited in place" in found()[0]
    with pytest.raises(HandoffError, match="edited in place"):
        publish(read_folder(contracts), TODAY, lock)
    assert lock.read_text() == published


def test_publishing_refuses_what_breaks(contracts: Path) -> None:
    add_version(contracts, "1.1.0", drop_form)
    with pytest.raises(HandoffError, match="needs a major one") as error:
        publish(read_folder(contracts), TODAY, contracts / "published.json")
    assert error.value.code == "CONTRACT_BREAKING"


def test_a_revision_of_git_is_read_as_it_was_committed(contracts: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    place = root / "ingestion" / "contracts"
    shutil.copytree(contracts, place)

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    add_version(place, "2.0.0", drop_form)
    (place / "activity" / "upcast_1.0.0_2.0.0.yml").write_text(UPCAST)
    old: ContractSet = read_revision("HEAD", root)
    assert old.versions("activity") == ["1.0.0"]
    [release] = releases(old, read_folder(root), TODAY)
    assert release.version == "2.0.0"
    assert "### activity 2.0.0 (breaking with 1.0.0)" in changelog([release])
    guide = migration_guide([release], read_folder(root))
    assert "# From activity 1.0.0 to 2.0.0" in guide
    assert "`field_removed`" in guide
    with pytest.raises(HandoffError, match="nowhere"):
        read_revision("nowhere", root)


def test_the_command_refuses_with_exit_code_one(contracts: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestration.cli.app", "contracts", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    add_version(contracts, "1.1.0", drop_form)
    between_folders = f"{registry.FOLDER}..{contracts}"
    checked = run("check", between_folders, "--json")
    assert checked.returncode == 1, checked.stderr
    answer = json.loads(checked.stdout)
    assert answer["ok"] is False
    assert answer["releases"][0]["changes"][0]["verdict"] in ("breaking", "compatible")
    guide = tmp_path / "guide.md"
    shown = run("diff", between_folders, "--changelog", "--migration-guide", str(guide))
    assert shown.returncode == 0, shown.stderr
    assert "**breaking** `field_removed`" in shown.stdout
    assert guide.read_text().startswith("# From activity 1.0.0 to 1.1.0")
    assert run("check", "no-such-thing..").returncode == 2
