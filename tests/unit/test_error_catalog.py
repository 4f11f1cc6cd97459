"""The error catalog is complete, its page is fresh, and every code the sources raise is in it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ingestion.errors.catalog import CATALOG_FILE, catalog
from ingestion.errors.generate import PAGE, PROJECT_ROOT, main, page_text

PACKAGES = ("ingestion", "models", "expectations", "orchestration")
RAISED = re.compile(r"HandoffError\(\s*\"([A-Z_]+)\"")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the page is made of, to write to."""
    shutil.copytree(PROJECT_ROOT / "docs", tmp_path / "docs")
    return tmp_path


def headings(text: str) -> set[str]:
    """Anchors that a Markdown renderer gives the headings of `text`."""
    return {line[3:].strip().lower() for line in text.splitlines() if line.startswith("## ")}


def test_the_committed_page_is_what_the_catalog_says() -> None:
    assert (PROJECT_ROOT / PAGE).read_text(encoding="utf-8") == page_text()


def test_a_stale_page_is_named_and_fails_the_check(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"], project) == 0
    page = project / PAGE
    page.write_text(page.read_text(encoding="utf-8").replace("Again", "Once more"))
    assert main(["--check"], project) == 1
    assert PAGE in capsys.readouterr().err
    assert main([], project) == 0
    assert main(["--check"], project) == 0


def test_a_missing_page_fails_the_check(project: Path) -> None:
    (project / PAGE).unlink()
    assert main(["--check"], project) == 1


@pytest.mark.parametrize("code", catalog())
def test_every_code_says_what_it_means_and_what_to_do(code: str) -> None:
    entry = catalog()[code]
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", code)
    for text in (entry.title, entry.meaning, entry.remedy):
        assert text.strip() == text
        assert text
    assert entry.meaning.endswith(".")
    assert not entry.title.endswith(".")
    assert 400 <= entry.status <= 599
    assert entry.exit_code in (1, 2, 3, 4)


def test_every_runbook_address_is_a_heading_of_the_page() -> None:
    anchors = headings((PROJECT_ROOT / PAGE).read_text(encoding="utf-8"))
    addresses = {entry.runbook for entry in catalog().values()}
    assert addresses == {f"{PAGE}#{anchor}" for anchor in anchors}
    assert len(addresses) == len(catalog())


def test_no_code_stands_twice_in_the_file() -> None:
    codes = re.findall(r"^([A-Z_]+):", CATALOG_FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(codes) == sorted(set(codes))


def test_every_code_the_sources_raise_is_catalogued() -> None:
    raised = {
        code
        for package in PACKAGES
        for file in (PROJECT_ROOT / package).rglob("*.py")
        for code in RAISED.findall(file.read_text(encoding="utf-8"))
    }
    assert len(raised) > 20, "the pattern no longer finds what is raised"
    assert raised <= catalog().keys()
